//! One call under way: from waiting for a connection to the bytes of its reply.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pin_project_lite::pin_project;
use tokio::time::Sleep;

use super::attempt::{DOUBT, LOOK, Sent, is_servers_deadline, settle};
use super::closing::UnderWay;
use super::retry::{Situation, Verdict, patience, verdict};
use super::wire::Wire;
use super::{Entry, Scope, Timeout};
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Outcome, Retry};
use crate::method::{Lane, Method};
use crate::telemetry::{self, End, Stopped};
use crate::transport::{Exchange, Failure, Head, Occupancy, Pass, Want, closed, leader_loss, now};

/// How many tokens a call tries: one that has expired, and one that a change of users made
/// stale before it was used.
const REFUSED_PASSES: u32 = 2;

pin_project! {
    pub(crate) struct Flight {
        scope: Scope,
        stage: Stage,
        // What `stage` waits for at the latest.
        wake: Option<Instant>,
        deadline: Option<Instant>,
        timeout: Option<Duration>,
        method: Option<Method>,
        // When it was first polled, if anybody wants to know.
        started: Option<Instant>,
        endpoint: Option<Endpoint>,
        attempts: u32,
        retries: u32,
        pauses: u32,
        // The token that the attempt brings, and how often one was refused.
        pass: Option<Arc<Pass>>,
        refused_passes: u32,
        // Counted among the calls of the client until it ends.
        under_way: Option<UnderWay>,
        // An attempt before this one may have reached a server.
        uncertain: bool,
        last: Option<Error>,
        #[pin]
        timer: Option<Sleep>,
    }

    impl PinnedDrop for Flight {
        fn drop(this: Pin<&mut Self>) {
            if !matches!(this.stage, Stage::New | Stage::Done) {
                this.tell(End::Dropped);
            }
        }
    }
}

enum Stage {
    New,
    /// For the client's token.
    Entering(BoxFuture<Option<Arc<Pass>>>, Want),
    /// For a connection.
    Waiting(BoxFuture<Occupancy>, Want),
    Sent(Sent),
    /// Before another attempt.
    Pausing(Instant, Want),
    Done,
}

/// The slow ways, which few calls go, are boxed.
type BoxFuture<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

impl Flight {
    pub(crate) fn new(scope: Scope) -> Self {
        Self {
            scope,
            stage: Stage::New,
            wake: None,
            deadline: None,
            timeout: None,
            method: None,
            started: None,
            endpoint: None,
            attempts: 0,
            retries: 0,
            pauses: 0,
            pass: None,
            refused_passes: 0,
            under_way: None,
            uncertain: false,
            last: None,
            timer: None,
        }
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(crate) fn scope_mut(&mut self) -> &mut Scope {
        &mut self.scope
    }

    /// Whether an attempt before the last may have been applied.
    pub(crate) fn is_uncertain(&self) -> bool {
        self.uncertain
    }

    pub(crate) fn into_scope(self) -> Scope {
        self.scope.clone()
    }

    /// Adds to an error what is known of the call.
    pub(crate) fn describe(&self, error: Error) -> Error {
        match self.method {
            Some(method) => {
                self.scope
                    .describe(error, method, self.endpoint.as_ref(), self.attempts)
            }
            None => error,
        }
    }

    pub(crate) fn poll_reply<W: Wire>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        request: &W,
    ) -> Poll<Result<Bytes, Error>> {
        loop {
            if let Poll::Ready(outcome) = self.as_mut().poll_stage(cx, request) {
                return Poll::Ready(self.end(outcome));
            }
            // Whatever the stage waits for, it waits no longer than this.
            ready!(self.as_mut().poll_timer(cx));
            if let Some(error) = self.as_mut().tick(request) {
                return Poll::Ready(self.end(Err(error)));
            }
        }
    }

    fn end(mut self: Pin<&mut Self>, outcome: Result<Bytes, Error>) -> Result<Bytes, Error> {
        let this = self.as_mut().project();
        *this.stage = Stage::Done;
        *this.under_way = None;
        let outcome = outcome.map_err(|error| self.describe(settle(error, self.uncertain)));
        self.tell(outcome.as_ref().map_or_else(End::Failed, |_| End::Ok));
        outcome
    }

