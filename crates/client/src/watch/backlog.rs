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

    /// Notes that no more comes until [`Held::take`] says that it may.
    // ORDER: what was added last is handed over after this, so that a consumer that takes it
    // sees the pause.
    pub(super) fn pause(&self) {
        let low = self.held.amount().half();
        self.low.bytes.store(low.bytes, SeqCst);
        self.low.events.store(low.events, SeqCst);
        self.paused.store(true, SeqCst);
    }

    /// Notes how far the consumer has come without an event.
    pub(super) fn reached(&self, revision: i64) {
        self.taken.fetch_max(revision, SeqCst);
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
        let held = backlog.held.amount();
        let low = backlog.low.amount();
        let drained = held.bytes <= low.bytes && held.events <= low.events;
        drained && backlog.paused.swap(false, SeqCst)
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
