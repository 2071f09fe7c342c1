//! Errors: their kinds, and the outcome of the failed request.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use crate::debug::debug_fields;
use crate::endpoint::Endpoint;

mod code;
mod table;

pub use code::Code;
pub(crate) use table::{Class, Retry, classify, kind_of};

/// The reason why a request failed, and whether a write may have been applied all the same.
///
/// [`kind`](Error::kind) returns the reason, [`outcome`](Error::outcome) whether a write may have
/// been applied, and [`source`](StdError::source) the cause below (such as an I/O error). The text
/// names the request, the endpoint and the outcome; it never contains a key, a value, a password or
/// a token.
///
/// An error is one pointer wide, so that a `Result` stays small.
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: ErrorKind,
    outcome: Outcome,
    code: Option<Code>,
    message: Cow<'static, str>,
    operation: Option<&'static str>,
    /// Whether the request changes nothing.
    read: bool,
    endpoint: Option<Endpoint>,
    client: Option<std::sync::Arc<str>>,
    attempts: u32,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The outcome of a request that failed: whether it may have been applied.
///
/// A program has to know the outcome before it repeats a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// No server has seen the request: nothing was applied, and sending it again is safe.
    NotSent,
    /// The request was sent, and no answer shows whether it was applied: it may have been applied.
    Unknown,
    /// The server refused the request: nothing was applied.
    Rejected,
}

impl Outcome {
    /// Returns the outcome as one word, for events and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NotSent => "not_sent",
            Self::Unknown => "unknown",
            Self::Rejected => "rejected",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSent => "not sent",
            Self::Unknown => "it may have been applied",
            Self::Rejected => "not applied",
        })
    }
}

/// The reason of an error, for programs that act on it.
///
/// The variants that etcd itself reports carry the text of etcd's list
/// (`api/v3rpc/rpctypes/error.go`) in the error's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An option, a URL or an environment variable is invalid.
    Config,
    /// The request is invalid: an empty key, options that exclude each other, a bad value.
    InvalidArgument,
    /// The server was not reached, refused the connection, or the connection was lost.
    Unavailable,
    /// The server was reached, and no TLS session was established: a certificate of the server or
    /// of the client is not trusted, not valid or missing, or the server does not speak TLS at all.
    /// The text says which. A later attempt fails in the same way, unless certificates or options
    /// change.
    Tls,
    /// The request had no answer within its time-out.
    Timeout,
    /// The server violated HTTP/2, gRPC or etcd's protocol.
    Protocol,
    /// A message exceeds a limit of the client; the text names the option.
    MessageTooLarge,
    /// The client was closed.
    Closed,
    /// The bytes of a reply are not in the requested format (UTF-8, JSON).
    Decode,
    /// A file cannot be written; the source is the cause.
    File,

    /// The key does not exist (`ignore_value` and `ignore_lease` need one).
    KeyNotFound,
    /// The revision was compacted away.
    Compacted,
    /// The revision is later than the present one.
    FutureRevision,
    /// A transaction puts a key twice.
    DuplicateKey,
    /// A transaction has more operations than the server allows.
    TooManyOperations,
    /// The request exceeds the server's size limit (`--max-request-bytes`).
    RequestTooLarge,
    /// The server has reached its limit of concurrent requests.
    TooManyRequests,
    /// The server's database is full (alarm NOSPACE).
    NoSpace,

    /// The lease does not exist or has expired.
    LeaseNotFound,
    /// A lease with that ID exists.
    LeaseExists,
    /// The time-to-live exceeds the server's limit.
    LeaseTtlTooLarge,

    /// The cluster has no leader at present.
    NoLeader,
    /// The member is not the leader.
    NotLeader,
    /// The leader changed while the request was in progress.
    LeaderChanged,
    /// The member is stopping.
    Stopped,
    /// Too few members are healthy for the change.
    Unhealthy,
    /// The member is a learner, and does not serve the request.
    Learner,
    /// Members have different data, or a snapshot does not match its checksum.
    Corrupt,

    /// The member does not exist.
    MemberNotFound,
    /// The member or its peer URL exists already.
    MemberExists,
    /// The change of membership is not possible now.
    MembershipRefused,
    /// The member belongs to another cluster.
    ClusterMismatch,

    /// The user has no permission for the request.
    PermissionDenied,
    /// The user or the password is wrong.
    AuthenticationFailed,
    /// The token is not valid, or not valid any more.
    InvalidToken,
    /// The token is older than the last change of users or roles.
    StaleToken,
    /// The server requires a token, and the request had none.
    TokenMissing,
    /// Authentication is disabled.
    AuthenticationDisabled,
    /// The user does not exist.
    UserNotFound,
    /// The user exists already.
    UserExists,
    /// The role does not exist.
    RoleNotFound,
    /// The role exists already.
    RoleExists,
    /// The server does not allow the change of users or roles.
    AuthRefused,

    /// A downgrade cannot be started, or none is in progress.
    DowngradeRefused,
    /// The server does not implement the call, as its version is older, or has disabled it.
    Unimplemented,
    /// The server cancelled the request.
    Cancelled,
    /// The server refused the request in its present state, for a reason that has no kind of its
    /// own.
    FailedPrecondition,
    /// The server failed; the text is the server's.
    Server,
}

