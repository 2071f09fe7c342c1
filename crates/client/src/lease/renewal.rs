//! PURE: one kept lease: its known state, and when its next renewal is due after an answer. `state.rs`
//! decides when a renewal without an answer is sent again.

use std::time::{Duration, Instant};

use crate::adaptive_timeout::AdaptiveTimeout;

/// The assumed time-to-live of a lease that another client has granted, until a renewal of it is
/// answered.
pub(super) const ASSUMED: Duration = Duration::from_secs(3);

/// How long the very first answer may take when the time-to-live is not known.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait for the very first answer.
///
/// An etcd answers a renewal or ends the stream within its request time-out: 7 s with the default
/// election time-out (`Config.ReqTimeout` in etcd's `server/config/config.go`).
const LONGEST_FIRST_WAIT: Duration = Duration::from_secs(10);

/// etcd's maximum, so that the answer of a server cannot overflow a clock.
const LONGEST_SECONDS: u64 = 9_000_000_000;

/// The known state of a lease.
///
/// ```text
///            an answer                  less than a third of the time-to-live is left
///  Unknown ────────────► Alive ───────────────────────────────────────────► AtRisk
///     ▲                    ▲                        an answer                 │  │
///     │                    └──────────────────────────────────────────────────┘  │
///     └──────────────────────────────────────────────────────────────────────────┘
///       the time-to-live is over, or the clock has jumped (from Alive, too)
///
///  Every state but Lost can change to Lost: the server says that the lease is gone, this client
///  has revoked it, or the client was closed. No state follows Lost.
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseStatus {
    Alive { expires: Instant },
    AtRisk { expires: Instant },
    Unknown,
    Lost(LeaseEnd),
}

/// The end of a lease, or of the client's knowledge about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LeaseEnd {
    /// The lease expired, as far as that can be known: the server said that it is gone after the
    /// time until which it was known to live, or it was never known to live.
    Expired,
    /// The lease was revoked: by this client, or by another client, as the server said that it is
    /// gone before the time until which it was known to live.
    Revoked,
    /// The client was closed and renews the lease no more. The lease ends after its time-to-live,
    /// unless another client renews it.
    ClientClosed,
}

/// A kept lease.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) keepers: usize,
    /// Number that differs between leases of the same ID that were kept one after the other.
    /// Answers to renewals of another generation say nothing about this lease.
    pub(super) generation: u64,
    /// Time-to-live of the latest answer or of the reply to the grant; `None` before either.
    ttl: Option<Duration>,
    /// Whether a renewal was answered.
    answered: bool,
    /// The lease lives at least until this moment, unless it was revoked.
    pub(super) expires: Option<Instant>,
    /// When the last renewal was sent.
    pub(super) sent: Option<Instant>,
    /// Number of renewals since the last answer.
    pub(super) tries: u32,
    /// Whether this client has sent a request that revokes the lease.
    pub(super) revoking: bool,
    /// When the next renewal is due; `None` while an answer is awaited.
    pub(super) send: Option<Instant>,
    /// When the status changes without an event.
    pub(super) changes_at: Option<Instant>,
    pub(super) told: LeaseStatus,
}

impl Lease {
    /// Returns a lease whose first renewal is due at once.
    pub(super) fn new(generation: u64, ttl: Option<Duration>) -> Self {
        Self {
            keepers: 1,
            generation,
            ttl: ttl.filter(|ttl| !ttl.is_zero()),
            answered: false,
            expires: None,
            sent: None,
            tries: 0,
            revoking: false,
            send: None,
            changes_at: None,
            told: LeaseStatus::Unknown,
        }
    }

    /// Records an answer of `seconds` to the renewal of `sent`. Returns when the next renewal is
    /// due.
    ///
    /// `random` is from 0 to 1. The first answers spread leases that were kept in the same moment,
    /// and the later ones keep them apart.
    pub(super) fn renew(&mut self, sent: Instant, seconds: u64, random: f64) -> Instant {
        let spread = if self.answered { 0.2 } else { 0.5 };
        let ttl = Duration::from_secs(seconds.min(LONGEST_SECONDS));
        self.ttl = Some(ttl);
        self.answered = true;
        self.revoking = false;
        self.tries = 0;
        self.expires = self.expires.max(Some(sent + ttl));
        let due = sent + (ttl / 3).mul_f64(1.0 - spread * random);
        self.sent
            .map_or(due, |last| due.max(last + self.distance()))
    }

    pub(super) fn ttl(&self) -> Duration {
        self.ttl.unwrap_or(ASSUMED)
    }

    /// Returns the shortest time between two renewals.
    pub(super) fn distance(&self) -> Duration {
        self.ttl() / 6
    }

    /// Returns the time between an unanswered renewal and the next one, on another stream.
    ///
    /// INVARIANT: the time is at least a sixth of the time-to-live, and from the second renewal on
    /// a third, as without a failure: a server in trouble gets no additional load.
    pub(super) fn gap(&self) -> Duration {
        if self.tries <= 1 {
            self.ttl() / 6
        } else {
            self.ttl() / 3
        }
    }

