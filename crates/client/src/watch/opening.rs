//! A watch on its way to be in force.

use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use etcdex_proto::etcdserverpb::WatchRequest;
use etcdex_proto::etcdserverpb::watch_request::RequestUnion;
use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::backlog::Backlog;
use super::driver::{Addition, Command};
use super::entry::Spec;
use super::hub::{Hub, Route};
use super::inbox::Inbox;
use super::message::WatchRef;
use super::request::Watch;
use crate::call::Scope;
use crate::error::{Error, ErrorKind};
use crate::method::Method;
use crate::transport::{Failure, Want, frame};

/// Why a watch that is being opened will never be in force, where its inbox is open.
const GONE: &str = "the watch was cancelled, or the runtime that watches has ended";

/// An owner of watches, and where it takes what comes of them. Clones are the same owner.
#[derive(Clone)]
pub(super) struct Owner {
    scope: Scope,
    hub: Arc<Hub>,
    route: Route,
    number: u64,
    pub(super) inbox: Arc<Inbox>,
}

/// The consumer of an owner's inbox: when it is dropped, the owner's watches are cancelled.
pub(super) struct Desk(Owner);

impl Deref for Desk {
    type Target = Owner;

    fn deref(&self) -> &Owner {
        &self.0
    }
}

impl Desk {
    /// For the owner of one watch.
    pub(super) fn of_one(scope: &Scope, hub: &Arc<Hub>) -> Self {
        Self::new(scope, hub, Inbox::quiet())
    }

    /// For the owner of any number of watches, who is also told of the client's end while
    /// there are none.
    pub(super) fn of_many(scope: &Scope, hub: &Arc<Hub>) -> Self {
        let desk = Self::new(scope, hub, Inbox::default());
        hub.enter(desk.number, desk.route, &desk.inbox);
        desk
    }

    fn new(scope: &Scope, hub: &Arc<Hub>, inbox: Inbox) -> Self {
        Self(Owner {
            route: Route::of(scope),
            scope: scope.clone(),
            number: hub.number(),
            hub: Arc::clone(hub),
            inbox: Arc::new(inbox),
        })
    }

    /// The owner, for those who add and cancel watches and do not read the inbox.
    pub(super) fn owner(&self) -> Owner {
        self.0.clone()
    }
}

impl Owner {
    pub(super) fn request_progress(&self) {
        self.tell(Command::RequestProgress(self.number));
    }

    pub(super) fn tell(&self, command: Command) {
        self.hub.tell(self.route, command);
    }

    /// One more watch; nothing is asked of anybody before it is polled.
    pub(super) fn open(&self, watch: Watch) -> Opening {
        Opening {
            timeout: self.scope.timeout.of_a_call(),
            scope: self.scope.clone(),
            hub: Arc::clone(&self.hub),
            route: self.route,
            owner: self.number,
            inbox: Arc::clone(&self.inbox),
            watch,
            begun: None,
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.hub.leave(self.number);
        // ORDER: before the task forgets its owner, so that it takes no watch for that after.
        self.inbox.abandon();
        self.tell(Command::Forget(self.number));
    }
}

/// Asks for a watch and waits until it is in force. Dropping it before cancels the watch.
pub(super) struct Opening {
    scope: Scope,
    hub: Arc<Hub>,
    route: Route,
    owner: u64,
    inbox: Arc<Inbox>,
    pub(super) watch: Watch,
    pub(super) timeout: Option<Duration>,
    begun: Option<Begun>,
}

struct Begun {
    number: u64,
    backlog: Arc<Backlog>,
    asked: Option<oneshot::Receiver<Result<i64, Error>>>,
    deadline: Option<Pin<Box<Sleep>>>,
    /// The watch is somebody's, or gone.
    settled: bool,
    /// It has given its result.
    over: bool,
}

impl Opening {
    fn begun(&mut self) -> &mut Begun {
        let Self {
            hub, inbox, watch, ..
        } = self;
        self.begun.get_or_insert_with(|| {
            let meter = hub.meter();
            let limit = watch.limit(meter.limits());
            let (number, demand) = (hub.number(), Arc::clone(inbox.demand()));
            Begun {
                number,
                backlog: Arc::new(Backlog::of(number, limit, Arc::clone(meter), demand)),
                asked: None,
                deadline: None,
                settled: false,
                over: false,
            }
        })
    }

    /// The watch's name, from now on.
    pub(super) fn name(&mut self) -> WatchRef {
        WatchRef(self.begun().number)
    }

    /// Whether it has given its result.
    pub(super) fn is_over(&self) -> bool {
        self.begun.as_ref().is_some_and(|begun| begun.over)
    }

    /// Throws away what has come of the watch.
    pub(super) fn purge(&self) {
        if let Some(begun) = &self.begun {
            self.inbox.purge(|watch| watch.0 == begun.number);
        }
    }

    pub(super) fn backlog(&mut self) -> Arc<Backlog> {
        Arc::clone(&self.begun().backlog)
    }