    /// Tells of its end, if anybody has heard of its beginning.
    fn tell(&self, end: End<'_>) {
        if let (Some(started), Some(method)) = (self.started, self.method) {
            let stopped = Stopped {
                client: self.scope.core.options.name.as_ref(),
                request: method.name(),
                endpoint: self.endpoint.as_ref(),
                attempts: self.attempts,
                end,
            };
            telemetry::request_stopped(stopped, now().saturating_duration_since(started));
        }
    }

    /// Goes as far as it can; `Pending` has registered with what the stage waits for.
    fn poll_stage<W: Wire>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        request: &W,
    ) -> Poll<Result<Bytes, Error>> {
        loop {
            let this = self.as_mut().project();
            match this.stage {
                Stage::New => {
                    let moment = now();
                    let want = self.as_mut().start(moment, request)?;
                    self.as_mut().enter(want, moment, request)?;
                }
                Stage::Entering(pass, want) => {
                    let want = *want;
                    // Whatever became of the login, the request itself was not sent.
                    *this.pass = ready!(pass.as_mut().poll(cx))
                        .map_err(|error| error.with_outcome(Outcome::NotSent))?;
                    self.as_mut().go(want, now(), request)?;
                }
                Stage::Waiting(place, want) => {
                    let want = *want;
                    let occupancy = ready!(place.as_mut().poll(cx))?;
                    self.as_mut().send(occupancy, want, now(), request)?;
                }
                Stage::Sent(sent) => match ready!(sent.poll_reply(cx)) {
                    Ok(reply) => {
                        this.scope.core.budget.earn();
                        return Poll::Ready(Ok(reply));
                    }
                    Err(failure) => self.as_mut().fail(failure, request)?,
                },
                Stage::Pausing(..) | Stage::Done => return Poll::Pending,
            }
        }
    }

    /// The first poll: from here on the clock runs.
    fn start<W: Wire>(self: Pin<&mut Self>, moment: Instant, request: &W) -> Result<Want, Error> {
        let this = self.project();
        let method = request.method();
        *this.method = Some(method);
        if telemetry::wants_requests() {
            *this.started = Some(moment);
            telemetry::request_started(this.scope.core.options.name.as_ref(), method.name());
        }
        *this.timeout = match this.scope.timeout {
            Timeout::Default(_) if request.is_long() => None,
            timeout => timeout.of_a_call(),
        };
        // A time-out beyond what a clock can tell is none.
        *this.deadline = this.timeout.and_then(|timeout| moment.checked_add(timeout));
        if !this.scope.parting {
            *this.under_way = Some(this.scope.core.closing.enter().ok_or_else(closed)?);
        }
        Ok(Want {
            lane: method.lane(),
            member: this.scope.member,
            avoided: None,
            parting: this.scope.parting,
        })
    }

    /// Takes the client's token along, if calls need one.
    fn enter<W: Wire>(
        mut self: Pin<&mut Self>,
        want: Want,
        moment: Instant,
        request: &W,
    ) -> Result<(), Error> {
        let this = self.as_mut().project();
        let Some(authentication) = this.scope.authentication() else {
            return self.go(want, moment, request);
        };
        *this.pass = match authentication.entry()? {
            Entry::With(pass) => Some(pass),
            Entry::Without => None,
            Entry::Fetch => {
                let scope = this.scope.clone();
                *this.stage = Stage::Entering(Box::pin(async move { scope.pass().await }), want);
                *this.wake = *this.deadline;
                return Ok(());
            }
        };
        self.go(want, moment, request)
    }

    /// Takes a place on a connection, or waits for one.
    fn go<W: Wire>(
        mut self: Pin<&mut Self>,
        want: Want,
        moment: Instant,
        request: &W,
    ) -> Result<(), Error> {
        let this = self.as_mut().project();
        let transport = &this.scope.core.transport;
        match transport.occupy_now(want) {
            Some(occupancy) => self.send(occupancy, want, moment, request),
            None => {
                // What makes no sense is told now, and not when a connection has come.
                request
                    .encode(
                        this.scope.namespace.as_ref(),
                        this.scope.core.options.max_send_size,
                    )
                    .map_err(|failure| failure.error)?;
                *this.stage = Stage::Waiting(Box::pin(transport.occupy(want)), want);
                *this.wake = *this.deadline;
                Ok(())
            }
        }
    }

    /// One attempt.
    ///
    /// The request is encoded anew for each: keeping the bytes would cost every call an
    /// allocation and two atomic operations, for the few that are sent twice.
    fn send<W: Wire>(
        mut self: Pin<&mut Self>,
        occupancy: Occupancy,
        want: Want,
        moment: Instant,
        request: &W,
    ) -> Result<(), Error> {
        let this = self.as_mut().project();
        let options = &this.scope.core.options;
        let body = request
            .encode(this.scope.namespace.as_ref(), options.max_send_size)
            .map_err(|failure| failure.error)?;
        let left = this
            .deadline
            .map(|deadline| deadline.saturating_duration_since(moment));
        *this.endpoint = Some(occupancy.link().endpoint.clone());
        *this.attempts += 1;
        let leader = wants_leader(this.scope, request);
        let waits = leader && want.lane == Lane::Wait;
        let link = waits.then(|| Arc::clone(occupancy.link()));
        let head = Head {
            timeout: left,
            require_leader: leader,
            pass: this.pass.as_deref(),
        };
        let begun = Exchange::begin(
            occupancy,
            request.method(),
            head,
            body,
            options.max_receive_size,
        );
        let exchange = match begun {
            Ok(exchange) => exchange,
            Err(failure) => return self.fail(failure, request),
        };
        // Who may not try again has nothing to hurry for.
        let hurry = request.is_repeatable()
            && *this.retries < options.retries
            && this.scope.core.transport.has_elsewhere(want);
        let sent = Sent {
            exchange,
            want,
            until: left.filter(|_| hurry).map(|left| moment + patience(left)),
            doubt: moment + DOUBT,
            leader_loss: link.map(|link| leader_loss(&link, this.pass.as_ref())),
        };
        *this.wake = sent.wake(*this.deadline);
        *this.stage = Stage::Sent(sent);
        Ok(())
    }

    /// An attempt has failed: give up, or try again.
    fn fail<W: Wire>(mut self: Pin<&mut Self>, failure: Failure, request: &W) -> Result<(), Error> {
        let this = self.as_mut().project();
        let moment = now();
        let want = match this.stage {
            Stage::Sent(sent) => sent.want_after(this.scope.member),
            Stage::Entering(_, want) | Stage::Waiting(_, want) | Stage::Pausing(_, want) => *want,
            Stage::New | Stage::Done => Want {
                lane: request.method().lane(),
                member: this.scope.member,
                avoided: None,
                parting: this.scope.parting,
            },
        };
        let left = this
            .deadline
            .map(|deadline| deadline.saturating_duration_since(moment));
        if is_servers_deadline(&failure, left, *this.timeout) {
            return Err(self.too_late());
        }
        let outcome = failure.error.outcome();
        if this.scope.has_lost_pass(&failure, this.pass.as_deref()) {
            *this.refused_passes += 1;
            // The server says that it has not acted: with another token, a write is safe too.
            if outcome == Outcome::Rejected && *this.refused_passes <= REFUSED_PASSES {
                let want = Want {
                    avoided: None,
                    ..want
                };
                return self.enter(want, moment, request);
            }
        }
        let core = &this.scope.core;
        let leaderless =
            failure.error.kind() == ErrorKind::NoLeader && wants_leader(this.scope, request);
        if leaderless && this.scope.require_leader == Some(true) {
            // To be told at once is what was asked for, once every endpoint was.
            let others = core.transport.endpoints().len().saturating_sub(1);
            if want.member.is_some() || *this.retries as usize >= others {
                return Err(failure.error);
            }
        }
        // A member that was to have a leader looks for it first of all: it has not acted, so that
        // a write is safe too.
        let untouched = leaderless && outcome == Outcome::Rejected;
        let verdict = verdict(Situation {
            repeatable: request.is_repeatable() || untouched,
            outcome,
            retry: failure.retry,
            retries_left: core.options.retries.saturating_sub(*this.retries),
            retries: *this.retries,
            pauses: *this.pauses,
            elsewhere: core.transport.has_elsewhere(want),
            left,
            random: fastrand::f64(),
        });
        let Verdict::Again {
            pause,
            elsewhere,
            counted,
        } = verdict
        else {
            return Err(failure.error);
        };
        // The first move away from a lost connection is free: a thousand calls that lose one
        // together do not make an overload, and must not use up the budget of a whole client.
        let free = *this.retries == 0 && failure.error.code().is_none();
        if counted && !free && !core.budget.take() {
            return Err(failure.error);
        }
        *this.retries += u32::from(counted);
        *this.uncertain |= outcome == Outcome::Unknown;
        *this.last = Some(failure.error);
        let want = Want {
            avoided: want.avoided.filter(|_| elsewhere),
            ..want
        };
        *this.pauses += u32::from(!pause.is_zero());
        if pause.is_zero() {
            return self.enter(want, moment, request);
        }
        let until = moment + pause;
        *this.stage = Stage::Pausing(until, want);
        *this.wake = Some(until);
        Ok(())
    }

    fn poll_timer(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(wake) = *this.wake else {
            return Poll::Pending;
        };
        let wake = tokio::time::Instant::from_std(wake);
        match this.timer.as_mut().as_pin_mut() {
            Some(timer) if timer.deadline() == wake => {}
            Some(timer) => timer.reset(wake),
            None => this.timer.set(Some(tokio::time::sleep_until(wake))),
        }
        match this.timer.as_pin_mut() {
            Some(timer) => timer.poll(cx),
            None => Poll::Pending,
        }
    }

    /// The timer has fired: what is due?
    fn tick<W: Wire>(mut self: Pin<&mut Self>, request: &W) -> Option<Error> {
        let moment = now();
        let this = self.as_mut().project();
        if this.deadline.is_some_and(|deadline| deadline <= moment) {
            if let Stage::Sent(sent) = this.stage {
                // Calls with less time than a doubt takes must find a dead connection, too.
                sent.exchange.link().pulse.doubt();
            }
            return Some(self.too_late());
        }
        match this.stage {
            Stage::Pausing(until, want) if *until <= moment => {
                let want = *want;
                self.enter(want, moment, request).err()
            }
            Stage::Sent(sent) => {
                let link = sent.exchange.link();
                let over = sent.until.is_some_and(|until| until <= moment);
                if sent.doubt <= moment || over {
                    link.pulse.doubt();
                    sent.doubt = moment + LOOK;
                }
                let waits = request.is_repeatable()
                    && !sent.exchange.is_answering()
                    && *this.retries < this.scope.core.options.retries;
                if waits && (over || link.pulse.is_suspect()) {
                    let failure = Failure::new(
                        ErrorKind::Unavailable,
                        Outcome::Unknown,
                        "the server does not answer",
                        Retry::Elsewhere,
                    );
                    return self.fail(failure, request).err();
                }
                if over {
                    sent.until = None;
                }
                *this.wake = sent.wake(*this.deadline);
                None
            }
            Stage::New
            | Stage::Entering(..)
            | Stage::Waiting(..)
            | Stage::Pausing(..)
            | Stage::Done => None,
        }
    }

    /// The error of a call whose time is over.
    fn too_late(self: Pin<&mut Self>) -> Error {
        let this = self.project();
        let timeout = this.timeout.unwrap_or_default();
        let last = this.last.take();
        match this.stage {
            Stage::Waiting(_, want) => {
                let trouble = this.scope.core.transport.trouble(*want);
                let text = match &trouble {
                    Some((endpoint, cause)) => {
                        format!("no connection within {timeout:?}: {endpoint}: {cause}")
                    }
                    None => format!("no connection within {timeout:?}"),
                };
                let kind = trouble
                    .as_ref()
                    .map_or(ErrorKind::Unavailable, |(_, c)| c.kind());
                let error = Error::new(kind, text);
                match (trouble, last) {
                    (Some((_, cause)), _) => error.with_source(cause),
                    (None, Some(last)) => error.with_source(last),
                    (None, None) => error,
                }
            }
            stage => {
                let outcome = match stage {
                    Stage::Sent(_) => Outcome::Unknown,
                    _ => Outcome::NotSent,
                };
                let error = Error::new(ErrorKind::Timeout, format!("no answer within {timeout:?}"))
                    .with_outcome(outcome);
                match last {
                    Some(last) => error.with_source(last),
                    None => error,
                }
            }
        }
    }
}

/// Whether the call goes only to a member that sees a leader.
fn wants_leader<W: Wire>(scope: &Scope, request: &W) -> bool {
    scope
        .require_leader
        .unwrap_or_else(|| request.wants_leader())
}
