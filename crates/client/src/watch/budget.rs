//! The count of the events that all watches of a client hold, and its limits.

use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

use super::amount::{Amount, Count};
use crate::config::WatchLimits;

/// The reserve is this fraction of a client's limits.
const RESERVE: usize = 16;

/// The amount of events that all watches of a client hold, its limits, and the newest known revision.
///
/// INVARIANT: the counts stay within the limits of the client, plus one revision for each watch
/// whose consumer was waiting, plus one for each stream. A watch takes more only while the limits
/// are not reached ([`room`](Self::room)). When the limits are reached, a watch that holds no
/// events and whose consumer waits takes half of the rest of the reserve, or one revision. So the
/// limits stop no consumer that reads.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    held: Count,
    newest: AtomicI64,
    limits: WatchLimits,
}

impl MemoryBudget {
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

    /// Records a revision of the store.
    pub(crate) fn saw(&self, revision: i64) {
        self.newest.fetch_max(revision, SeqCst);
    }

    /// The bytes of all counted events.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.held.amount().bytes
    }

    fn limit(&self) -> Amount {
        Amount {
            bytes: self.limits.client_bytes,
            events: self.limits.client_events,
        }
    }

    /// The part of the limits that is reserved for consumers that wait.
    fn reserve(&self) -> Amount {
        self.limit().part(RESERVE)
    }

    /// Returns how much more all watches together may hold; `None` when the limit is reached.
    pub(super) fn room(&self) -> Option<Amount> {
        let limit = self.limit().minus(self.reserve());
        let held = self.held.amount();
        (!held.reaches(limit)).then(|| limit.minus(held))
    }

    /// Returns how much of the reserve a watch may take whose consumer waits.
    ///
    /// This is half of the rest. So a single reader among many watches without readers gets a large
    /// part, and the next reader finds room, too. Each time that a watch is resumed, the server
    /// sends the rest of the history again: with small parts, the cost would grow with the square
    /// of its length.
    pub(super) fn share(&self) -> Amount {
        self.limit().minus(self.held.amount()).half()
    }

    pub(super) fn add(&self, amount: Amount) {
        self.held.add(amount);
    }

    pub(super) fn take(&self, amount: Amount) {
        self.held.take(amount);
    }

    /// The newest revision of the store that is known.
    pub(super) fn newest(&self) -> i64 {
        self.newest.load(SeqCst)
    }
}
