//! What becomes of a call when an attempt has failed: the end, or another attempt.

use std::pin::Pin;

use super::{Flight, Stage, wants_leader};
use crate::call::attempt::is_servers_deadline;
use crate::call::retry::{Situation, Verdict, verdict};
use crate::call::wire::Wire;
use crate::error::{Error, ErrorKind, Outcome, Retry};
use crate::transport::{Failure, Want, now};

/// How many tokens a call tries: one that has expired, and one that a change of users made
/// stale before it was used.
const REFUSED_PASSES: u32 = 2;

impl Flight {
    /// An attempt has failed: give up, or try again.
    pub(super) fn fail<W: Wire>(
        mut self: Pin<&mut Self>,
        failure: Failure,
        request: &W,
    ) -> Result<(), Error> {
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
        let left = this.clock.left(moment);
        if is_servers_deadline(&failure, left, this.clock.timeout()) {
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
        let others = core.transport.others(want);
        let leaderless =
            failure.error.kind() == ErrorKind::NoLeader && wants_leader(this.scope, request);
        if leaderless && this.scope.require_leader == Some(true) && *this.retries as usize >= others
        {
            // The caller has asked to be told at once, and every endpoint was asked.
            return Err(failure.error);
        }
        let verdict = verdict(Situation {
            repeatable: request.is_repeatable(),
            outcome,
            retry: failure.retry,
            retries_left: core.options.retries.saturating_sub(*this.retries),
            retries: *this.retries,
            pauses: *this.pauses,
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
        // together do not make an overload, and must not use up the budget of a whole client.
        // The same holds for a member that is not to serve the call: every call meets it anew.
        let free =
            *this.retries == 0 && matches!(failure.retry, Retry::Reconnect | Retry::OtherMember);
        let paid = std::mem::take(this.paid);
        if counted && !free && !paid && !core.budget.take() {
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
        this.clock.wake_at(until);
        Ok(())
    }
}
