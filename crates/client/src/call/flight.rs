//! A call in progress: from the wait for a connection to the bytes of the reply.

mod clock;
mod failed_attempts;
mod failure;
mod record;
mod timeout;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use pin_project_lite::pin_project;

use self::clock::Clock;
use self::failed_attempts::FailedAttempts;
use self::record::CallRecord;
use super::attempt::{DOUBT_AFTER, SentAttempt, settle};
use super::authentication::{Authentication, CallCredential};
use super::request::Request;
use super::retry::first_answer_limit;
use super::scope::{Scope, Timeout};
use super::shutdown::CallGuard;
use crate::error::{Error, Outcome};
use crate::method::Lane;
use crate::telemetry::CallEnd;
use crate::transport::stream::Incoming;
use crate::transport::{
    Exchange, Head, PickInfo, StreamPermit, TokenHeader, closed, leader_loss, now,
};

pin_project! {
    /// A call in progress.
    ///
    /// ```text
    ///  New ──► Authenticating ──► Acquiring ──► Sent ──► Done
    ///                ▲                           │ │      ▲
    ///                │                           │ └──► Streaming (a call with many messages)
    ///                │                           │
    ///                └──────── BackingOff ◄──────┘ a failure that allows another attempt
    /// ```
    ///
    /// A call skips `Authenticating` when it needs no token or the client has one, `Acquiring` when a
    /// connection has a free stream, and `BackingOff` when the next attempt has no pause. An error
    /// leads from every state to `Done`.
    pub(crate) struct Flight {
        scope: Scope,
        state: FlightState,
        record: CallRecord,
        failed: FailedAttempts,
        // The token of the attempt.
        token: Option<Arc<TokenHeader>>,
        // Counts the call among those of the client until it ends.
        guard: Option<CallGuard>,
        #[pin]
        clock: Clock,
    }

    impl PinnedDrop for Flight {
        fn drop(this: Pin<&mut Self>) {
            if !matches!(this.state, FlightState::New | FlightState::Done) {
                this.record.report_end(&this.scope, CallEnd::Dropped);
            }
        }
    }
}

#[expect(
    clippy::large_enum_variant,
    reason = "boxing an attempt would cost every call an allocation"
)]
enum FlightState {
    New,
    /// Waits for the client's token.
    Authenticating(BoxFuture<Option<Arc<TokenHeader>>>, PickInfo),
    /// Waits for a connection.
    Acquiring(BoxFuture<StreamPermit>, PickInfo),
    Sent(SentAttempt),
    /// The first of many messages has arrived; the reader of the others ends the call.
    Streaming,
    /// Waits before another attempt.
    BackingOff(Instant, PickInfo),
    Done,
}

/// The rare paths are boxed: a call that has a token and a connection does not take them.
type BoxFuture<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

impl Flight {
    pub(crate) fn new(scope: Scope) -> Self {
        Self {
            scope,
            state: FlightState::New,
            record: CallRecord::default(),
            failed: FailedAttempts::default(),
            token: None,
            guard: None,
            clock: Clock::default(),
        }
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(crate) fn scope_mut(&mut self) -> &mut Scope {
        &mut self.scope
    }

    /// Returns whether an earlier attempt may have been applied.
    pub(crate) fn is_uncertain(&self) -> bool {
        self.failed.is_uncertain()
    }

    /// Adds the facts about the call to an error.
    pub(crate) fn describe(&self, error: Error) -> Error {
        self.record.describe(&self.scope, error)
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.record.attempts()
    }

    pub(crate) fn into_scope(self) -> Scope {
        self.scope.clone()
    }

    pub(crate) fn poll_reply<W: Request>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        request: &W,
    ) -> Poll<Result<Bytes, Error>> {
        let outcome = ready!(self.as_mut().poll_attempts(cx, request));
        Poll::Ready(self.end(outcome))
    }

