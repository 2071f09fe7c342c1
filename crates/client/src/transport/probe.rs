//! PURE: when an endpoint is asked whether it serves, and how long its answer is waited for.
//!
//! The monitor of the endpoint's unary connection sends the probes, so that no caller waits for them.
//! A probe is a small linearizable read: see `prober.rs`.
//!
//! ```text
//!            silence                 no answer in `limit`
//! Quiet ---------------> Asking ---------------------------> Asking, not serving
//!   ^                       |                                     |
//!   |        served         |     refused, or no answer at all    |
//!   +-----------------------+<--- Pausing <-----------------------+
//! ```

use std::time::{Duration, Instant};

use crate::backoff::Backoff;

/// An endpoint that has not answered a probe for this long does not serve. An election takes
/// longer; then no endpoint serves, and calls go where they went before.
const LIMIT: Duration = Duration::from_millis(500);

/// The limit for an endpoint that is far away. The round-trip time was measured by one ping while the
/// connection was made. On a busy machine it can be a hundred times the true one, so the limit has
/// this maximum.
const LONGEST_LIMIT: Duration = Duration::from_secs(1);

/// A probe without an answer is sent again after this time. The member answers the probe as soon as it
/// serves again, so a long wait notices that first. etcd itself gives up a read after 7 s with the
/// default election time-out.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The first pause after a refusal.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The longest pause after a refusal while another endpoint serves.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The longest pause while no other endpoint serves, and after a probe that was given up.
const SHORT_PAUSE: Duration = Duration::from_secs(1);

/// Calls without an answer cause no more than one probe in this time.
const DISTANCE: Duration = Duration::from_secs(1);

/// The time between the two checks that find a probe late: a process that was stopped finds the limit
/// over, and the answer unread in its socket.
const GRACE: Duration = Duration::from_millis(100);

/// Instruction to the prober.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Do nothing before that moment; if there is none, until something happens.
    Rest(Option<Instant>),
    /// Send a probe.
    Send,
    /// Note that the endpoint does not serve, and continue to wait for the answer.
    NotServing,
    /// Give up the probe.
    GiveUp,
}

/// The probes of one connection.
#[derive(Debug)]
pub(crate) struct Probes {
    phase: ProbePhase,
    backoff: Backoff,
    /// How long an answer may take before the endpoint counts as not serving.
    limit: Duration,
    /// When the last probe was sent.
    last: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum ProbePhase {
    /// No probe is due.
    Quiet,
    /// A probe is due then.
    Pausing(Instant),
    /// A probe was sent then. `late` is when its limit was first found over.
    Asking {
        sent: Instant,
        late: Option<Instant>,
    },
}

impl Probes {
    /// `round_trip` is the round-trip time of a ping.
    pub(crate) fn new(round_trip: Duration) -> Self {
        Self {
            phase: ProbePhase::Quiet,
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            limit: round_trip.saturating_mul(4).clamp(LIMIT, LONGEST_LIMIT),
            last: None,
        }
    }

    /// A call had no answer, and no good reply came since it was sent.
    pub(crate) fn silent(&mut self, now: Instant) {
        if matches!(self.phase, ProbePhase::Quiet) {
            let due = self.last.map_or(now, |last| now.max(last + DISTANCE));
            self.phase = ProbePhase::Pausing(due);
        }
    }

    /// The endpoint is known not to serve: `random` is from 0 to 1, `alone` says that no other
    /// endpoint serves.
    pub(crate) fn not_serving(&mut self, now: Instant, alone: bool, random: f64) {
        if matches!(self.phase, ProbePhase::Quiet) {
            self.pause(now, alone, random);
        }
    }

    /// A reply has shown that the endpoint serves.
    pub(crate) fn served(&mut self) {
        self.backoff.reset();
        if matches!(self.phase, ProbePhase::Pausing(_)) {
            self.phase = ProbePhase::Quiet;
        }
    }

    /// A probe was sent.
    pub(crate) fn sent(&mut self, now: Instant) {
        self.last = Some(now);
        self.phase = ProbePhase::Asking {
            sent: now,
            late: None,
        };
    }

    /// A probe was given up, as no answer came in [`LONGEST_WAIT`].
    pub(crate) fn given_up(&mut self, now: Instant, random: f64) {
        self.pause(now, true, random);
    }

    /// The probe has ended. `served` says whether its end has shown that the endpoint serves.
    pub(crate) fn ended(&mut self, now: Instant, served: bool, alone: bool, random: f64) {
        self.phase = ProbePhase::Quiet;
        if served {
            self.backoff.reset();
        } else {
            self.pause(now, alone, random);
        }
    }

    fn pause(&mut self, now: Instant, alone: bool, random: f64) {
        let mut pause = self.backoff.next(random);
        if alone {
            pause = pause.min(SHORT_PAUSE);
        }
        self.phase = ProbePhase::Pausing(now + pause);
    }

