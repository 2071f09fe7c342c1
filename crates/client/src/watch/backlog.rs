//! What was delivered to a consumer and not taken by it yet, counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::SeqCst};

use crate::config::WatchLimits;

/// Some events and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) bytes: usize,
    pub(crate) events: usize,
}

impl Amount {
    /// Whether it is as much as that in either.
    fn reaches(self, other: Self) -> bool {
        self.bytes >= other.bytes || self.events >= other.events
    }

    fn half(self) -> Self {
        Self {
            bytes: self.bytes / 2,
            events: self.events / 2,
        }
    }
}

#[derive(Debug, Default)]
struct Count {
    bytes: AtomicUsize,
    events: AtomicUsize,
}

impl Count {
    fn add(&self, amount: Amount) {
        self.bytes.fetch_add(amount.bytes, SeqCst);
        self.events.fetch_add(amount.events, SeqCst);
    }

    fn take(&self, amount: Amount) {
        self.bytes.fetch_sub(amount.bytes, SeqCst);
        self.events.fetch_sub(amount.events, SeqCst);
    }

    fn amount(&self) -> Amount {
        Amount {
            bytes: self.bytes.load(SeqCst),
            events: self.events.load(SeqCst),
        }
    }
}

/// What all watches of a client hold together, and how far the store has come.
#[derive(Debug)]
pub(crate) struct Meter {
    held: Count,
    newest: AtomicI64,
    limits: WatchLimits,
}

impl Meter {
    pub(crate) fn new(limits: WatchLimits) -> Self {
        Self {
            held: Count::default(),
            newest: AtomicI64::new(0),
            limits,
        }
    }

    pub(crate) fn limits(&self) -> &WatchLimits {
        &self.limits
    }

    /// Notes a revision of the store.
    pub(crate) fn saw(&self, revision: i64) {
        self.newest.fetch_max(revision, SeqCst);
    }

    /// Bytes that wait to be taken.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.held.amount().bytes
    }

    fn is_full(&self) -> bool {
        self.held.amount().reaches(Amount {
            bytes: self.limits.client_bytes,
            events: self.limits.client_events,
        })
    }
}

/// What a watch holds; its consumer and the task that fills it share it.
#[derive(Debug)]
pub(crate) struct Backlog {
    held: Count,
    limit: Amount,
    /// It is paused, and goes on when it holds no more than this.
    paused: AtomicBool,
    low: Count,
    /// How far its consumer has come.
    taken: AtomicI64,
    meter: Arc<Meter>,
}

impl Backlog {
    pub(crate) fn new(limit: Amount, meter: Arc<Meter>) -> Self {
        // With no room at all, nothing would ever come.
        let limit = Amount {
            bytes: limit.bytes.max(1),
            events: limit.events.max(1),
        };
        Self {
            held: Count::default(),
            limit,
            paused: AtomicBool::new(false),
            low: Count::default(),
            taken: AtomicI64::new(0),
            meter,
        }
    }

    /// How much more it takes before it is full; `None` when it should be paused right away.
    pub(super) fn room(&self) -> Option<Amount> {
        let held = self.held.amount();
        if held.reaches(self.limit) || (held.events > 0 && self.meter.is_full()) {
            return None;
        }
        Some(Amount {
            // The consumer only makes it less.
            bytes: self.limit.bytes - held.bytes,
            events: self.limit.events - held.events,
        })
    }

    /// Counts what is handed over to the consumer.
    pub(super) fn hold(self: &Arc<Self>, amount: Amount) -> Held {
        self.held.add(amount);
        self.meter.held.add(amount);
        Held {
            backlog: Arc::clone(self),
            amount,
        }
    }

    /// Notes that no more comes until [`Held::take`] says that it may. False when the consumer
    /// has taken so much meanwhile that it may at once.
    // ORDER: a consumer that took the last of it before the pause was noted did not see it, and
    // would never say anything: so it is looked at once more after.
    #[must_use]
    pub(super) fn pause(&self) -> bool {
        let low = self.held.amount().half();
        self.low.bytes.store(low.bytes, SeqCst);
        self.low.events.store(low.events, SeqCst);
        self.paused.store(true, SeqCst);
        !self.goes_on()
    }

    /// Ends the pause if little enough is left; true for one caller of each pause.
    fn goes_on(&self) -> bool {
        let held = self.held.amount();
        let low = self.low.amount();
        let drained = held.bytes <= low.bytes && held.events <= low.events;
        drained && self.paused.swap(false, SeqCst)
    }

