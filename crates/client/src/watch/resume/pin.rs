//! PURE: which revision is "now", and whether the store has gone back.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::lifecycle::{is_hopeless, wants_token};
use super::{StreamState, WatchPhase, Watches};
use crate::error::{Error, ErrorKind};
use crate::kv::ResponseHeader;
use crate::watch::end::WatchEnd;

/// Watches and owners that wait for the store's revision.
///
/// One read serves all that wait when it begins. Those that come later wait for the next one: an
/// event from before the request of a watch is not new to the watch, and a watch may be told
/// meanwhile of a revision that is newer than the one being read.
#[derive(Debug, Default)]
pub(super) struct Pins {
    /// Watches that begin at the revision that stands for now.
    waiting: Vec<u64>,
    /// Watches that wait for the read that is under way.
    asked: Vec<u64>,
    /// Watches in force that may be ahead of the store, and the last revision that each has seen.
    doubted: Vec<(u64, i64)>,
    /// The same for the read that is under way, which decides whether the store has gone back.
    judged: Vec<(u64, i64)>,
    /// Owners that request progress.
    owners: HashSet<u64>,
    /// Owners that wait for the read that is under way.
    owners_asked: HashSet<u64>,
    /// Whether a read is under way.
    is_asked: bool,
    /// No read begins before this time.
    pause: Option<Instant>,
}

impl Pins {
    /// Adds a watch that begins at the revision that stands for now.
    pub(super) fn push(&mut self, number: u64) {
        self.waiting.push(number);
    }

    /// Adds a watch that has seen a revision of which its server says that it does not exist yet.
    pub(super) fn doubt(&mut self, number: u64, seen: i64) {
        self.doubted.push((number, seen));
    }

    /// Adds an owner that requests progress.
    pub(super) fn push_owner(&mut self, owner: u64) {
        self.owners.insert(owner);
    }

    /// Replaces the owners that request progress.
    pub(super) fn set_owners(&mut self, owners: impl Iterator<Item = u64>) {
        self.owners = owners.collect();
    }

    /// Whether an owner waits for the store's revision.
    pub(super) fn has_owner(&self, owner: u64) -> bool {
        self.owners.contains(&owner) || self.owners_asked.contains(&owner)
    }

    pub(super) fn remove_owner(&mut self, owner: u64) {
        self.owners.remove(&owner);
        self.owners_asked.remove(&owner);
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let watches = self.waiting.is_empty() && self.asked.is_empty();
        let doubts = self.doubted.is_empty() && self.judged.is_empty();
        watches && doubts && self.owners.is_empty() && self.owners_asked.is_empty()
    }
}

impl Watches {
    /// The revision of the store is known, as it was after it had been asked for.
    pub(crate) fn pinned(&mut self, header: ResponseHeader) {
        self.pins.is_asked = false;
        self.pins.pause = None;
        let pinning = std::mem::take(&mut self.pins.asked);
        let judged = std::mem::take(&mut self.pins.judged);
        let owners = std::mem::take(&mut self.pins.owners_asked);
        if !self.knows(&header) {
            return;
        }
        self.learned(owners, header);
        for number in pinning {
            if let Some(entry) = self.entries.get_mut(&number) {
                if entry.phase == WatchPhase::Unpinned {
                    entry.pin(header.revision);
                    entry.phase = WatchPhase::Waiting;
                    self.creations.push(number);
                }
            }
        }
        for (number, watched) in judged {
            let store = header.revision;
            if watched > store {
                self.stop(number);
                self.end(number, WatchEnd::RolledBack { watched, store });
            } else {
                self.tell_start(number, header);
            }
        }
    }

    /// Owners that had asked for progress before can be told now what it is.
    fn learned(&mut self, owners: HashSet<u64>, header: ResponseHeader) {
        if matches!(self.stream, StreamState::Open(_)) {
            self.progress.saw(&header);
            self.aim(&owners, header.revision);
        } else {
            self.pins.owners.extend(owners);
        }
    }