    /// Returns what to do now.
    pub(crate) fn next(&mut self, now: Instant, not_serving: bool) -> Action {
        match &mut self.phase {
            ProbePhase::Quiet => Action::Rest(None),
            ProbePhase::Pausing(until) if *until <= now => Action::Send,
            ProbePhase::Pausing(until) => Action::Rest(Some(*until)),
            ProbePhase::Asking { sent, late } => {
                let end = *sent + LONGEST_WAIT;
                if now >= end + GRACE {
                    return Action::GiveUp;
                }
                if not_serving {
                    return Action::Rest(Some(end + GRACE));
                }
                let limit = *sent + self.limit;
                if now < limit {
                    return Action::Rest(Some(limit));
                }
                let first = *late.get_or_insert(now);
                if now < first + GRACE {
                    return Action::Rest(Some(first + GRACE));
                }
                Action::NotServing
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn asking(round_trip: Duration) -> (Probes, Instant) {
        let now = Instant::now();
        let mut probes = Probes::new(round_trip);
        assert_eq!(probes.next(now, false), Action::Rest(None));
        probes.silent(now);
        assert_eq!(probes.next(now, false), Action::Send);
        probes.sent(now);
        (probes, now)
    }

    #[test]
    fn an_unanswered_probe_says_not_serving_after_its_limit_and_is_waited_for() {
        let (mut probes, t) = asking(Duration::ZERO);
        let limit = t + LIMIT;
        assert_eq!(probes.next(t, false), Action::Rest(Some(limit)));
        assert_eq!(probes.next(limit, false), Action::Rest(Some(limit + GRACE)));
        assert_eq!(probes.next(limit + GRACE, false), Action::NotServing);
        let end = t + LONGEST_WAIT + GRACE;
        assert_eq!(probes.next(limit + GRACE, true), Action::Rest(Some(end)));
        assert_eq!(probes.next(end, true), Action::GiveUp);
    }

    #[test]
    fn an_answer_that_serves_ends_it() {
        let (mut probes, t) = asking(Duration::ZERO);
        probes.ended(t + millis(300), true, false, 1.0);
        assert_eq!(probes.next(t + millis(300), false), Action::Rest(None));
    }

    #[test]
    fn silences_ask_once_a_second() {
        let (mut probes, t) = asking(Duration::ZERO);
        probes.ended(t + millis(1), true, false, 1.0);
        probes.silent(t + millis(2));
        let due = t + DISTANCE;
        assert_eq!(probes.next(t + millis(2), false), Action::Rest(Some(due)));
        probes.served();
        assert_eq!(probes.next(due, false), Action::Rest(None));
    }

    #[test]
    fn refusals_pause_longer_and_longer_and_less_where_no_other_serves() {
        let pauses = |alone| {
            let (mut probes, mut now) = asking(Duration::ZERO);
            let mut pauses = Vec::new();
            for _ in 0..12 {
                probes.ended(now, false, alone, 1.0);
                let Action::Rest(Some(until)) = probes.next(now, true) else {
                    panic!("it does not pause");
                };
                pauses.push((until - now).as_millis());
                now = until;
                assert_eq!(probes.next(now, true), Action::Send);
                probes.sent(now);
            }
            pauses
        };
        let growing = [10, 20, 40, 80, 160, 320, 640];
        assert_eq!(pauses(false)[..7], growing);
        assert_eq!(pauses(false)[7..], [1_280, 2_560, 5_120, 10_000, 10_000]);
        assert_eq!(pauses(true)[..7], growing);
        assert_eq!(pauses(true)[7..], [1_000; 5]);
    }

    #[test]
    fn a_far_server_has_more_time() {
        let (mut probes, t) = asking(millis(200));
        let limit = t + millis(800);
        assert_eq!(probes.next(t, false), Action::Rest(Some(limit)));
    }

    #[test]
    fn a_ping_that_took_long_delays_the_limit_by_half_a_second_at_most() {
        for round_trip in [millis(600), millis(5_000), Duration::MAX] {
            let (mut probes, t) = asking(round_trip);
            let limit = t + LONGEST_LIMIT;
            assert_eq!(probes.next(t, false), Action::Rest(Some(limit)));
        }
    }

    #[test]
    fn a_process_that_was_stopped_reads_the_answer_first() {
        let (mut probes, t) = asking(Duration::ZERO);
        let woken = t + millis(5_000);
        assert_eq!(probes.next(woken, false), Action::Rest(Some(woken + GRACE)));
        probes.ended(woken, true, false, 1.0);
        assert_eq!(probes.next(woken + GRACE, false), Action::Rest(None));
    }

    #[test]
    fn a_silent_endpoint_is_asked_again_soon_however_long_it_is_silent() {
        let (mut probes, mut now) = asking(Duration::ZERO);
        for _ in 0..30 {
            probes.given_up(now, 1.0);
            let Action::Rest(Some(until)) = probes.next(now, true) else {
                panic!("it does not pause");
            };
            assert!(until - now <= SHORT_PAUSE);
            now = until;
            probes.sent(now);
        }
    }
}
