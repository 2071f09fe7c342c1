//! PURE: the compacted revision, and the removal of versions that it makes superfluous.
//!
//! A compaction at a revision keeps what is needed to read at this revision and later ones: of each
//! key the newest version up to it, and all later ones. A deletion at the revision itself is kept, an
//! earlier one is not.
//!
//! Only a key that has changed can have a version to forget. So the work follows the history: each
//! change up to the compacted revision makes the versions of its key before it superfluous. The
//! work is proportional to the changes since the last compaction, and not to the number of keys.
//!
//! Source: etcd, `server/storage/mvcc/key_index.go` (`compact`).

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::error::StoreError;
use super::history::History;
use super::index::Index;

/// The compacted revision, and how far the versions before it were removed.
#[derive(Debug)]
pub(super) struct Compaction {
    revision: i64,
    /// The revision up to which the sweep has come or goes now.
    horizon: i64,
    /// Number of changes of the horizon's own revision that the sweep has handled: they stay in the
    /// history.
    handled: usize,
    /// The revisions at which ranges are being read.
    pins: BTreeMap<i64, Weak<Pin>>,
}

/// Keeps the versions of a revision while it exists.
#[derive(Debug)]
pub(super) struct Pin;

impl Default for Compaction {
    fn default() -> Self {
        Self {
            revision: -1,
            horizon: -1,
            handled: 0,
            pins: BTreeMap::new(),
        }
    }
}

impl Compaction {
    /// Returns the compacted revision; -1 before the first compaction.
    pub(super) fn revision(&self) -> i64 {
        self.revision
    }

    pub(super) fn begin(&mut self, revision: i64, current: i64) -> Result<(), StoreError> {
        if revision <= self.revision {
            return Err(StoreError::Compacted);
        }
        if revision > current {
            return Err(StoreError::FutureRevision);
        }
        self.revision = revision;
        Ok(())
    }

    /// Keeps the versions of a revision that can be read now, until the pin is dropped.
    pub(super) fn pin(&mut self, revision: i64) -> Arc<Pin> {
        let present = self.pins.get(&revision).and_then(Weak::upgrade);
        present.unwrap_or_else(|| {
            let pin = Arc::new(Pin);
            self.pins.insert(revision, Arc::downgrade(&pin));
            pin
        })
    }

    /// Handles up to `most` changes. Returns whether there may be more.
    pub(super) fn sweep(&mut self, most: usize, index: &mut Index, history: &mut History) -> bool {
        let horizon = self.reachable();
        if horizon > self.horizon {
            self.horizon = horizon;
            self.handled = 0;
        }
        for _ in 0..most {
            let Some(change) = history.at(self.handled) else {
                return false;
            };
            let revision = change.revision();
            if revision.main > self.horizon {
                return false;
            }
            let change = change.clone();
            if revision.main == self.horizon {
                index.forget(change.key(), revision, false);
                self.handled += 1;
            } else {
                index.forget(change.key(), revision, change.is_tombstone());
                history.pop();
            }
        }
        true
    }

    /// Returns the revision up to which versions may be removed now.
    fn reachable(&mut self) -> i64 {
        self.pins.retain(|_, pin| pin.strong_count() > 0);
        let first = self.pins.keys().next();
        first.map_or(self.revision, |first| self.revision.min(*first))
    }
}