    /// The revision could not be learned, by that key.
    pub(crate) fn unpinned(&mut self, key: &Bytes, error: &Arc<Error>, now: Instant) {
        self.pins.is_asked = false;
        let mut waited = std::mem::take(&mut self.pins.asked);
        let mut owners = std::mem::take(&mut self.pins.owners_asked);
        let is_for_owners = waited.is_empty() && self.pins.judged.is_empty();
        match error.kind() {
            kind if is_of_the_key(kind) && is_for_owners => {
                // The revision that the stream has shown, or shows first, is the best there is.
                self.aim(&owners, self.progress.known);
                owners.clear();
            }
            kind if is_of_the_key(kind) => {
                // Who may not read the key may not watch it; the others ask by another one.
                let entries = &self.entries;
                let by_key = |number: &u64| {
                    let entry = entries.get(number);
                    entry.is_some_and(|entry| entry.spec.range.start == *key)
                };
                self.pins.judged.retain(|(number, _)| !by_key(number));
                let denied: Vec<u64> = waited.iter().copied().filter(by_key).collect();
                for number in denied {
                    match kind {
                        ErrorKind::PermissionDenied => {
                            self.end(number, WatchEnd::PermissionDenied);
                        }
                        _ => self.refuse(number, error),
                    }
                }
            }
            ErrorKind::Closed => return self.shut(),
            kind => {
                // The call has tried other tokens itself.
                if is_hopeless(kind) || wants_token(kind) {
                    self.refuse_new(error);
                }
                self.failures = self.failures.saturating_add(1);
                self.pins.pause = Some(now + self.pause());
            }
        }
        let waiting = owners
            .into_iter()
            .filter(|owner| self.progress.waits(*owner));
        self.pins.owners.extend(waiting);
        self.pins.doubted.append(&mut self.pins.judged);
        waited.append(&mut self.pins.waiting);
        waited.retain(|number| self.entries.contains_key(number));
        self.pins.waiting = waited;
    }

    /// When the store's revision may be read again, if a watch or an owner waits for it.
    pub(super) fn pin_pause(&self) -> Option<Instant> {
        self.pins.pause.filter(|_| self.wants_pin())
    }

    fn wants_pin(&self) -> bool {
        let owners = matches!(self.stream, StreamState::Open(_)) && !self.pins.owners.is_empty();
        let waits = owners || !self.pins.waiting.is_empty() || !self.pins.doubted.is_empty();
        !self.pins.is_asked && waits
    }

    /// The key to ask for, for all that wait.
    // ORDER: who comes while it is being asked waits for the next time: what happened before a
    // watch was asked for is not new to it, and what a watch is told meanwhile may be newer than
    // the answer.
    pub(super) fn pin_due(&mut self, now: Instant) -> Option<Bytes> {
        if !self.wants_pin() || self.pins.pause.is_some_and(|until| until > now) {
            return None;
        }
        self.pins.asked.append(&mut self.pins.waiting);
        self.pins
            .asked
            .retain(|number| self.entries.contains_key(number));
        self.pins.judged.append(&mut self.pins.doubted);
        self.pins
            .judged
            .retain(|(number, _)| self.entries.contains_key(number));
        if matches!(self.stream, StreamState::Open(_)) {
            self.pins.owners_asked = std::mem::take(&mut self.pins.owners);
        }
        let doubted = self.pins.judged.first().map(|(number, _)| number);
        let entry = match self.pins.asked.first().or(doubted) {
            Some(number) => self.entries.get(number)?,
            None => {
                let owners = &self.pins.owners_asked;
                let all = self.entries.iter();
                let theirs = all.filter(|(_, entry)| owners.contains(&entry.owner));
                theirs.min_by_key(|(number, _)| **number)?.1
            }
        };
        let key = entry.spec.range.start.clone();
        self.pins.is_asked = true;
        Some(key)
    }
}

/// Errors of a call that another key may not have.
fn is_of_the_key(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::PermissionDenied
            | ErrorKind::InvalidArgument
            | ErrorKind::MessageTooLarge
            | ErrorKind::RequestTooLarge
    )
}
