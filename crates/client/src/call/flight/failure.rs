//! A call after a failed attempt: its end, or another attempt.

use std::pin::Pin;
use std::time::{Duration, Instant};

use super::{Flight, FlightState, wants_leader};
use crate::call::attempt::{FailedStep, is_servers_deadline};
use crate::call::request::{GivenUp, Request};
use crate::call::retry::{RetryContext, Verdict, pause, verdict};
use crate::error::{Error, ErrorKind, Outcome, Retry};
use crate::transport::{Failure, PickInfo, now};

impl Flight {
    /// Ends the call after a failed attempt, or prepares another one.
    pub(super) fn fail<W: Request>(
        mut self: Pin<&mut Self>,
        mut failure: Failure,
        request: &W,
    ) -> Result<(), Error> {
        let this = self.as_mut().project();
        let moment = now();
        let mut given_up = None;
        if let FlightState::Sent(sent) = this.state {
            given_up = sent.given_up.take();
            if given_up.is_some() && sent.exchange.is_waiting() {
                // The server does not have this attempt yet. All connections are full, or another
                // one would have been chosen.
                sent.stall = request.stall(this.scope, this.failed.stalls());
                return Ok(());
            }
            if given_up.is_some() {
                this.failed.note_stall();
            }
        }
        let pick = match this.state {
            FlightState::Sent(sent) => sent.pick_after(this.scope.member),
            FlightState::Authenticating(_, pick)
            | FlightState::Acquiring(_, pick)
            | FlightState::BackingOff(_, pick) => *pick,
            FlightState::New | FlightState::Streaming | FlightState::Done => PickInfo {
                lane: request.method().lane(),
                member: this.scope.member,
                avoided: None,
                during_shutdown: this.scope.during_shutdown,
            },
        };
        let left = this.clock.left(moment);
        if is_servers_deadline(&failure, left, this.clock.timeout()) {
            return Err(self.too_late());
        }
        let step = if given_up.is_some() {
            FailedStep::Wait
        } else if request.is_compound() {
            FailedStep::of(&failure, request.is_resumable())
        } else {
            FailedStep::None
        };
        if step != FailedStep::None {
            failure.error = failure.error.with_outcome(Outcome::Unknown);
        }
        let outcome = failure.error.outcome();
        if this
            .scope
            .note_token_refusal(&failure, this.token.as_deref())
        {
            let was_valid = matches!(this.state, FlightState::Sent(sent) if sent.is_slow);
            let may_try_another = this.failed.note_refused_token(was_valid);
            if step == FailedStep::Token {
                this.failed.note_uncertain();
            }
            // The server has not acted, or has ended all that it did: with another token, also a
            // write is safe.
            let over = outcome == Outcome::Rejected || step == FailedStep::Token;
            if over && may_try_another {
                let pick = PickInfo {
                    avoided: None,
                    ..pick
                };
                return self.authenticate(pick, moment, request);
            }
        }
        if given_up == Some(GivenUp::Undone) {
            return Err(failure.error);
        }
        if step == FailedStep::Wait {
            return self.wait_again(failure, pick, moment);
        }
        let core = &this.scope.core;
        let others = core.pool.alternatives(pick);
        let leaderless =
            failure.error.kind() == ErrorKind::NoLeader && wants_leader(this.scope, request);
        if leaderless
            && this.scope.require_leader == Some(true)
            && this.failed.retries() as usize >= others
        {
            // The caller wants the error at once, and every endpoint was asked.
            return Err(failure.error);
        }
        let verdict = verdict(RetryContext {
            repeatable: request.is_repeatable(),
            outcome,
            retry: failure.retry,
            retries_left: core.options.retries.saturating_sub(this.failed.retries()),
            retries: this.failed.retries(),
            pauses: this.failed.pauses(),
            others,
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
        // connection together are no overload, and must not use up the budget of a whole client.
        // The same holds for a member that cannot serve the call, as every call meets it anew.
        let free = this.failed.retries() == 0
            && matches!(failure.retry, Retry::Reconnect | Retry::OtherMember);
        let paid = this.failed.take_payment();
        if counted && !free && !paid && !core.budget.take() {
            return Err(failure.error);
        }
        if outcome == Outcome::Unknown {
            this.failed.note_uncertain();
        }
        this.failed.push(failure.error, counted, !pause.is_zero());
        let pick = PickInfo {
            avoided: pick.avoided.filter(|_| elsewhere),
            ..pick
        };
        if pause.is_zero() {
            return self.authenticate(pick, moment, request);
        }
        self.pause(pause, pick, moment);
        Ok(())
    }

    /// Sends the call again, with pauses: the server has refused to let the call wait, and has
    /// ended all that it did. The same lease keeps its place in the queue of a lock. The call
    /// repeats until it has the lock or its time is over.
    fn wait_again(
        mut self: Pin<&mut Self>,
        failure: Failure,
        pick: PickInfo,
        moment: Instant,
    ) -> Result<(), Error> {
        let this = self.as_mut().project();
        this.failed.note_uncertain();
        let pause = pause(this.failed.pauses(), fastrand::f64());
        let left = this.clock.left(moment);
        if left.is_some_and(|left| left <= pause) {
            return Err(failure.error);
        }
        this.failed.push(failure.error, false, true);
        let others = this.scope.core.pool.alternatives(pick);
        let pick = PickInfo {
            avoided: pick.avoided.filter(|_| others > 0),
            ..pick
        };
        self.pause(pause, pick, moment);
        Ok(())
    }

    fn pause(self: Pin<&mut Self>, pause: Duration, pick: PickInfo, moment: Instant) {
        let this = self.project();
        let until = moment + pause;
        *this.state = FlightState::BackingOff(until, pick);
        this.clock.wake_at(until);
    }
}