    /// The first revision that the watch delivers, when it is in force.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<i64, Error>> {
        if self.is_over() {
            return Poll::Ready(Err(polled_again()));
        }
        let outcome = std::task::ready!(self.poll_outcome(cx));
        let begun = self.begun();
        begun.over = true;
        // What has timed out is still being tried: it is cancelled when this is dropped.
        begun.settled = outcome.is_ok();
        Poll::Ready(outcome.map_err(|error| {
            let scope = &self.scope;
            scope.describe(error, Method::Watch, None, 0)
        }))
    }

    fn poll_outcome(&mut self, cx: &mut Context<'_>) -> Poll<Result<i64, Error>> {
        self.begun();
        let Some(mut begun) = self.begun.take() else {
            return Poll::Ready(Err(polled_again()));
        };
        let outcome = self.poll_begun(&mut begun, cx);
        self.begun = Some(begun);
        outcome
    }

    fn poll_begun(&self, begun: &mut Begun, cx: &mut Context<'_>) -> Poll<Result<i64, Error>> {
        if begun.asked.is_none() {
            if let Some(reason) = self.inbox.reason() {
                return Poll::Ready(Err(Error::new(ErrorKind::Closed, reason)));
            }
            let spec = match self.spec() {
                Ok(spec) => spec,
                Err(failure) => return Poll::Ready(Err(failure.error)),
            };
            // The timer of the opening and the task of the watches need a runtime.
            if let Err(error) = crate::runtime::present() {
                return Poll::Ready(Err(error));
            }
            begun.deadline = self
                .timeout
                .map(|limit| Box::pin(tokio::time::sleep(limit)));
            let (start, asked) = oneshot::channel();
            let addition = Addition {
                number: begun.number,
                owner: self.owner,
                inbox: Arc::clone(&self.inbox),
                spec,
                backlog: Arc::clone(&begun.backlog),
                start,
            };
            let command = Command::Add(Box::new(addition));
            self.hub.ask(&self.scope.core, self.route, command);
            begun.asked = Some(asked);
        }
        if let Some(asked) = &mut begun.asked {
            if let Poll::Ready(told) = Pin::new(asked).poll(cx) {
                let reason = || self.inbox.reason().unwrap_or(GONE);
                let gone = || Error::new(ErrorKind::Closed, reason());
                return Poll::Ready(told.unwrap_or_else(|_| Err(gone())));
            }
        }
        match &mut begun.deadline {
            Some(deadline) => {
                std::task::ready!(deadline.as_mut().poll(cx));
                Poll::Ready(Err(self.late(begun.number)))
            }
            None => Poll::Pending,
        }
    }

    /// What is to be watched, if it makes sense and can be asked for.
    fn spec(&self) -> Result<Spec, Failure> {
        let spec = self.watch.spec(self.scope.namespace.as_ref())?;
        // A server ends the whole stream for a request over its limit.
        let longest = spec.request(i64::MAX, i64::MAX, true);
        let longest = WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(longest)),
        };
        frame(&longest, self.scope.core.options.max_send_size)?;
        Ok(spec)
    }

    /// It took too long; why, as far as that is known.
    fn late(&self, number: u64) -> Error {
        let want = Want {
            lane: Method::Watch.lane(),
            member: self.route.member,
            avoided: None,
            parting: false,
        };
        let message = "the watch was not in force in time";
        if let Some(cause) = self.hub.trouble(self.route, number) {
            let message = format!("{message}: {}", cause.message());
            // A caller may do without a leader, and has to know that this is the reason.
            let kind = match cause.kind() {
                ErrorKind::NoLeader => ErrorKind::NoLeader,
                _ => ErrorKind::Timeout,
            };
            let error = Error::new(kind, message).with_source(Arc::clone(&cause));
            return match cause.endpoint() {
                Some(endpoint) => error.with_endpoint(endpoint),
                None => error,
            };
        }
        match self.scope.core.transport.trouble(want) {
            Some((endpoint, trouble)) => {
                let error = Error::new(ErrorKind::Timeout, format!("{message}: {trouble}"));
                error.with_endpoint(&endpoint)
            }
            None => Error::new(ErrorKind::Timeout, message),
        }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(begun) = self.begun.as_ref().filter(|begun| !begun.settled) {
            self.hub.tell(self.route, Command::Cancel(begun.number));
        }
    }
}

/// A future that has given its result is polled again.
pub(super) fn polled_again() -> Error {
    Error::new(ErrorKind::InvalidArgument, "polled after it was ready")
}

/// The options of a watch that is to be opened, for a type with a field `opening`.
macro_rules! opening_options {
    ($type:ty) => {
        crate::watch::request::watch_options! { $type }

        impl $type {
            /// How long it may take until the watch is in force. Default: the client's time-out.
            pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
                self.opening.timeout = Some(timeout);
                self
            }

            /// Waits as long as it takes until the watch is in force.
            pub fn no_timeout(mut self) -> Self {
                self.opening.timeout = None;
                self
            }

            fn watch_mut(&mut self) -> &mut crate::Watch {
                &mut self.opening.watch
            }
        }
    };
}
pub(super) use opening_options;
