//! The state that the handles of a client share, and the properties in which they differ.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;

use super::authentication::{self, Authentication, CallCredential};
use super::budget::RetryBudget;
use super::shutdown::Shutdown;
use crate::config::{Config, Options};
use crate::credentials::Credentials;
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind};
use crate::key::Namespace;
use crate::method::Method;
use crate::transport::{EndpointTarget, Failure, Pool, TokenHeader};

/// The state that all handles of a client share.
// Public for the hidden methods of `Request`.
#[allow(unnameable_types, missing_debug_implementations)]
pub struct Core {
    pub(crate) pool: Arc<Pool>,
    pub(crate) options: Options,
    pub(crate) budget: RetryBudget,
    /// Empty while the client has no credentials.
    pub(crate) authentication: OnceLock<Authentication>,
    /// Number of times that the credentials were replaced.
    pub(crate) replaced: watch::Sender<u64>,
    pub(crate) shutdown: Arc<Shutdown>,
    pub(crate) leases: Arc<dyn LeaseObserver>,
}

/// Observes the leases in the client's own requests, so that keepers need not learn of them from
/// the server. It is a trait, because leases belong to a layer above.
pub(crate) trait LeaseObserver: Send + Sync {
    /// The server has granted a lease.
    fn granted(&self, id: i64, ttl: Duration);
    /// A request that revokes a lease is about to be sent.
    fn revoking(&self, id: i64);
    /// The server has revoked a lease, or said that there is no such lease.
    fn revoked(&self, id: i64);
}

impl Core {
    pub(crate) fn new(config: &Config, leases: Arc<dyn LeaseObserver>) -> Result<Self, Error> {
        Ok(Self {
            leases,
            pool: Pool::new(config)?,
            options: config.options.clone(),
            budget: RetryBudget::new(),
            authentication: match config.options.credentials.clone() {
                Some(credentials) => OnceLock::from(Authentication::new(credentials)),
                None => OnceLock::new(),
            },
            replaced: watch::Sender::new(0),
            shutdown: Shutdown::new(),
        })
    }

    /// Logs in with other credentials from now on.
    pub(crate) fn set_credentials(&self, credentials: Credentials) {
        let first = Authentication::new(credentials.clone());
        if self.authentication.set(first).is_err() {
            if let Some(present) = self.authentication.get() {
                present.replace(credentials);
            }
        }
        // ORDER: the login that hears it finds the other credentials.
        self.replaced.send_modify(|count| *count += 1);
    }
}

/// The properties in which handles of a client differ. A call starts with those of its handle.
// Public for the hidden methods of `Request`.
#[allow(unnameable_types, missing_debug_implementations)]
#[derive(Clone)]
pub struct Scope {
    pub(crate) core: Arc<Core>,
    pub(crate) timeout: Timeout,
    pub(crate) namespace: Option<Namespace>,
    pub(crate) member: Option<EndpointTarget>,
    pub(crate) require_leader: Option<bool>,
    /// Whether calls send no token.
    pub(crate) anonymous: bool,
    /// Whether calls belong to the shutdown of the client, and are sent although it is closing.
    pub(crate) during_shutdown: bool,
}

/// How long a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timeout {
    /// The client's default, for calls that are not long by nature.
    Default(Option<Duration>),
    /// The time-out that the user has set on the handle or the call.
    Chosen(Option<Duration>),
}

impl Timeout {
    /// Returns the time-out of a call that is not long by nature.
    pub(crate) fn of_a_call(self) -> Option<Duration> {
        match self {
            Self::Default(timeout) | Self::Chosen(timeout) => timeout,
        }
    }
}

impl Scope {
    /// Returns a scope with the client's own defaults.
    pub(crate) fn of(core: Arc<Core>) -> Self {
        let options = &core.options;
        Self {
            timeout: Timeout::Default(options.timeout),
            namespace: Namespace::new(options.namespace.clone()),
            member: None,
            require_leader: options.require_leader,
            anonymous: false,
            during_shutdown: false,
            core,
        }
    }

    /// Returns the scope for calls that send no token.
    pub(crate) fn without_token(self) -> Self {
        Self {
            anonymous: true,
            ..self
        }
    }

    /// Returns the scope of a login: without a token, and until the client is closed for good.
    pub(crate) fn of_login(self) -> Self {
        Self {
            during_shutdown: true,
            require_leader: None,
            namespace: None,
            ..self.without_token()
        }
    }

    /// Returns the source of the token of calls in this scope, if they have one.
    pub(crate) fn authentication(&self) -> Option<&Authentication> {
        self.core.authentication.get().filter(|_| !self.anonymous)
    }

    /// Returns whether a call failed because of its token. The next call then gets another one.
    pub(crate) fn note_token_refusal(
        &self,
        failure: &Failure,
        token: Option<&TokenHeader>,
    ) -> bool {
        let Some(authentication) = self.authentication() else {
            return false;
        };
        let lost = authentication::is_about_token(failure.error.kind());
        if lost {
            authentication.invalid(token);
        }
        lost
    }

    /// Returns the token that the client has, if any.
    pub(crate) fn present_token(&self) -> Option<Arc<TokenHeader>> {
        match self.authentication()?.credential(&self.core) {
            Ok(CallCredential::Token(token)) => Some(token),
            Ok(CallCredential::Anonymous | CallCredential::Fetch) | Err(_) => None,
        }
    }

    /// Returns the token for a stream, and fetches it if necessary.
    pub(crate) async fn token(&self) -> Result<Option<Arc<TokenHeader>>, Error> {
        self.token_within(authentication::STREAM_LIMIT).await
    }

    /// Fetches the token of a new client, so that `connect` fails for a wrong password.
    pub(crate) async fn first_token(&self) -> Result<(), Error> {
        let least = authentication::STREAM_LIMIT;
        let limit = self
            .core
            .options
            .timeout
            .map_or(least, |timeout| timeout.max(least));
        self.token_within(limit).await.map(drop)
    }

    async fn token_within(&self, limit: Duration) -> Result<Option<Arc<TokenHeader>>, Error> {
        let Some(authentication) = self.authentication() else {
            return Ok(None);
        };
        match authentication.credential(&self.core)? {
            CallCredential::Token(token) => Ok(Some(token)),
            CallCredential::Anonymous => Ok(None),
            CallCredential::Fetch => Authentication::fetch_within(self.clone(), limit).await,
        }
    }

    /// Adds the facts about a call to an error.
    pub(crate) fn describe(
        &self,
        error: Error,
        method: Method,
        endpoint: Option<&Endpoint>,
        attempts: u32,
    ) -> Error {
        let error = error
            .with_operation(method.name(), attempts)
            .with_client(self.core.options.name.as_ref());
        let error = match method {
            Method::Watch => error.of_a_read(),
            _ => error,
        };
        match endpoint {
            Some(endpoint) => error.with_endpoint(endpoint),
            None => error,
        }
    }
}

/// The error of a task of the client that has outlived all handles.
pub(crate) fn gone() -> Error {
    Error::new(ErrorKind::Closed, "the client is gone")
}
