//! The path of every call: time-out, namespace, retries and errors.

mod attempt;
mod authentication;
mod budget;
mod flight;
mod login;
mod messages;
mod retry;
mod shutdown;
mod token;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use pin_project_lite::pin_project;
use tokio::sync::watch;

pub(crate) use self::authentication::{Authentication, CallCredential};
pub(crate) use self::budget::RetryBudget;
use self::flight::Flight;
pub(crate) use self::messages::Messages;
pub(crate) use self::shutdown::{Shutdown, ShutdownStage};
pub use self::token::TokenState;
use crate::config::{Config, Options};
use crate::credentials::Credentials;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::key::Namespace;
use crate::method::Method;
use crate::transport::{Failure, Member, TokenHeader, Transport};

/// The state that all handles of a client share.
// Public for the hidden methods of `Request`.
#[allow(unnameable_types, missing_debug_implementations)]
pub struct Core {
    pub(crate) transport: Transport,
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
            transport: Transport::new(config)?,
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
#[derive(Clone)]
pub(crate) struct Scope {
    pub(crate) core: Arc<Core>,
    pub(crate) timeout: Timeout,
    pub(crate) namespace: Option<Namespace>,
    pub(crate) member: Option<Member>,
    pub(crate) require_leader: Option<bool>,
    /// Whether calls send no token: set for the login itself.
    pub(crate) anonymous: bool,
    /// Whether calls belong to the shutdown of the client, and are sent although it is closing.
    pub(crate) parting: bool,
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
            parting: false,
            core,
        }
    }

    /// Returns the scope of a login: without a token, and until the client is closed for good.
    pub(crate) fn anonymous(self) -> Self {
        Self {
            anonymous: true,
            parting: true,
            require_leader: None,
            namespace: None,
            ..self
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

/// A request that a [`Call`] can carry.
///
/// `new` and options make its values (`Put::new(key, value).lease(id)`), and so do the methods of
/// a [`Client`](crate::Client). The trait cannot be implemented outside of this crate.
// Sealed: its hidden methods have types that cannot be named outside of the crate.
pub trait Request: Send + Unpin + 'static {
    /// The type of the reply.
    type Reply: Send + 'static;

    /// Returns the gRPC method of the request.
    #[doc(hidden)]
    fn method(&self) -> Method;

    /// Whether a second execution changes nothing.
    #[doc(hidden)]
    fn is_repeatable(&self) -> bool;

    /// Whether the request changes nothing, so that its errors do not say that it may have been
    /// applied.
    #[doc(hidden)]
    fn is_read(&self) -> bool {
        self.is_repeatable()
    }

    /// Whether the request takes long by nature, so that the default time-out does not apply.
    #[doc(hidden)]
    fn is_long(&self) -> bool {
        false
    }

    /// Whether the request needs a leader unless the caller says otherwise, because it waits for
    /// other clients: without a leader it would wait in vain.
    #[doc(hidden)]
    fn wants_leader(&self) -> bool {
        false
    }

    /// Whether the server carries out the request in several steps, and returns the error of a step
    /// as text only. Such an error does not say which steps were carried out; but all steps are
    /// over, including the clean-up.
    #[doc(hidden)]
    fn is_compound(&self) -> bool {
        false
    }

    /// Whether another attempt goes on with what the steps of an earlier one have left. A request of
    /// several steps is sent again after a refused step only then.
    #[doc(hidden)]
    fn is_resumable(&self) -> bool {
        self.is_compound()
    }

    /// Whether a member answers without asking its quorum.
    #[doc(hidden)]
    fn is_local(&self) -> bool {
        self.method().is_local()
    }

    /// Returns the framed message, with the namespace applied.
    #[doc(hidden)]
    fn encode(&self, namespace: Option<&Namespace>, limit: usize) -> Result<Bytes, Failure>;

    /// Returns the reply, with the namespace removed.
    #[doc(hidden)]
    fn decode(&self, reply: Bytes, namespace: Option<&Namespace>) -> Result<Self::Reply, Error>;

    /// Returns the result of a call that ended with `error` after an attempt that may have been
    /// applied: a repeatable request may recognise the effect of that attempt.
    #[doc(hidden)]
    fn settle(&self, error: Error) -> Result<Self::Reply, Error> {
        Err(error)
    }

    /// Called before each attempt is sent.
    #[doc(hidden)]
    fn sends(&self, _: &Core) {}

    /// Called with the result before the caller gets it.
    #[doc(hidden)]
    fn ended(&self, _: &Core, _: Result<&Self::Reply, &Error>) {}
}

pin_project! {
    /// A request as a future: awaiting the call sends the request and returns the reply.
    ///
    /// The methods of a [`Client`](crate::Client) return calls. The options of the request are
    /// methods of the call. A call is `Send + 'static`, so it can be spawned, joined and selected.
    ///
    /// A call is not `Unpin`. To poll it in a loop with `select!`, pin it first:
    ///
    /// ```no_run
    /// # async fn example(client: etcdex::Client) -> Result<(), etcdex::Error> {
    /// use std::pin::pin;
    /// use std::time::Duration;
    ///
    /// let mut ticks = tokio::time::interval(Duration::from_secs(1));
    /// let mut call = pin!(client.get("jobs/1").no_timeout());
    /// let reply = loop {
    ///     tokio::select! {
    ///         reply = &mut call => break reply?,
    ///         _ = ticks.tick() => println!("still waiting"),
    ///     }
    /// };
    /// # let _ = reply;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// An [`Error`] whose [`outcome`](Error::outcome) says whether the request may have been
    /// applied.
    ///
    /// # Cancel safety
    /// Nothing is sent before the first poll. Dropping the call later cancels it: the server is
    /// told, other calls are not affected, and a write may or may not have been applied.
    ///
    /// # Retries
    /// A request that provably was not applied is sent again within the time-out:
    /// - when it reached no server;
    /// - when a server refused it for its token: with another token, at most twice;
    /// - when a member refused it that another member may serve, because the first one has no
    ///   leader, is a learner, or is behind: to another endpoint. When every endpoint has refused
    ///   the request, or there is no other endpoint, the call ends with the error.
    ///
    /// A request that may have been applied is sent again only if it is a read. The number of
    /// retries is limited by [`retries`](crate::ClientBuilder::retries), and by a budget of the
    /// client.
    #[must_use = "a call does nothing until it is awaited"]
    pub struct Call<R> {
        request: R,
        #[pin]
        flight: Flight,
    }
}

impl<R: Request> Call<R> {
    pub(crate) fn new(scope: &Scope, request: R) -> Self {
        Self {
            request,
            flight: Flight::new(scope.clone()),
        }
    }

    /// Sets how long this call may take, from its first poll to its reply, including the time that
    /// it waits for a connection.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.flight.scope_mut().timeout = Timeout::Chosen(Some(timeout));
        self
    }

    /// Lets this call take any time.
    pub fn no_timeout(mut self) -> Self {
        self.flight.scope_mut().timeout = Timeout::Chosen(None);
        self
    }

    /// Sets whether this call goes only to a member that sees a leader: see
    /// [`Client::require_leader`](crate::Client::require_leader).
    pub fn require_leader(mut self, require: bool) -> Self {
        self.flight.scope_mut().require_leader = Some(require);
        self
    }

    pub(crate) fn into_parts(self) -> (Scope, R) {
        (self.flight.into_scope(), self.request)
    }

    pub(crate) fn map<S: Request>(self, change: impl FnOnce(R) -> S) -> Call<S> {
        Call {
            request: change(self.request),
            flight: self.flight,
        }
    }
}

