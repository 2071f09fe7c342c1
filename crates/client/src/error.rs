//! What can go wrong, and what became of the request.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use crate::endpoint::Endpoint;

mod code;
mod table;

pub use code::Code;
pub(crate) use table::{Class, Retry, classify, kind_of};

/// Why a request failed, and whether it may have happened all the same.
///
/// Ask [`kind`](Error::kind) what went wrong, [`outcome`](Error::outcome) whether a write may
/// have been applied, and [`source`](StdError::source) for the cause below (an I/O error, say).
/// The text names the request, the endpoint and the outcome; it never holds a key, a value, a
/// password or a token.
///
/// It is one pointer wide, so that a `Result` stays small.
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: ErrorKind,
    outcome: Outcome,
    code: Option<Code>,
    message: Cow<'static, str>,
    operation: Option<&'static str>,
    /// The request changes nothing.
    read: bool,
    endpoint: Option<Endpoint>,
    client: Option<std::sync::Arc<str>>,
    attempts: u32,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What became of a request that failed.
///
/// It is the question that a writer has to answer before doing something again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// No server has seen it: nothing was applied, and sending it again is safe.
    NotSent,
    /// It was sent, and then nothing more was heard that would tell: it may have been applied.
    Unknown,
    /// The server refused it: nothing was applied.
    Rejected,
}

impl Outcome {
    /// One word, for events and metrics.
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

/// What went wrong, as far as a program would act on it.
///
/// The variants that etcd itself reports carry the text of etcd's list
/// (`api/v3rpc/rpctypes/error.go`) in the error's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An option, URL or environment variable has no meaning.
    Config,
    /// The request makes no sense: an empty key, options that exclude each other, a bad value.
    InvalidArgument,
    /// The cause lies between here and the server: it refused, broke off or was never reached.
    Unavailable,
    /// There is a server, and it and the client do not get a TLS session together: a certificate
    /// of either is not trusted, not valid or missing, or the server does not speak TLS at all.
    /// The text says which; trying again later does not help by itself.
    Tls,
    /// The time for the request was over.
    Timeout,
    /// The server broke the rules of HTTP/2, gRPC or its own messages.
    Protocol,
    /// A message is over a limit of the client; the text names the setting.
    MessageTooLarge,
    /// The client was closed.
    Closed,
    /// A reply's bytes are not what was asked for (no UTF-8, no JSON).
    Decode,
    /// A file cannot be written; the source tells why.
    File,

    /// The key does not exist (`ignore_value` and `ignore_lease` need one).
    KeyNotFound,
    /// The revision was compacted away.
    Compacted,
    /// The revision lies in the future.
    FutureRevision,
    /// A transaction puts a key twice.
    DuplicateKey,
    /// A transaction has more operations than the server allows.
    TooManyOperations,
    /// The request is over the server's size limit (`--max-request-bytes`).
    RequestTooLarge,
    /// The server has more requests than it takes at once.
    TooManyRequests,
    /// The server's database is full (alarm NOSPACE).
    NoSpace,

    /// The lease does not exist or has expired.
    LeaseNotFound,
    /// A lease with that ID exists.
    LeaseExists,
    /// The time-to-live is over what the server allows.
    LeaseTtlTooLarge,

    /// The cluster has no leader just now.
    NoLeader,
    /// The member is not the leader.
    NotLeader,
    /// The leader changed while the request was under way.
    LeaderChanged,
    /// The member is stopping.
    Stopped,
    /// Too few members are healthy for the change.
    Unhealthy,
    /// The member is a learner, which does not serve this.
    Learner,
    /// Members disagree about the data, or a snapshot's bytes about its checksum.
    Corrupt,

    /// The member does not exist.
    MemberNotFound,
    /// The member or its peer URL exists already.
    MemberExists,
    /// The change of membership is not possible now.
    MembershipRefused,
    /// The member belongs to another cluster.
    ClusterMismatch,

    /// The user may not do this.
    PermissionDenied,
    /// User or password is wrong.
    AuthenticationFailed,
    /// The token is not, or no longer, valid.
    InvalidToken,
    /// The token is older than the last change of users or roles.
    StaleToken,
    /// The server wants a token and there was none.
    TokenMissing,
    /// Authentication is switched off.
    AuthenticationDisabled,
    /// The user does not exist.
    UserNotFound,
    /// The user exists already.
    UserExists,
    /// The role does not exist.
    RoleNotFound,
    /// The role exists already.
    RoleExists,
    /// A change of users or roles that the server does not allow.
    AuthRefused,

    /// A downgrade cannot be started, or none is under way.
    DowngradeRefused,
    /// The server does not know the call (it is older) or has it switched off.
    Unimplemented,
    /// The server gave the request up.
    Cancelled,
    /// What the server does not let do now, for a reason that has no kind of its own.
    FailedPrecondition,
    /// Something failed on the server that its text describes.
    Server,
}

impl Error {
    /// An error about a request that was not sent.
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

    /// The error is that of a request that changes nothing.
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

    /// The same error for somebody else who waits for the same thing; without its source, of
    /// which there is only one.
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

    /// Makes an error, for a program's own fake of a client.
    #[must_use]
    pub fn custom(kind: ErrorKind, outcome: Outcome, message: impl Into<String>) -> Self {
        Self::new(kind, message.into()).with_outcome(outcome)
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// What became of the request: whether a write may have been applied.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.inner.outcome
    }

    /// The gRPC status code, where a server sent one.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.inner.code
    }

    /// The endpoint that the last attempt went to, where there was one.
    #[must_use]
    pub fn endpoint(&self) -> Option<&Endpoint> {
        self.inner.endpoint.as_ref()
    }

    /// How often the request was handed to a connection: 0 when it never got that far.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.inner.attempts
    }

    /// The server's or the client's own words, without the request, endpoint and outcome that
    /// `Display` adds.
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
        // Without a request or an endpoint, the message says all.
        if inner.operation.is_none() && inner.endpoint.is_none() {
            return Ok(());
        }
        // A read changes nothing: its text does not speak of what may have been applied. A file
        // that cannot be written says nothing about the request.
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

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.inner;
        f.debug_struct("Error")
            .field("kind", &inner.kind)
            .field("outcome", &inner.outcome)
            .field("code", &inner.code)
            .field("message", &inner.message)
            .field("operation", &inner.operation)
            .field("endpoint", &inner.endpoint)
            .field("client", &inner.client)
            .field("attempts", &inner.attempts)
            .field("source", &inner.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source: &(dyn StdError + 'static) = self.inner.source.as_deref()?;
        Some(source)
    }
}
