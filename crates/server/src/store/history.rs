//! PURE: all versions in the order of revisions.

use std::collections::VecDeque;

use super::key_value::KeyValue;

/// The changes of the store, from the compacted revision on.
#[derive(Debug, Default)]
pub(super) struct History {
    changes: VecDeque<KeyValue>,
}

impl History {
    /// Adds the newest change.
    pub(super) fn push(&mut self, change: KeyValue) {
        self.changes.push_back(change);
    }

    /// Returns the changes of a revision of the store and of later ones.
    pub(super) fn since(&self, revision: i64) -> impl Iterator<Item = &KeyValue> {
        let first = self
            .changes
            .partition_point(|change| change.revision().main < revision);
        self.changes.range(first..)
    }

    /// Returns the last changes, of which there are at least so many.
    pub(super) fn last(&self, count: usize) -> impl Iterator<Item = &KeyValue> {
        self.changes
            .range(self.changes.len().saturating_sub(count)..)
    }

    /// Returns the change at this place.
    pub(super) fn at(&self, place: usize) -> Option<&KeyValue> {
        self.changes.get(place)
    }

    /// Removes the oldest change.
    pub(super) fn pop(&mut self) {
        self.changes.pop_front();
        if self.changes.len() * 4 < self.changes.capacity() {
            self.changes.shrink_to(self.changes.len() * 2);
        }
    }
}
