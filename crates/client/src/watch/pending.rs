//! The future that adds a watch.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use etcdex_proto::etcdserverpb::WatchRequest;
use etcdex_proto::etcdserverpb::watch_request::RequestUnion;
use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::backlog::Backlog;
use super::driver::{Addition, WatchCommand};
use super::entry::Spec;
use super::entry::WatchRef;
use super::request::Watch;
use super::subscriber::SubscriberHandle;
use crate::error::{Error, ErrorKind};
use crate::method::Method;
use crate::transport::{Failure, PickInfo, frame};

/// The message of the error when the task has dropped a watch whose inbox is open.
const GONE: &str = "the watch was cancelled, or the runtime that watches has ended";

/// Adds a watch and waits until the server has created it. Dropping this before then cancels the watch.
pub(super) struct PendingWatch {
    subscriber: SubscriberHandle,
    pub(super) watch: Watch,
    pub(super) timeout: Option<Duration>,
    /// `None` until the watch has a number.
    addition: Option<PendingAddition>,
}

/// The state of a [`PendingWatch`] whose watch has a number.
struct PendingAddition {
    watch: WatchRef,
    backlog: Arc<Backlog>,
    /// Receives the first revision of the watch. `None` until the task was asked to add it.
    start: Option<oneshot::Receiver<Result<i64, Error>>>,
    deadline: Option<Pin<Box<Sleep>>>,
    /// Whether the watch was created: it outlives this future then.
    is_created: bool,
    /// Whether the future has returned its result.
    is_over: bool,
}

impl PendingWatch {
    pub(super) fn new(subscriber: SubscriberHandle, watch: Watch) -> Self {
        Self {
            timeout: subscriber.scope.timeout.of_a_call(),
            subscriber,
            watch,
            addition: None,
        }
    }

    fn addition(&mut self) -> &mut PendingAddition {
        let Self {
            subscriber, watch, ..
        } = self;
        self.addition.get_or_insert_with(|| {
            let SubscriberHandle {
                registry, inbox, ..
            } = subscriber;
            let budget = registry.budget();
            let limit = watch.limit(budget.limits());
            let (watch, demand) = (registry.next_watch(), Arc::clone(inbox.demand()));
            PendingAddition {
                watch,
                backlog: Arc::new(Backlog::of(watch, limit, Arc::clone(budget), demand)),
                start: None,
                deadline: None,
                is_created: false,
                is_over: false,
            }
        })
    }

    /// Returns the name of the watch, which gets its number by the first call.
    pub(super) fn name(&mut self) -> WatchRef {
        self.addition().watch
    }

    /// Whether the future has returned its result.
    pub(super) fn is_over(&self) -> bool {
        self.addition
            .as_ref()
            .is_some_and(|addition| addition.is_over)
    }

    /// Removes the messages of the watch from the inbox.
    pub(super) fn purge(&self) {
        if let Some(addition) = &self.addition {
            self.subscriber.inbox.purge(|watch| watch == addition.watch);
        }
    }

    pub(super) fn backlog(&mut self) -> Arc<Backlog> {
        Arc::clone(&self.addition().backlog)
    }