impl Error {
    /// Returns an error about a request that was not sent.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            inner: Box::new(Inner {
                kind,
                outcome: Outcome::NotSent,
                code: None,
                message: message.into(),
                operation: None,
                read: false,
                endpoint: None,
                client: None,
                attempts: 0,
                source: None,
            }),
        }
    }

    pub(crate) fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.inner.outcome = outcome;
        self
    }

    pub(crate) fn with_code(mut self, code: Code) -> Self {
        self.inner.code = Some(code);
        self
    }

    pub(crate) fn with_endpoint(mut self, endpoint: &Endpoint) -> Self {
        self.inner.endpoint = Some(endpoint.clone());
        self
    }

    pub(crate) fn with_operation(mut self, operation: &'static str, attempts: u32) -> Self {
        self.inner.operation = Some(operation);
        self.inner.attempts = attempts;
        self
    }

    /// Marks the error as one of a request that changes nothing.
    pub(crate) fn of_a_read(mut self) -> Self {
        self.inner.read = true;
        self
    }

    pub(crate) fn with_client(mut self, name: Option<&std::sync::Arc<str>>) -> Self {
        self.inner.client = name.cloned();
        self
    }

    pub(crate) fn with_source(
        mut self,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// Returns a copy of the error without its source, which cannot be cloned, for another caller
    /// that waits for the same result.
    pub(crate) fn again(&self) -> Self {
        let inner = &*self.inner;
        Self {
            inner: Box::new(Inner {
                kind: inner.kind,
                outcome: inner.outcome,
                code: inner.code,
                message: inner.message.clone(),
                operation: inner.operation,
                read: inner.read,
                endpoint: inner.endpoint.clone(),
                client: inner.client.clone(),
                attempts: inner.attempts,
                source: None,
            }),
        }
    }

    /// Returns an error, for programs that fake a client.
    #[must_use]
    pub fn custom(kind: ErrorKind, outcome: Outcome, message: impl Into<String>) -> Self {
        Self::new(kind, message.into()).with_outcome(outcome)
    }

    /// Returns the reason of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Returns whether a write may have been applied.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.inner.outcome
    }

    /// Returns the gRPC status code, if a server sent one.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.inner.code
    }

    /// Returns the endpoint of the last attempt, if there was one.
    #[must_use]
    pub fn endpoint(&self) -> Option<&Endpoint> {
        self.inner.endpoint.as_ref()
    }

    /// Returns how often the request was handed to a connection; 0 if it never was.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.inner.attempts
    }

    /// Returns the message of the server or of the client, without the request, the endpoint and
    /// the outcome that `Display` adds.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.inner.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.inner;
        if let Some(client) = &inner.client {
            write!(f, "[{client}] ")?;
        }
        if let Some(operation) = inner.operation {
            write!(f, "{operation}: ")?;
        }
        f.write_str(&inner.message)?;
        // Without a request and an endpoint, the text is only the message.
        if inner.operation.is_none() && inner.endpoint.is_none() {
            return Ok(());
        }
        // The text of a read does not mention whether the read may have been applied, as a read
        // changes nothing. A file that cannot be written says nothing about the request.
        let is_about_request = inner.kind != ErrorKind::File;
        let tells = is_about_request && (!inner.read || inner.outcome == Outcome::NotSent);
        let parts = [
            inner.endpoint.as_ref().map(ToString::to_string),
            tells.then(|| inner.outcome.to_string()),
            (inner.attempts > 1).then(|| format!("{} attempts", inner.attempts)),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", parts.join(", "))
    }
}

debug_fields! { Error |error| {
    kind: error.inner.kind, outcome: error.inner.outcome, code: error.inner.code,
    message: error.inner.message, operation: error.inner.operation,
    endpoint: error.inner.endpoint, client: error.inner.client, attempts: error.inner.attempts,
    source: error.inner.source,
} }

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source: &(dyn StdError + 'static) = self.inner.source.as_deref()?;
        Some(source)
    }
}
