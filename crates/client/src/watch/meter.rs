//! Events that all watches of a client hold together, and the limit of that.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::SeqCst};

use super::amount::{Amount, Count};
use crate::config::WatchLimits;

/// The reserve is one of so many parts of a client's limits.
const RESERVE: usize = 16;

/// The events that all watches of a client hold together, and how far the store has come.
///
/// INVARIANT: the counts stay within the limits of the client, plus one revision for each watch
/// whose consumer was waiting, plus one for each stream. A watch takes more only while the
/// limits are not reached ([`room`](Self::room)). When they are, a watch that holds nothing and
/// whose consumer waits takes its part of the reserve, or one revision: so the limits stop no
/// consumer that reads.
#[derive(Debug)]
pub(crate) struct Meter {
    held: Count,
    /// The number of backlogs.
    watches: AtomicUsize,
    newest: AtomicI64,
    limits: WatchLimits,
}

impl Meter {
    pub(crate) fn new(limits: WatchLimits) -> Self {
        Self {
            held: Count::default(),
            watches: AtomicUsize::new(0),
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

    /// The part of the reserve that a watch may take.
    pub(super) fn share(&self) -> Amount {
        self.reserve().part(self.watches.load(SeqCst))
    }

    /// Counts one more backlog.
    pub(super) fn enter(&self) {
        self.watches.fetch_add(1, SeqCst);
    }

    pub(super) fn leave(&self) {
        self.watches.fetch_sub(1, SeqCst);
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
