//! One attempt of a call: what was sent, how long the client waits, and the meaning of its end.

use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::authentication::is_about_token;
use super::request::{GivenUp, Stall};
use crate::error::{Code, Error, ErrorKind, Outcome, Retry};
use crate::transport::{Avoided, EndpointTarget, Exchange, Failure, LeaderLoss, PickInfo};

/// If an answer takes longer, the client pings the connection and probes the endpoint.
pub(super) const DOUBT_AFTER: Duration = Duration::from_secs(1);

/// How often a waiting call checks whether another endpoint would serve it sooner.
pub(super) const RECHECK_INTERVAL: Duration = Duration::from_millis(250);

/// An attempt in progress.
pub(super) struct SentAttempt {
    pub(super) exchange: Exchange,
    pub(super) pick: PickInfo,
    /// Until when the server has to begin to answer, if another endpoint could be tried.
    pub(super) until: Option<Instant>,
    /// When the connection and the endpoint are checked next.
    pub(super) doubt: Option<Instant>,
    /// Whether the answer has taken longer than [`DOUBT_AFTER`] so far.
    pub(super) is_slow: bool,
    /// Set for a call that waits for other clients and requires a leader.
    pub(super) leader_loss: Option<LeaderLoss>,
    /// Set for a request that another attempt would continue; `None` once the server has stalled.
    pub(super) stall: Option<Stall>,
    /// Set when the server has stopped to carry out the request, and the attempt is given up.
    pub(super) given_up: Option<GivenUp>,
}

impl SentAttempt {
    /// Completes with the reply, or with the loss of the leader, without which no reply would come.
    pub(super) fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Failure>> {
        if let Poll::Ready(reply) = self.exchange.poll_reply(cx) {
            return Poll::Ready(reply);
        }
        if let Some(loss) = &mut self.leader_loss {
            if loss.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(leader_lost()));
            }
        }
        if let Some(stall) = &mut self.stall {
            self.given_up = Some(ready!(stall.as_mut().poll(cx)));
            self.stall = None;
            return Poll::Ready(Err(stalled()));
        }
        Poll::Pending
    }

    /// Returns when the attempt has to be checked next, if ever.
    pub(super) fn wake(&self) -> Option<Instant> {
        self.until.into_iter().chain(self.doubt).min()
    }

    /// Returns what to ask the transport for after a failure: another link.
    pub(super) fn pick_after(&self, member: Option<EndpointTarget>) -> PickInfo {
        let link = self.exchange.link();
        PickInfo {
            lane: self.pick.lane,
            member,
            during_shutdown: self.pick.during_shutdown,
            avoided: Some(Avoided::new(link)),
        }
    }
}

/// The member had a leader when the call arrived, so the call may have been applied.
fn leader_lost() -> Failure {
    Failure::new(
        ErrorKind::NoLeader,
        Outcome::Unknown,
        "the member has lost its leader while the call was waiting",
        Retry::Never,
    )
}

/// The server has carried out some steps of the request, and does not go on.
fn stalled() -> Failure {
    Failure::new(
        ErrorKind::Unavailable,
        Outcome::Unknown,
        "the member has stopped to carry out the request",
        Retry::Elsewhere,
    )
}

/// The step that failed, for a request of several steps whose answer has only a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailedStep {
    /// The error is that of the request as a whole, and not of one of its steps.
    None,
    /// A step was refused for the token of the call.
    Token,
    /// The waiting step was refused, although the token of the call may be valid.
    ///
    /// All locks that wait at a member share one stream of watches inside the server. The stream
    /// has the token of the lock that opened it. When that token has expired, the server refuses
    /// every further watch on it. The text of the error is about the token (3.5.35 and later) or
    /// the permission (3.5.1).
    Wait,
    /// A step was refused for another reason, or another attempt could not continue the steps that
    /// were carried out.
    Other,
}

impl FailedStep {
    /// `resumable`: another attempt continues the steps that an earlier one has carried out.
    pub(super) fn of(failure: &Failure, resumable: bool) -> Self {
        let error = &failure.error;
        if error.code() != Some(Code::Unknown) {
            return Self::None;
        }
        if !resumable {
            return Self::Other;
        }
        // The server refuses a watch with a text, which its own client prefixes.
        if error.message().starts_with("rpc error: code = ") {
            return Self::Wait;
        }
        if is_about_token(error.kind()) {
            return Self::Token;
        }
        Self::Other
    }
}

/// Returns whether the server has reset the stream because its own deadline for the call has
/// passed: its clock for the call can be ahead of the client's, and it sends no status then.
pub(super) fn is_servers_deadline(
    failure: &Failure,
    left: Option<Duration>,
    timeout: Option<Duration>,
) -> bool {
    let (Some(left), Some(timeout)) = (left, timeout) else {
        return false;
    };
    let margin = timeout.mul_f64(0.05).max(Duration::from_millis(50));
    failure.error.kind() == ErrorKind::Cancelled && failure.error.code().is_none() && left <= margin
}

/// Marks the outcome of an error as unknown if an earlier attempt may have been applied.
pub(super) fn settle(error: Error, uncertain: bool) -> Error {
    if uncertain {
        error.with_outcome(Outcome::Unknown)
    } else {
        error
    }
}
