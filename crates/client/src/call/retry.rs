//! PURE: whether, when and where a failed request is sent again. `flight/failure.rs` asks; it looks at the
//! token before, and at the budget (`budget.rs`) after.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::error::{Outcome, Retry};

/// The first and the longest pause between two attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The facts about a failed attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetryContext {
    /// Whether a second execution changes nothing.
    pub(crate) repeatable: bool,
    pub(crate) outcome: Outcome,
    pub(crate) retry: Retry,
    /// Number of retries that the limit still allows.
    pub(crate) retries_left: u32,
    /// Number of retries so far.
    pub(crate) retries: u32,
    /// Number of pauses so far.
    pub(crate) pauses: u32,
    /// Number of other endpoints to which the call may go.
    pub(crate) others: usize,
    /// Time until the deadline.
    pub(crate) left: Option<Duration>,
    /// Random number from 0 to 1; an argument, so that tests control it.
    pub(crate) random: f64,
}

/// The decision about a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    GiveUp,
    /// Send the request again after a pause (zero: at once).
    Again {
        pause: Duration,
        /// Use another link, and another endpoint if there is one.
        elsewhere: bool,
        /// Count the attempt as a retry: against the limit, and in the client's budget.
        counted: bool,
    },
}

/// Decides what to do about a failed attempt.
///
/// INVARIANT: a request that is not repeatable is sent again only when it was certainly not
/// applied: no server has seen it, or a server has refused it.
pub(crate) fn verdict(context: RetryContext) -> Verdict {
    let RetryContext {
        retry,
        outcome,
        retries,
        others,
        ..
    } = context;
    // The time for a new connection has pauses of its own, and counts for the time-out of the call.
    let free = outcome == Outcome::NotSent && retry == Retry::Reconnect;
    let harmless = context.repeatable || outcome != Outcome::Unknown;
    let allowed = free || (harmless && context.retries_left > 0);
    // A member that has refused may be asked again on the way to one that accepts.
    let asked_all = retry == Retry::OtherMember && retries as usize >= 2 * others;
    if retry == Retry::Never || !allowed || asked_all {
        return Verdict::GiveUp;
    }
    let elsewhere = retry != Retry::Later;
    let at_once = free || (elsewhere && others > 0 && retries == 0);
    let pause = if at_once {
        Duration::ZERO
    } else {
        pause(context.pauses, context.random)
    };
    if context.left.is_some_and(|left| left <= pause) {
        // The answer would come too late, and this error says more than a time-out.
        return Verdict::GiveUp;
    }
    Verdict::Again {
        pause,
        elsewhere,
        counted: !free,
    }
}

/// Returns the pause before another attempt, after `pauses` pauses.
pub(crate) fn pause(pauses: u32, random: f64) -> Duration {
    Backoff::after(pauses, FIRST_PAUSE, LONGEST_PAUSE).next(random)
}

