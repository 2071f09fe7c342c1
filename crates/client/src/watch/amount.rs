//! Amounts of events, in bytes and in number.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::event::{Batch, Event};

/// Bytes that a batch takes besides its events: its entry in the queue, the rest of the message
/// that the events are slices of, and two allocations.
pub(crate) const BATCH: usize = size_of::<Batch>() + 128;

/// A number of events, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) bytes: usize,
    pub(crate) events: usize,
}

impl Amount {
    /// Returns the memory that a batch of these events takes. Shrinks the vector if much of it is
    /// unused.
    pub(super) fn of(events: &mut Vec<Event>) -> Self {
        if events.capacity() - events.len() > events.len() / 8 {
            events.shrink_to_fit();
        }
        Self {
            bytes: BATCH + events.iter().map(Event::weight).sum::<usize>(),
            events: events.len(),
        }
    }

    pub(super) fn min(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.min(other.bytes),
            events: self.events.min(other.events),
        }
    }

    pub(super) fn minus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(other.bytes),
            events: self.events.saturating_sub(other.events),
        }
    }

    pub(super) fn part(self, parts: usize) -> Self {
        Self {
            bytes: self.bytes / parts.max(1),
            events: self.events / parts.max(1),
        }
    }

    /// Whether the bytes or the events are at least those of `other`.
    pub(super) fn reaches(self, other: Self) -> bool {
        self.bytes >= other.bytes || self.events >= other.events
    }

    pub(super) fn half(self) -> Self {
        Self {
            bytes: self.bytes / 2,
            events: self.events / 2,
        }
    }
}

/// An amount that several tasks change.
#[derive(Debug, Default)]
pub(super) struct Count {
    bytes: AtomicUsize,
    events: AtomicUsize,
}

impl Count {
    pub(super) fn add(&self, amount: Amount) {
        self.bytes.fetch_add(amount.bytes, SeqCst);
        self.events.fetch_add(amount.events, SeqCst);
    }

    pub(super) fn take(&self, amount: Amount) {
        self.bytes.fetch_sub(amount.bytes, SeqCst);
        self.events.fetch_sub(amount.events, SeqCst);
    }

    pub(super) fn amount(&self) -> Amount {
        Amount {
            bytes: self.bytes.load(SeqCst),
            events: self.events.load(SeqCst),
        }
    }

    pub(super) fn set(&self, amount: Amount) {
        self.bytes.store(amount.bytes, SeqCst);
        self.events.store(amount.events, SeqCst);
    }
}