    /// Returns how many renewals may be unanswered on one stream, given the round trip of its
    /// network.
    ///
    /// A server answers the renewals of a stream one after the other. If the server is slow, a
    /// second renewal only waits behind the first, so the limit is one. If the network is slow, the
    /// lease would be at risk before the answer to the next renewal arrives, so the limit is
    /// higher.
    pub(super) fn depth(&self, round_trip: Duration) -> usize {
        if round_trip.saturating_mul(3) > self.ttl() {
            3
        } else {
            1
        }
    }

    /// Returns when a renewal of `sent` is overdue.
    ///
    /// `round_trip` is that of the connection. `proven`: a renewal was answered before, on any
    /// stream.
    ///
    /// INVARIANT: if all answers take the same time, up to half of the time-to-live, no renewal is
    /// overdue. If answers took up to a third of the time-to-live before, an unanswered renewal is
    /// overdue while a sixth of it is left. A renewal is overdue at the latest when the
    /// time-to-live is over, however long an earlier answer has taken: a server that takes longer
    /// cannot keep the lease.
    pub(super) fn overdue(
        &self,
        sent: Instant,
        answer_timeout: &AdaptiveTimeout,
        proven: bool,
        round_trip: Duration,
    ) -> Instant {
        let ttl = self.ttl();
        let longest = match self.ttl {
            Some(ttl) => ttl / 2,
            None => LONGEST_FIRST_WAIT,
        };
        let first = match self.ttl {
            _ if proven || answer_timeout.silences() > 0 => ttl / 6,
            // A quarter more than half of the time-to-live.
            Some(ttl) => (ttl / 8 * 5).min(LONGEST_FIRST_WAIT),
            None => FIRST_WAIT.max(round_trip * 2).min(LONGEST_FIRST_WAIT),
        };
        let useful = self.ttl.unwrap_or(LONGEST_FIRST_WAIT);
        let limit = sent + answer_timeout.limit(first, longest).min(useful);
        let Some(expires) = self.expires.filter(|expires| *expires > sent) else {
            return limit;
        };
        // A slow server gets a quarter more than the time that its answers took.
        let known = answer_timeout.slowest().saturating_mul(5) / 4;
        let least = sent + known.max(ttl / 6);
        let latest = expires.checked_sub(ttl / 6).unwrap_or(sent);
        limit.min(latest.max(least))
    }

    /// Returns the status at a moment, and when it changes without an event.
    pub(super) fn status(&self, now: Instant) -> (LeaseStatus, Option<Instant>) {
        let Some(expires) = self.expires.filter(|expires| *expires > now) else {
            return (LeaseStatus::Unknown, None);
        };
        let risk = expires.checked_sub(self.ttl() / 3).unwrap_or(now);
        if risk <= now {
            (LeaseStatus::AtRisk { expires }, Some(expires))
        } else {
            (LeaseStatus::Alive { expires }, Some(risk))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When a renewal is overdue, in milliseconds after it was sent. Answers took 2 s, the
    /// time-to-live is 9 s, and `left` milliseconds of it are left when the renewal is sent.
    fn overdue(left: u64) -> u128 {
        let sent = Instant::now();
        let mut lease = Lease::new(1, Some(Duration::from_secs(9)));
        lease.expires = Some(sent + Duration::from_millis(left));
        let mut answer_timeout = AdaptiveTimeout::default();
        answer_timeout.answered(Duration::from_secs(2));
        let overdue = lease.overdue(sent, &answer_timeout, true, Duration::ZERO);
        (overdue - sent).as_millis()
    }

    #[test]
    fn a_renewal_is_overdue_while_a_sixth_of_the_time_to_live_is_left() {
        assert_eq!(overdue(6_000), 4_000, "twice the time of an answer");
        assert_eq!(overdue(5_000), 3_500);
        assert_eq!(overdue(4_500), 3_000);
    }

    #[test]
    fn a_renewal_is_overdue_when_the_time_to_live_is_over_however_slow_an_answer_was() {
        let sent = Instant::now();
        let mut answer_timeout = AdaptiveTimeout::default();
        answer_timeout.answered(Duration::from_secs(24));
        let overdue = |lease: &Lease| {
            let overdue = lease.overdue(sent, &answer_timeout, true, Duration::ZERO);
            (overdue - sent).as_secs()
        };
        let mut lease = Lease::new(1, Some(Duration::from_secs(9)));
        assert_eq!(overdue(&lease), 9);
        lease.expires = Some(sent + Duration::from_secs(9));
        assert_eq!(overdue(&lease), 9);
        assert_eq!(overdue(&Lease::new(1, None)), 10);
    }

    #[test]
    fn a_renewal_is_not_overdue_before_a_quarter_more_than_answers_take() {
        assert_eq!(overdue(4_000), 2_500);
        assert_eq!(overdue(1_000), 2_500);
    }
}