/// Returns how long an attempt may wait for the first part of an answer when another endpoint could
/// be tried: less than half of the remaining time, so that there is always time for another
/// attempt.
pub(crate) fn first_answer_limit(left: Duration) -> Duration {
    left.mul_f64(0.49)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RETRIES: [Retry; 5] = [
        Retry::Never,
        Retry::Later,
        Retry::Elsewhere,
        Retry::OtherMember,
        Retry::Reconnect,
    ];

    fn read() -> RetryContext {
        RetryContext {
            repeatable: true,
            outcome: Outcome::Unknown,
            retry: Retry::Reconnect,
            retries_left: 10,
            retries: 0,
            pauses: 0,
            others: 2,
            left: Some(Duration::from_secs(5)),
            random: 1.0,
        }
    }

    fn refused_write() -> RetryContext {
        RetryContext {
            repeatable: false,
            outcome: Outcome::Rejected,
            retry: Retry::OtherMember,
            ..read()
        }
    }

    #[test]
    fn a_read_moves_on_at_once_and_pauses_from_then_on() {
        let again = |retries, pauses, others| {
            let context = RetryContext {
                retries,
                pauses,
                others,
                ..read()
            };
            match verdict(context) {
                Verdict::Again { pause, .. } => pause.as_millis(),
                Verdict::GiveUp => panic!("gave up"),
            }
        };
        assert_eq!(again(0, 0, 2), 0);
        assert_eq!(again(0, 0, 0), 10);
        assert_eq!(again(1, 0, 2), 10);
        assert_eq!(again(2, 1, 2), 20);
        assert_eq!(again(30, 30, 2), 1000);
    }

    #[test]
    fn retries_end_at_the_limit_and_at_the_deadline() {
        let limit = RetryContext {
            retries_left: 0,
            ..read()
        };
        assert_eq!(verdict(limit), Verdict::GiveUp);
        let late = RetryContext {
            retries: 5,
            pauses: 5,
            left: Some(Duration::from_millis(300)),
            ..read()
        };
        assert_eq!(verdict(late), Verdict::GiveUp);
    }

    #[test]
    fn a_write_that_was_lost_unsent_is_neither_limited_nor_counted() {
        let put = RetryContext {
            repeatable: false,
            outcome: Outcome::NotSent,
            retries_left: 0,
            ..read()
        };
        let at_once = Verdict::Again {
            pause: Duration::ZERO,
            elsewhere: true,
            counted: false,
        };
        assert_eq!(verdict(put), at_once);
    }

    /// The connection works, so that only the rule keeps such a call from being sent again without
    /// end.
    #[test]
    fn a_stream_that_a_server_refuses_again_and_again_is_limited_and_paused() {
        let refused = |retries| RetryContext {
            outcome: Outcome::NotSent,
            retry: Retry::Elsewhere,
            retries,
            pauses: retries,
            retries_left: 10 - retries,
            ..refused_write()
        };
        let pause = |retries| match verdict(refused(retries)) {
            Verdict::Again {
                pause,
                elsewhere: true,
                counted: true,
            } => pause.as_millis(),
            other => panic!("{other:?}"),
        };
        assert_eq!([0, 1, 2, 9].map(pause), [0, 20, 40, 1000]);
        assert_eq!(verdict(refused(10)), Verdict::GiveUp);
    }

    #[test]
    fn a_refusal_of_a_member_is_taken_to_the_others_and_ends_there() {
        let refused = |retries, others| {
            verdict(RetryContext {
                retries,
                others,
                ..refused_write()
            })
        };
        let at_once = Verdict::Again {
            pause: Duration::ZERO,
            elsewhere: true,
            counted: true,
        };
        assert_eq!(refused(0, 1), at_once);
        assert_eq!(refused(0, 0), Verdict::GiveUp, "there is no other member");
        assert!(matches!(refused(3, 2), Verdict::Again { .. }));
        assert_eq!(refused(4, 2), Verdict::GiveUp, "all were asked");
    }

    proptest! {
        #[test]
        fn a_write_that_may_have_been_applied_is_never_sent_again(
            retry in 0..5usize, left in prop::option::of(0..10_000u64),
            retries in 0..20u32, retries_left in 0..20u32, others in 0..5usize,
        ) {
            let context = RetryContext {
                repeatable: false,
                outcome: Outcome::Unknown,
                retry: RETRIES[retry],
                retries_left, retries, pauses: retries, others,
                left: left.map(Duration::from_millis),
                random: 0.5,
            };
            prop_assert_eq!(verdict(context), Verdict::GiveUp);
        }

        /// A request that is sent again is counted and so limited, or waits for a new connection.
        #[test]
        fn no_request_is_sent_again_without_a_bound(
            repeatable: bool, outcome in 0..3usize, retry in 0..5usize,
            retries in 0..20u32, others in 0..5usize,
        ) {
            let context = RetryContext {
                repeatable,
                outcome: [Outcome::NotSent, Outcome::Unknown, Outcome::Rejected][outcome],
                retry: RETRIES[retry],
                retries_left: 0, retries, pauses: retries, others,
                left: None,
                random: 0.5,
            };
            let free = context.outcome == Outcome::NotSent && context.retry == Retry::Reconnect;
            prop_assert_eq!(verdict(context) != Verdict::GiveUp, free);
        }
    }
}
