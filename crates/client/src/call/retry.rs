//! PURE: whether a request that failed is sent again, when, and where.

use std::time::Duration;

use crate::error::{Outcome, Retry};

/// The first pause; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What is known when an attempt has failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation {
    /// Doing it twice is the same as doing it once and asking once.
    pub(crate) repeatable: bool,
    pub(crate) outcome: Outcome,
    pub(crate) retry: Retry,
    /// Attempts again that the retry limit still allows.
    pub(crate) retries_left: u32,
    /// Attempts again so far.
    pub(crate) retries: u32,
    /// Pauses so far.
    pub(crate) pauses: u32,
    /// Whether there is another endpoint.
    pub(crate) elsewhere: bool,
    /// Time until the deadline.
    pub(crate) left: Option<Duration>,
    /// From 0 to 1, from outside, so that tests own it.
    pub(crate) random: f64,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    GiveUp,
    /// Send it again after a pause (zero: at once).
    Again {
        pause: Duration,
        /// Not over the same link, and if possible at another endpoint.
        elsewhere: bool,
        /// Counts as a retry: against the limit, and in the client's budget.
        counted: bool,
    },
}

/// The rule.
///
/// INVARIANT: what is not repeatable is sent again only when no server has seen it.
pub(crate) fn verdict(situation: Situation) -> Verdict {
    let not_sent = situation.outcome == Outcome::NotSent;
    let allowed = not_sent || (situation.repeatable && situation.retries_left > 0);
    if situation.retry == Retry::Never || !allowed {
        return Verdict::GiveUp;
    }
    let elsewhere = situation.retry == Retry::Elsewhere;
    // What was not sent waits for another connection, and connecting has its own pauses; the
    // first attempt at another endpoint need not wait for anything.
    let at_once = elsewhere && (not_sent || (situation.elsewhere && situation.retries == 0));
    let pause = if at_once {
        Duration::ZERO
    } else {
        pause(situation.pauses, situation.random)
    };
    if situation.left.is_some_and(|left| left <= pause) {
        // The answer would come too late: the cause is worth more than a time-out.
        return Verdict::GiveUp;
    }
    Verdict::Again {
        pause,
        elsewhere,
        counted: !not_sent,
    }
}

fn pause(pauses: u32, random: f64) -> Duration {
    FIRST_PAUSE
        .saturating_mul(1 << pauses.min(10))
        .min(LONGEST_PAUSE)
        .mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
}

/// How long an attempt may wait for the first sign of an answer when another endpoint could
/// be tried: less than half of what is left, so that there is always time for one more.
pub(crate) fn patience(left: Duration) -> Duration {
    left.mul_f64(0.49)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read() -> Situation {
        Situation {
            repeatable: true,
            outcome: Outcome::Unknown,
            retry: Retry::Elsewhere,
            retries_left: 10,
            retries: 0,
            pauses: 0,
            elsewhere: true,
            left: Some(Duration::from_secs(5)),
            random: 1.0,
        }
    }

    #[test]
    fn a_read_moves_on_at_once_and_pauses_from_then_on() {
        let again = |retries, pauses, elsewhere| {
            let situation = Situation {
                retries,
                pauses,
                elsewhere,
                ..read()
            };
            match verdict(situation) {
                Verdict::Again { pause, .. } => pause.as_millis(),
                Verdict::GiveUp => panic!("gave up"),
            }
        };
        assert_eq!(again(0, 0, true), 0);
        assert_eq!(again(0, 0, false), 10);
        assert_eq!(again(1, 0, true), 10);
        assert_eq!(again(2, 1, true), 20);
        assert_eq!(again(30, 30, true), 1000);
    }

    #[test]
    fn it_ends_with_the_limit_and_with_the_time() {
        let limit = Situation {
            retries_left: 0,
            ..read()
        };
        assert_eq!(verdict(limit), Verdict::GiveUp);
        let late = Situation {
            retries: 5,
            pauses: 5,
            left: Some(Duration::from_millis(300)),
            ..read()
        };
        assert_eq!(verdict(late), Verdict::GiveUp);
    }

    #[test]
    fn what_was_not_sent_is_neither_limited_nor_counted() {
        let put = Situation {
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

    proptest! {
        #[test]
        fn a_write_that_may_have_been_applied_is_never_sent_again(
            rejected: bool, retry in 0..3u8, left in prop::option::of(0..10_000u64),
            retries in 0..20u32, retries_left in 0..20u32, elsewhere: bool,
        ) {
            let situation = Situation {
                repeatable: false,
                outcome: if rejected { Outcome::Rejected } else { Outcome::Unknown },
                retry: [Retry::Never, Retry::Later, Retry::Elsewhere][retry as usize],
                retries_left, retries, pauses: retries, elsewhere,
                left: left.map(Duration::from_millis),
                random: 0.5,
            };
            prop_assert_eq!(verdict(situation), Verdict::GiveUp);
        }
    }
}
