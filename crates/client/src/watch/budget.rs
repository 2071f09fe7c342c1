//! Events that all watches of a client hold together, and the limit of that.

use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

use super::amount::{Amount, Count};
use crate::config::WatchLimits;

/// The reserve is one of so many parts of a client's limits.
const RESERVE: usize = 16;

/// The events that all watches of a client hold together, and how far the store has come.
///
/// INVARIANT: the counts stay within the limits of the client, plus one revision for each watch
/// whose consumer was waiting, plus one for each stream. A watch takes more only while the
/// limits are not reached ([`room`](Self::room)). When they are, a watch that holds nothing and
/// whose consumer waits takes half of what is left of the reserve, or one revision: so the limits
/// stop no consumer that reads.
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

    /// Notes a revision of the store.
    pub(crate) fn saw(&self, revision: i64) {
        self.newest.fetch_max(revision, SeqCst);
    }

    /// The bytes that wait to be taken.
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

    /// The part of the limits that is kept for consumers that wait.
    fn reserve(&self) -> Amount {
        self.limit().part(RESERVE)
    }

    /// How much more all watches together may take; `None` when that is nothing.
    pub(super) fn room(&self) -> Option<Amount> {
        let limit = self.limit().minus(self.reserve());
        let held = self.held.amount();
        (!held.reaches(limit)).then(|| limit.minus(held))
    }

    /// Returns how much of the reserve a watch may take whose consumer waits.
    ///
    /// Half of what is left, so that one reader among many watches that nobody reads is not held to
    /// a small part, and the next one finds something, too. A server sends the rest of a history
    /// anew each time that a watch goes on: small parts would cost the square of its length.
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
