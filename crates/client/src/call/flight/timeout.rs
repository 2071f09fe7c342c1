//! A call without an answer: doubts about the connection, the move to another endpoint, the
//! time-out.

use std::pin::Pin;

use super::{Flight, FlightState};
use crate::call::attempt::RECHECK_INTERVAL;
use crate::call::authentication::Authentication;
use crate::call::login::late;
use crate::call::request::Request;
use crate::error::{Error, ErrorKind, Outcome, Retry};
use crate::method::Lane;
use crate::transport::{Failure, now};

impl Flight {
    /// Handles the timer. Returns the error that ends the call, if any.
    pub(super) fn on_timer<W: Request>(mut self: Pin<&mut Self>, request: &W) -> Option<Error> {
        let moment = now();
        let this = self.as_mut().project();
        if this.clock.is_over(moment) {
            if let FlightState::Sent(sent) = this.state {
                // A call whose time-out is shorter than the first doubt must detect a dead
                // connection, too.
                sent.exchange.doubt(moment);
            }
            return Some(self.too_late());
        }
        match this.state {
            FlightState::BackingOff(until, pick) if *until <= moment => {
                let pick = *pick;
                self.authenticate(pick, moment, request).err()
            }
            FlightState::Sent(sent) => {
                let over = sent.until.is_some_and(|until| until <= moment);
                sent.is_slow |= sent.doubt.is_some_and(|doubt| doubt <= moment);
                if over || sent.doubt.is_some_and(|doubt| doubt <= moment) {
                    sent.exchange.doubt(moment);
                    // A call that waits for others is told by `leader_loss` when the wait is in
                    // vain.
                    let rechecks = sent.pick.lane != Lane::Wait;
                    sent.doubt = rechecks.then(|| moment + RECHECK_INTERVAL);
                }
                let link = sent.exchange.link();
                // A request that waits for a stream can move, too: no server has seen its message.
                let waits = (request.is_repeatable() || sent.exchange.is_waiting())
                    && !sent.exchange.is_answering()
                    && this.failed.retries() < this.scope.core.options.retries;
                // The attempt has not failed yet: if the budget does not allow another one, the
                // call waits.
                let pool = &this.scope.core.pool;
                let leaves = || link.state.is_suspect() || pool.is_better_elsewhere(link);
                let moves = waits && (over || leaves()) && this.failed.pay(&this.scope.core.budget);
                // A request that must not be sent twice ends early when its endpoint no longer
                // serves.
                let ends =
                    this.scope.member.is_none() && !request.is_local() && link.serving.is_left();
                let taken_back = (moves || ends) && sent.exchange.take_back();
                // A message may have left in this moment: then only a repeatable request moves.
                if taken_back || ends || (moves && request.is_repeatable()) {
                    let (outcome, retry) = if taken_back {
                        // Counted, unlike a move away from a lost connection.
                        (Outcome::NotSent, Retry::Elsewhere)
                    } else {
                        (Outcome::Unknown, Retry::Reconnect)
                    };
                    let message = "the server does not answer";
                    let failure = Failure::new(ErrorKind::Unavailable, outcome, message, retry);
                    return self.fail(failure, request).err();
                }
                if over {
                    sent.until = None;
                }
                this.clock.wake_at_or_deadline(sent.wake());
                None
            }
            FlightState::New
            | FlightState::Authenticating(..)
            | FlightState::Acquiring(..)
            | FlightState::BackingOff(..)
            | FlightState::Streaming
            | FlightState::Done => None,
        }
    }

    /// Returns the error of a call whose time is over.
    pub(super) fn too_late(self: Pin<&mut Self>) -> Error {
        let this = self.project();
        let timeout = this.clock.timeout().unwrap_or_default();
        let last = this.failed.take_last();
        match this.state {
            FlightState::Acquiring(_, pick) => {
                let trouble = this.scope.core.pool.last_error(*pick);
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
            FlightState::Authenticating(..) => {
                // The result of the login says nothing about the request: the request itself was
                // not sent.
                let authentication = this.scope.core.authentication.get();
                late(timeout, authentication.and_then(Authentication::last_error))
            }
            state => {
                let (outcome, text) = match state {
                    FlightState::Sent(sent) if sent.exchange.take_back() => {
                        let limit = sent.exchange.link().state.queue.limit();
                        let text = format!(
                            "no stream was free within {timeout:?}: the server allows {limit} at once"
                        );
                        (Outcome::NotSent, text)
                    }
                    FlightState::Sent(_) => {
                        (Outcome::Unknown, format!("no answer within {timeout:?}"))
                    }
                    _ => (Outcome::NotSent, format!("no answer within {timeout:?}")),
                };
                let error = Error::new(ErrorKind::Timeout, text).with_outcome(outcome);
                match last {
                    Some(last) => error.with_source(last),
                    None => error,
                }
            }
        }
    }
}
