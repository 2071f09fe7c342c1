//! The path of every call: time-out, namespace, retries and errors.

mod attempt;
mod authentication;
mod bidi;
mod budget;
mod flight;
mod login;
mod messages;
mod request;
mod retry;
mod scope;
mod shutdown;
mod token;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;

pub(crate) use self::authentication::Authentication;
pub(crate) use self::bidi::{BidiCall, BidiEvent, BidiOpener, BidiStream};
use self::flight::Flight;
pub(crate) use self::messages::Messages;
pub use self::request::Request;
pub(crate) use self::request::{GivenUp, Stall};
pub(crate) use self::scope::{Core, LeaseObserver, Scope, Timeout, gone};
pub(crate) use self::shutdown::ShutdownStage;
pub use self::token::TokenState;
use crate::error::Error;

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
    /// A request that may have been applied is sent again only if a second execution changes
    /// nothing: a read, a grant or a renewal of a lease. The number of
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

/// Makes methods of a handle with a field `scope` that make the call of one request each.
macro_rules! calls {
    ($($(#[$doc:meta])* fn $name:ident($($argument:ident: $type:ty),*) -> $request:ident::$new:ident;)*) => {
        $(
            $(#[$doc])*
            pub fn $name(&self $(, $argument: $type)*) -> crate::call::Call<$request> {
                crate::call::Call::new(&self.scope, $request::$new($($argument),*))
            }
        )*
    };
}
pub(crate) use calls;