    /// Notes how far the consumer has come without an event; gives how far that is, which never
    /// goes back.
    pub(super) fn reached(&self, revision: i64) -> i64 {
        self.taken.fetch_max(revision, SeqCst).max(revision)
    }

    pub(super) fn lag(&self) -> Lag {
        let held = self.held.amount();
        let newest = self.meter.newest.load(SeqCst);
        let behind = if held.events == 0 && !self.paused.load(SeqCst) {
            // Nothing waits: what the store has come ahead by was not about this watch.
            0
        } else {
            newest.saturating_sub(self.taken.load(SeqCst)).max(0)
        };
        Lag {
            revisions: behind,
            events: held.events,
            bytes: held.bytes,
            paused: self.paused.load(SeqCst),
        }
    }
}

/// Events under way to a consumer: counted until they are taken or thrown away.
#[derive(Debug)]
pub(crate) struct Held {
    backlog: Arc<Backlog>,
    amount: Amount,
}

impl Held {
    /// The consumer has them, and has come that far; says whether the watch, being paused, is
    /// to go on now.
    pub(super) fn take(self, revision: i64) -> bool {
        let backlog = Arc::clone(&self.backlog);
        drop(self);
        backlog.reached(revision);
        backlog.goes_on()
    }
}

impl Drop for Held {
    // INVARIANT: the only place where the counts go down, once for each time they went up.
    fn drop(&mut self) {
        self.backlog.held.take(self.amount);
        self.backlog.meter.held.take(self.amount);
    }
}

/// How far the consumer of a watch is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lag {
    /// How far the store is ahead of what was taken, as far as this client knows; 0 when
    /// nothing waits to be taken.
    pub revisions: i64,
    /// Events that wait to be taken.
    pub events: usize,
    /// What they hold of memory, in bytes.
    pub bytes: usize,
    /// Whether the watch was stopped at the server until more is taken.
    pub paused: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Amount = Amount {
        bytes: 100,
        events: 4,
    };

    fn some(events: usize) -> Amount {
        let bytes = 10 * events;
        Amount { bytes, events }
    }

    fn backlog(limits: WatchLimits) -> Arc<Backlog> {
        Arc::new(Backlog::new(LIMIT, Arc::new(Meter::new(limits))))
    }

    /// The consumer takes the last of it just before the pause is noted: nobody would ever wake
    /// the watch again.
    #[test]
    fn a_pause_that_comes_too_late_is_none() {
        let backlog = backlog(WatchLimits::default());
        let held = backlog.hold(some(4));
        assert_eq!(backlog.room(), None);
        assert!(!held.take(1), "it was not paused yet");
        assert!(!backlog.pause(), "it would be paused for ever");
        assert!(!backlog.lag().paused);
    }

    #[test]
    fn a_paused_watch_goes_on_once_when_half_is_taken() {
        let backlog = backlog(WatchLimits::default());
        let mut all: Vec<Held> = (0..4).map(|_| backlog.hold(some(1))).collect();
        assert!(backlog.pause());
        let go: Vec<bool> = all.drain(..).map(|held| held.take(1)).collect();
        assert_eq!(go, [false, true, false, false]);
    }

    #[test]
    fn a_full_client_gives_room_only_to_who_has_read_all() {
        let limits = WatchLimits {
            client_events: 3,
            ..WatchLimits::default()
        };
        let slow = backlog(limits);
        let fast = Arc::new(Backlog::new(LIMIT, Arc::clone(&slow.meter)));
        let kept = slow.hold(some(3));
        assert_eq!(slow.room(), None);
        assert_eq!(fast.room(), Some(LIMIT));
        drop(kept);
        assert_eq!(slow.room(), Some(LIMIT));
    }

    /// What is thrown away counts no more than what is taken.
    #[test]
    fn what_is_gone_is_not_counted() {
        let backlog = backlog(WatchLimits::default());
        drop(backlog.hold(some(2)));
        backlog.hold(some(2)).take(7);
        assert_eq!(backlog.lag(), Lag::default());
        assert_eq!(backlog.meter.held.amount(), Amount::default());
    }

    /// What a consumer stores to go on from later must not go back: a member that lags tells of
    /// less than was delivered.
    #[test]
    fn a_consumer_never_comes_back_from_where_it_was() {
        let backlog = backlog(WatchLimits::default());
        backlog.hold(some(1)).take(9);
        assert_eq!(backlog.reached(5), 9);
        assert_eq!(backlog.reached(12), 12);
    }
}
