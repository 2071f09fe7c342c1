//! PURE: one lease that is kept: what is known of it, and the times that count.

use std::time::{Duration, Instant};

use crate::error::ErrorKind;

/// The time-to-live that counts before the server has told it.
pub(super) const ASSUMED: Duration = Duration::from_secs(3);

/// What etcd allows at most, so that a server cannot overflow a clock.
const LONGEST_SECONDS: u64 = 9_000_000_000;

/// What is known of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Alive { expires: Instant },
    AtRisk { expires: Instant, cause: ErrorKind },
    Doubtful,
    Lost(LeaseEnd),
}

/// How a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeaseEnd {
    /// It ran out, as far as that can be known: the server said that it is gone after the time
    /// until which it was known to live, or it was never known to live.
    Expired,
    /// Somebody revoked it: this client did, or the server said that it is gone while it
    /// should still have lived.
    Revoked,
}

/// A renewal under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) sent: Instant,
    pub(super) generation: u64,
}

/// A lease that is kept.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) keepers: usize,
    /// Tells it from a lease of the same ID that was kept before.
    pub(super) generation: u64,
    /// Zero until the server tells it.
    pub(super) ttl: Duration,
    /// It lives at least until then, unless it was revoked.
    pub(super) expires: Option<Instant>,
    /// The last renewal.
    pub(super) sent: Option<Instant>,
    /// Renewals since the last answer.
    pub(super) tries: u32,
    pub(super) send: Instant,
    pub(super) turn: Option<Instant>,
    pub(super) limit: Option<Instant>,
    pub(super) told: Standing,
}

impl Lease {
    /// One that is kept from now on: the first renewal is due at once.
    pub(super) fn new(generation: u64, now: Instant) -> Self {
        Self {
            keepers: 1,
            generation,
            ttl: Duration::ZERO,
            expires: None,
            sent: None,
            tries: 0,
            send: now,
            turn: None,
            limit: None,
            told: Standing::Doubtful,
        }
    }

    /// Its renewal was answered with so many seconds; says when the next one is due.
    ///
    /// Leases that were kept in one moment drift apart with their first answers, and are kept
    /// apart by all others: `random` is from 0 to 1.
    pub(super) fn renew(&mut self, sent: Instant, seconds: u64, random: f64) -> Instant {
        let spread = if self.ttl.is_zero() { 0.5 } else { 0.2 };
        self.ttl = Duration::from_secs(seconds.min(LONGEST_SECONDS));
        self.tries = 0;
        self.expires = self.expires.max(Some(sent + self.ttl));
        sent + (self.ttl / 3).mul_f64(1.0 - spread * random)
    }

    pub(super) fn ttl(&self) -> Duration {
        if self.ttl.is_zero() {
            ASSUMED
        } else {
            self.ttl
        }
    }

    /// How long an answer may take, and the shortest time between two renewals.
    pub(super) fn patience(&self) -> Duration {
        self.ttl() / 6
    }

    /// How long after a renewal that stays unanswered the next one goes out.
    ///
    /// INVARIANT: never under a sixth of the time-to-live, and from the second one on no more
    /// often than if all was well: a server in trouble is not given more to do.
    pub(super) fn gap(&self) -> Duration {
        if self.tries <= 1 {
            self.ttl() / 6
        } else {
            self.ttl() / 3
        }
    }

    /// What is known at that moment, and when that changes by itself.
    pub(super) fn standing(&self, now: Instant, cause: ErrorKind) -> (Standing, Option<Instant>) {
        let Some(expires) = self.expires.filter(|expires| *expires > now) else {
            return (Standing::Doubtful, None);
        };
        let risk = expires.checked_sub(self.ttl() / 3).unwrap_or(now);
        if risk <= now {
            (Standing::AtRisk { expires, cause }, Some(expires))
        } else {
            (Standing::Alive { expires }, Some(risk))
        }
    }
}
