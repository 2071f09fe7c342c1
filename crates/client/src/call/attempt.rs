//! One attempt of a call: what was sent, how long it is waited for, and what its end means.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::authentication::is_about_token;
use crate::error::{Code, Error, ErrorKind, Outcome, Retry};
use crate::transport::{Avoided, Exchange, Failure, LeaderLoss, Member, Want};

/// An answer that takes longer than this has the connection pinged and the endpoint asked.
pub(super) const DOUBT: Duration = Duration::from_secs(1);

/// How often a call that waits looks whether another endpoint would serve it sooner.
pub(super) const LOOK: Duration = Duration::from_millis(250);

/// An attempt that is under way.
pub(super) struct Sent {
    pub(super) exchange: Exchange,
    pub(super) want: Want,
    /// Until when the server has to begin to answer, where another endpoint could be tried.
    pub(super) until: Option<Instant>,
    /// When to doubt the connection and the endpoint next.
    pub(super) doubt: Option<Instant>,
    /// Whether the answer has taken longer than [`DOUBT`] so far.
    pub(super) is_slow: bool,
    /// Of a call that waits for others and wants a leader.
    pub(super) leader_loss: Option<LeaderLoss>,
}

impl Sent {
    /// The reply, or the loss of the leader without which it would never come.
    pub(super) fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Failure>> {
        if let Poll::Ready(reply) = self.exchange.poll_reply(cx) {
            return Poll::Ready(reply);
        }
        match &mut self.leader_loss {
            Some(loss) => loss.as_mut().poll(cx).map(|()| Err(leader_lost())),
            None => Poll::Pending,
        }
    }

    /// When to look at it next, if ever.
    pub(super) fn wake(&self) -> Option<Instant> {
        self.until.into_iter().chain(self.doubt).min()
    }

    /// Where to go after it has failed: not over the same link.
    pub(super) fn want_after(&self, member: Option<Member>) -> Want {
        let link = self.exchange.link();
        Want {
            lane: self.want.lane,
            member,
            parting: self.want.parting,
            avoided: Some(Avoided {
                place: link.place,
                link: link.id,
            }),
        }
    }
}

/// It had a leader when the call came, so the call may have been applied.
fn leader_lost() -> Failure {
    Failure::new(
        ErrorKind::NoLeader,
        Outcome::Unknown,
        "the member has lost its leader while the call was waiting",
        Retry::Never,
    )
}

/// The meaning of the answer to a request of several steps, beyond its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The error is that of the request as a whole, or of none of its steps.
    None,
    /// A step was refused for the token that the call has brought.
    Token,
    /// The step that waits was refused, although the call may have brought a good token.
    ///
    /// All locks that wait at a member share one stream of watches inside the server. The stream
    /// has the token of the lock that opened it. When that token has expired, the server refuses
    /// every further watch on it, as the cause of which it names the token (3.5.35 and later) or
    /// the permission (3.5.1).
    Wait,
    /// A step was refused for another reason, or another attempt would not go on with what the steps
    /// have left.
    Other,
}

impl Step {
    /// `resumable` says that another attempt goes on with what the steps have left.
    pub(super) fn of(failure: &Failure, resumable: bool) -> Self {
        let error = &failure.error;
        if error.code() != Some(Code::Unknown) {
            return Self::None;
        }
        if !resumable {
            return Self::Other;
        }
        // A watch is refused by a text, to which the server's own client adds its words.
        if error.message().starts_with("rpc error: code = ") {
            return Self::Wait;
        }
        if is_about_token(error.kind()) {
            return Self::Token;
        }
        Self::Other
    }
}

/// A server whose clock for the call is ahead of ours resets the stream, and says no more.
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

/// An attempt before may have been applied, whatever became of the last one.
pub(super) fn settle(error: Error, uncertain: bool) -> Error {
    if uncertain {
        error.with_outcome(Outcome::Unknown)
    } else {
        error
    }
}
