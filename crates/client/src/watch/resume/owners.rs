//! PURE: the owners of watches, and the interruptions that they know of.

use std::collections::HashMap;

use crate::watch::entry::OwnerId;

/// An owner of watches.
#[derive(Debug, Default)]
struct OwnerState {
    /// Number of its watches.
    watches: usize,
    /// Number of its watches that were in force and wait to be created again.
    missing: usize,
    /// Whether the owner was told that its watches are interrupted.
    is_interrupted: bool,
}

/// The owners that have watches.
#[derive(Debug, Default)]
pub(super) struct Owners {
    states: HashMap<OwnerId, OwnerState>,
}

impl Owners {
    pub(super) fn contains(&self, owner: OwnerId) -> bool {
        self.states.contains_key(&owner)
    }

    /// Counts one more watch.
    pub(super) fn add_watch(&mut self, owner: OwnerId) {
        self.states.entry(owner).or_default().watches += 1;
    }

    /// Counts one watch less. Returns whether it was the last one, and `None` for an unknown owner.
    pub(super) fn remove_watch(&mut self, owner: OwnerId, was_missing: bool) -> Option<bool> {
        let state = self.states.get_mut(&owner)?;
        state.watches -= 1;
        state.missing -= usize::from(was_missing);
        Some(state.watches == 0)
    }

    /// Counts a watch that was in force and waits to be created again. Returns whether the owner has
    /// to be told of the interruption.
    pub(super) fn lost_watch(&mut self, owner: OwnerId) -> bool {
        let Some(state) = self.states.get_mut(&owner) else {
            return false;
        };
        state.missing += 1;
        !std::mem::replace(&mut state.is_interrupted, true)
    }

    /// Counts a lost watch that is in force again.
    pub(super) fn regained_watch(&mut self, owner: OwnerId) {
        if let Some(state) = self.states.get_mut(&owner) {
            state.missing -= 1;
        }
    }

    /// Ends the interruption of an owner if it misses no watch. Returns whether the owner has to be
    /// told that its watches are resumed.
    pub(super) fn end_interruption(&mut self, owner: OwnerId) -> bool {
        let state = self.states.get_mut(&owner);
        state.is_some_and(|state| state.missing == 0 && std::mem::take(&mut state.is_interrupted))
    }

    /// Ends the interruption of an owner that is not told any more.
    pub(super) fn silence(&mut self, owner: OwnerId) {
        if let Some(state) = self.states.get_mut(&owner) {
            state.is_interrupted = false;
        }
    }

    /// Forgets an owner without watches.
    pub(super) fn remove(&mut self, owner: OwnerId) {
        self.states.remove(&owner);
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.states.is_empty()
    }
}
