//! The demand of the consumer of an inbox: whether it waits, and which of its watches are paused.

use std::collections::BTreeSet;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use super::entry::WatchRef;
use crate::mutex::Mutex;

/// Whether the consumer of an inbox waits for a message, and which of its watches are paused. The inbox
/// and the backlogs of its watches share it.
#[derive(Debug, Default)]
pub(super) struct Demand {
    waits: AtomicBool,
    paused: Mutex<BTreeSet<WatchRef>>,
}

impl Demand {
    /// The demand of a consumer that always waits.
    #[cfg(any(test, fuzzing))]
    pub(super) fn constant() -> Self {
        let demand = Self::default();
        demand.begin();
        demand
    }

    /// Records that the inbox is empty, and that its consumer waits.
    pub(super) fn begin(&self) {
        self.waits.store(true, SeqCst);
    }

    pub(super) fn waits(&self) -> bool {
        self.waits.load(SeqCst)
    }

    /// Records that the consumer does not wait any more.
    pub(super) fn end(&self) {
        self.waits.store(false, SeqCst);
    }

    /// Takes the numbers of the watches that were paused. The waiting consumer calls
    /// [`Backlog::grant`] for each.
    // ORDER: the consumer calls `begin` before this, and a watch calls `pause` before `waits`. So at
    // least one of the two sees the other.
    pub(super) fn take_paused(&self) -> BTreeSet<WatchRef> {
        std::mem::take(&mut *self.paused())
    }

    /// Records that a watch is paused.
    pub(super) fn pause(&self, watch: WatchRef) {
        self.paused().insert(watch);
    }

    fn paused(&self) -> MutexGuard<'_, BTreeSet<WatchRef>> {
        self.paused.lock()
    }
}