    /// Ready with the first revision that the watch delivers, when the server has created it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<i64, Error>> {
        if self.is_over() {
            return Poll::Ready(Err(polled_again()));
        }
        let outcome = std::task::ready!(self.poll_outcome(cx));
        let addition = self.addition();
        addition.is_over = true;
        // After a time-out the task still tries to create the watch, until this future is dropped.
        addition.is_created = outcome.is_ok();
        Poll::Ready(outcome.map_err(|error| {
            let scope = &self.subscriber.scope;
            scope.describe(error, Method::Watch, None, 0)
        }))
    }

    fn poll_outcome(&mut self, cx: &mut Context<'_>) -> Poll<Result<i64, Error>> {
        self.addition();
        let Some(mut addition) = self.addition.take() else {
            return Poll::Ready(Err(polled_again()));
        };
        let outcome = self.poll_addition(&mut addition, cx);
        self.addition = Some(addition);
        outcome
    }

    fn poll_addition(
        &self,
        addition: &mut PendingAddition,
        cx: &mut Context<'_>,
    ) -> Poll<Result<i64, Error>> {
        let subscriber = &self.subscriber;
        if addition.start.is_none() {
            if let Some(reason) = subscriber.inbox.reason() {
                return Poll::Ready(Err(Error::new(ErrorKind::Closed, reason)));
            }
            let spec = match self.spec() {
                Ok(spec) => spec,
                Err(failure) => return Poll::Ready(Err(failure.error)),
            };
            // The timer of this future and the task of the watches need a runtime.
            if let Err(error) = crate::runtime::present() {
                return Poll::Ready(Err(error));
            }
            addition.deadline = self
                .timeout
                .map(|limit| Box::pin(tokio::time::sleep(limit)));
            let (start, started) = oneshot::channel();
            let command = WatchCommand::Add(Box::new(Addition {
                watch: addition.watch,
                owner: subscriber.owner,
                inbox: Arc::clone(&subscriber.inbox),
                spec,
                backlog: Arc::clone(&addition.backlog),
                start,
            }));
            let core = &subscriber.scope.core;
            subscriber
                .registry
                .send_or_start(core, subscriber.route, command);
            addition.start = Some(started);
        }
        if let Some(start) = &mut addition.start {
            if let Poll::Ready(outcome) = Pin::new(start).poll(cx) {
                let reason = || subscriber.inbox.reason().unwrap_or(GONE);
                let gone = || Error::new(ErrorKind::Closed, reason());
                return Poll::Ready(outcome.unwrap_or_else(|_| Err(gone())));
            }
        }
        match &mut addition.deadline {
            Some(deadline) => {
                std::task::ready!(deadline.as_mut().poll(cx));
                Poll::Ready(Err(self.late(addition.watch)))
            }
            None => Poll::Pending,
        }
    }

    /// Checks the request and its size.
    fn spec(&self) -> Result<Spec, Failure> {
        let scope = &self.subscriber.scope;
        let spec = self.watch.spec(scope.namespace.as_ref())?;
        // For a request over its limit, a server ends the whole stream.
        let longest = spec.request(i64::MAX, i64::MAX, true);
        let longest = WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(longest)),
        };
        frame(&longest, scope.core.options.max_send_size)?;
        Ok(spec)
    }

    /// Makes the error of a watch that was not created in time, with the cause if that is known.
    fn late(&self, watch: WatchRef) -> Error {
        let subscriber = &self.subscriber;
        let pick = PickInfo {
            lane: Method::Watch.lane(),
            member: subscriber.route.member,
            avoided: None,
            during_shutdown: false,
        };
        let message = "the watch was not in force in time";
        if let Some(cause) = subscriber.registry.last_error(subscriber.route, watch) {
            let message = format!("{message}: {}", cause.message());
            // The caller has to know this reason, because it can give up `require_leader`.
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
        match subscriber.scope.core.pool.last_error(pick) {
            Some((endpoint, trouble)) => {
                let error = Error::new(ErrorKind::Timeout, format!("{message}: {trouble}"));
                error.with_endpoint(&endpoint)
            }
            None => Error::new(ErrorKind::Timeout, message),
        }
    }
}

impl Drop for PendingWatch {
    fn drop(&mut self) {
        let addition = self.addition.as_ref();
        if let Some(addition) = addition.filter(|addition| !addition.is_created) {
            self.subscriber.send(WatchCommand::Cancel(addition.watch));
        }
    }
}

/// The error of a future that is polled after it has returned its result.
pub(super) fn polled_again() -> Error {
    Error::new(ErrorKind::InvalidArgument, "polled after it was ready")
}

/// Defines the options of a watch that is to be added, for a type with a field `pending`.
macro_rules! pending_options {
    ($type:ty) => {
        crate::watch::request::watch_options! { $type }

        impl $type {
            /// The longest time until the watch is in force. Default: the client's time-out.
            pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
                self.pending.timeout = Some(timeout);
                self
            }

            /// Waits without a limit until the watch is in force.
            pub fn no_timeout(mut self) -> Self {
                self.pending.timeout = None;
                self
            }

            fn watch_mut(&mut self) -> &mut crate::Watch {
                &mut self.pending.watch
            }
        }
    };
}
pub(super) use pending_options;
