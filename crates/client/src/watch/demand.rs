//! Demand of the consumer of an inbox: whether it waits, and which of its watches are paused.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whether the consumer of an inbox waits for something to come, and which of its watches are
/// paused. The inbox and the backlogs of its watches share it.
#[derive(Debug, Default)]
pub(super) struct Demand {
    waits: AtomicBool,
    paused: Mutex<BTreeSet<u64>>,
}

impl Demand {
    /// A consumer that always waits.
    #[cfg(test)]
    pub(super) fn constant() -> Self {
        let demand = Self::default();
        demand.begin();
        demand
    }

    /// The inbox is empty, and its consumer waits.
    pub(super) fn begin(&self) {
        self.waits.store(true, SeqCst);
    }

    pub(super) fn waits(&self) -> bool {
        self.waits.load(SeqCst)
    }

    /// Something has come.
    pub(super) fn end(&self) {
        self.waits.store(false, SeqCst);
    }

    /// The numbers of the watches that were paused. The consumer, which waits, calls
    /// [`Backlog::grant`] for each.
    // ORDER: the consumer waits before it looks, and a watch is on the list before it looks
    // whether the consumer waits: one of them sees the other.
    pub(super) fn take_paused(&self) -> BTreeSet<u64> {
        std::mem::take(&mut *self.paused())
    }

    /// Notes that a watch is paused.
    pub(super) fn pause(&self, number: u64) {
        self.paused().insert(number);
    }

    fn paused(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        // A set stays whole whatever panics.
        self.paused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