impl<R: Request> Future for Call<R> {
    type Output = Result<R::Reply, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let request = &*this.request;
        let outcome = match ready!(this.flight.as_mut().poll_reply(cx, request)) {
            Ok(reply) => request
                .decode(reply, this.flight.scope().namespace.as_ref())
                .map_err(|error| this.flight.describe(error)),
            Err(error) if this.flight.is_uncertain() => request.settle(error),
            Err(error) => Err(error),
        };
        request.ended(&this.flight.scope().core, outcome.as_ref());
        Poll::Ready(outcome)
    }
}

impl<R: fmt::Debug> fmt::Debug for Call<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}

/// Declares the options of a request once: as methods of the request, and of the call that
/// carries it.
macro_rules! options {
    ($request:ty {
        $($(#[$meta:meta])* fn $option:ident(mut $self:ident $(, $argument:ident: $type:ty)*) $body:block)*
    }) => {
        impl $request {
            $(
                $(#[$meta])*
                pub fn $option(mut $self $(, $argument: $type)*) -> Self {
                    $body
                    $self
                }
            )*
        }

        impl crate::call::Call<$request> {
            $(
                $(#[$meta])*
                pub fn $option(self $(, $argument: $type)*) -> Self {
                    self.map(|request| request.$option($($argument),*))
                }
            )*
        }
    };
}
pub(crate) use options;