    /// Polls for the first of many messages. Returns that message and the stream of the others. The
    /// call has not ended then; [`end`](Self::end) ends it.
    pub(crate) fn poll_first<W: Request>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        request: &W,
    ) -> Poll<Result<(Bytes, Option<Incoming>), Error>> {
        match ready!(self.as_mut().poll_attempts(cx, request)) {
            Ok(first) => {
                let this = self.project();
                let rest = match std::mem::replace(this.state, FlightState::Streaming) {
                    FlightState::Sent(sent) => sent.exchange.into_incoming(),
                    _ => None,
                };
                Poll::Ready(Ok((first, rest)))
            }
            Err(error) => Poll::Ready(self.end(Err(error))),
        }
    }

    fn poll_attempts<W: Request>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        request: &W,
    ) -> Poll<Result<Bytes, Error>> {
        loop {
            if let Poll::Ready(outcome) = self.as_mut().poll_state(cx, request) {
                return Poll::Ready(outcome);
            }
            // The timer limits each state.
            ready!(self.as_mut().project().clock.poll(cx))?;
            if let Some(error) = self.as_mut().on_timer(request) {
                return Poll::Ready(Err(error));
            }
        }
    }

    /// Ends the call: adds the facts about the call to an error, and reports the end.
    pub(crate) fn end<T>(mut self: Pin<&mut Self>, outcome: Result<T, Error>) -> Result<T, Error> {
        let this = self.as_mut().project();
        *this.state = FlightState::Done;
        *this.guard = None;
        let outcome = outcome.map_err(|error| self.describe(settle(error, self.is_uncertain())));
        let end = outcome
            .as_ref()
            .map_or_else(CallEnd::Failed, |_| CallEnd::Ok);
        self.record.report_end(&self.scope, end);
        outcome
    }

    /// Advances as far as possible. `Pending` has registered with whatever the state waits for.
    fn poll_state<W: Request>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        request: &W,
    ) -> Poll<Result<Bytes, Error>> {
        loop {
            let this = self.as_mut().project();
            match this.state {
                FlightState::New => {
                    let moment = now();
                    let pick = self.as_mut().start(moment, request)?;
                    self.as_mut().authenticate(pick, moment, request)?;
                }
                FlightState::Authenticating(token, pick) => {
                    let pick = *pick;
                    // The result of the login says nothing about the request: the request itself
                    // was not sent.
                    *this.token = ready!(token.as_mut().poll(cx))
                        .map_err(|error| error.with_outcome(Outcome::NotSent))?;
                    self.as_mut().acquire(pick, now(), request)?;
                }
                FlightState::Acquiring(place, pick) => {
                    let pick = *pick;
                    let permit = ready!(place.as_mut().poll(cx))?;
                    self.as_mut().send(permit, pick, now(), request)?;
                }
                FlightState::Sent(sent) => match ready!(sent.poll_reply(cx)) {
                    Ok(reply) => {
                        this.scope.core.budget.earn();
                        return Poll::Ready(Ok(reply));
                    }
                    Err(failure) => self.as_mut().fail(failure, request)?,
                },
                FlightState::Streaming | FlightState::BackingOff(..) | FlightState::Done => {
                    return Poll::Pending;
                }
            }
        }
    }

    /// Starts the clock, at the first poll.
    fn start<W: Request>(
        self: Pin<&mut Self>,
        moment: Instant,
        request: &W,
    ) -> Result<PickInfo, Error> {
        // Timers and connections need a runtime, and would panic later without one.
        crate::runtime::present()?;
        let this = self.project();
        let method = request.method();
        this.record
            .begin(this.scope, method, request.is_read(), moment);
        this.clock.start(
            match this.scope.timeout {
                Timeout::Default(_) if request.is_long() => None,
                timeout => timeout.of_a_call(),
            },
            moment,
        );
        if !this.scope.during_shutdown {
            *this.guard = Some(this.scope.core.shutdown.begin_call().ok_or_else(closed)?);
        }
        Ok(PickInfo {
            lane: method.lane(),
            member: this.scope.member,
            avoided: None,
            during_shutdown: this.scope.during_shutdown,
        })
    }

    /// Takes the client's token, or waits for one, if the client has credentials.
    fn authenticate<W: Request>(
        mut self: Pin<&mut Self>,
        pick: PickInfo,
        moment: Instant,
        request: &W,
    ) -> Result<(), Error> {
        let this = self.as_mut().project();
        let Some(authentication) = this.scope.authentication() else {
            return self.acquire(pick, moment, request);
        };
        *this.token = match authentication.credential(&this.scope.core)? {
            CallCredential::Token(token) => Some(token),
            CallCredential::Anonymous => None,
            CallCredential::Fetch => {
                let scope = this.scope.clone();
                *this.state =
                    FlightState::Authenticating(Box::pin(Authentication::fetch(scope)), pick);
                this.clock.wake_at_deadline();
                return Ok(());
            }
        };
        self.acquire(pick, moment, request)
    }

    /// Takes a permit on a connection, or waits for one.
    fn acquire<W: Request>(
        mut self: Pin<&mut Self>,
        pick: PickInfo,
        moment: Instant,
        request: &W,
    ) -> Result<(), Error> {
        let this = self.as_mut().project();
        let pool = &this.scope.core.pool;
        match pool.try_acquire(pick) {
            Some(permit) => self.send(permit, pick, moment, request),
            None => {
                // An invalid request fails now, and not only when a connection is up.
                request
                    .encode(
                        this.scope.namespace.as_ref(),
                        this.scope.core.options.max_send_size,
                    )
                    .map_err(|failure| failure.error)?;
                *this.state = FlightState::Acquiring(Box::pin(pool.acquire(pick)), pick);
                this.clock.wake_at_deadline();
                Ok(())
            }
        }
    }

    /// Sends one attempt.
    ///
    /// The request is encoded for each attempt: keeping the bytes would cost every call an
    /// allocation and two atomic operations, for the few calls that are sent twice.
    fn send<W: Request>(
        mut self: Pin<&mut Self>,
        permit: StreamPermit,
        pick: PickInfo,
        moment: Instant,
        request: &W,
    ) -> Result<(), Error> {
        let this = self.as_mut().project();
        let options = &this.scope.core.options;
        let body = request
            .encode(this.scope.namespace.as_ref(), options.max_send_size)
            .map_err(|failure| failure.error)?;
        request.sends(&this.scope.core);
        if this.clock.is_over(moment) {
            // The caller would not wait for the answer, and no server has seen the request so far.
            return Err(self.too_late());
        }
        let left = this.clock.left(moment);
        this.record.attempt(&permit.link().endpoint);
        let leader = wants_leader(this.scope, request);
        let waits = leader && pick.lane == Lane::Wait;
        let link = waits.then(|| Arc::clone(permit.link()));
        let head = Head {
            // A stream of messages has no time limit on the server: only the first message has one.
            timeout: left.filter(|_| !request.method().answers_by_messages()),
            require_leader: leader,
            token: this.token.as_deref(),
        };
        let begun = Exchange::begin(
            permit,
            request.method(),
            request.is_local(),
            head,
            body,
            options.max_receive_size,
        );
        let exchange = match begun {
            Ok(exchange) => exchange,
            Err(failure) => return self.fail(failure, request),
        };
        // A call that must not be sent again does not leave a slow server.
        let hurry = request.is_repeatable()
            && this.failed.retries() < options.retries
            && this.scope.core.pool.alternatives(pick) > 0;
        let sent = SentAttempt {
            exchange,
            pick,
            until: left
                .filter(|_| hurry)
                .map(|left| moment + first_answer_limit(left)),
            doubt: Some(moment + DOUBT_AFTER),
            is_slow: false,
            leader_loss: link.map(|link| leader_loss(&link, this.token.as_ref())),
            stall: request.stall(this.scope, this.failed.stalls()),
            given_up: None,
        };
        this.clock.wake_at_or_deadline(sent.wake());
        *this.state = FlightState::Sent(sent);
        Ok(())
    }
}

/// Returns whether the call goes only to a member that sees a leader.
fn wants_leader<W: Request>(scope: &Scope, request: &W) -> bool {
    scope
        .require_leader
        .unwrap_or_else(|| request.wants_leader())
}
