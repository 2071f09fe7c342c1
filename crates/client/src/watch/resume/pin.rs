//! PURE: the revision that stands for now, and the check whether the store has gone back.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::lifecycle::{is_hopeless, wants_token};
use super::{WatchPhase, Watches};
use crate::error::{Error, ErrorKind};
use crate::kv::ResponseHeader;
use crate::watch::end::WatchEnd;
use crate::watch::entry::{OwnerId, WatchRef};

/// Watches and owners that wait for the store's revision.
///
/// One read serves all that wait when it begins. Later ones wait for the next read: an
/// event from before the request of a watch is not new to the watch, and a watch may be told
/// meanwhile of a revision that is newer than the one being read.
#[derive(Debug, Default)]
pub(super) struct Pins {
    /// Watches that begin at the revision that stands for now.
    waiting: Vec<WatchRef>,
    /// Watches that wait for the read that is under way.
    asked: Vec<WatchRef>,
    /// Watches in force that may be ahead of the store, and the last revision that each has seen.
    doubted: Vec<(WatchRef, i64)>,
    /// The same for the read that is under way, which decides whether the store has gone back.
    judged: Vec<(WatchRef, i64)>,
    /// Owners that request progress.
    owners: HashSet<OwnerId>,
    /// Owners that wait for the read that is under way.
    owners_asked: HashSet<OwnerId>,
    /// Whether a read is under way.
    is_asked: bool,
    /// No read begins before this time.
    pause: Option<Instant>,
}

impl Pins {
    /// Adds a watch that begins at the revision that stands for now.
    pub(super) fn push(&mut self, watch: WatchRef) {
        self.waiting.push(watch);
    }

    /// Adds a watch that has seen a revision of which its server says that it does not exist yet.
    pub(super) fn doubt(&mut self, watch: WatchRef, seen: i64) {
        self.doubted.push((watch, seen));
    }

    /// Adds an owner that requests progress.
    pub(super) fn push_owner(&mut self, owner: OwnerId) {
        self.owners.insert(owner);
    }

    /// Replaces the owners that request progress.
    pub(super) fn set_owners(&mut self, owners: impl Iterator<Item = OwnerId>) {
        self.owners = owners.collect();
    }

    /// Whether an owner waits for the store's revision.
    pub(super) fn has_owner(&self, owner: OwnerId) -> bool {
        self.owners.contains(&owner) || self.owners_asked.contains(&owner)
    }

    pub(super) fn remove_owner(&mut self, owner: OwnerId) {
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
    /// Takes the store's revision. The read began after its step, so the revision is not older.
    pub(crate) fn pinned(&mut self, header: ResponseHeader) {
        self.pins.is_asked = false;
        self.pins.pause = None;
        let pinning = std::mem::take(&mut self.pins.asked);
        let judged = std::mem::take(&mut self.pins.judged);
        let owners = std::mem::take(&mut self.pins.owners_asked);
        if !self.check_cluster(&header) {
            return;
        }
        self.learned(owners, header);
        for watch in pinning {
            if let Some(entry) = self.entries.get_mut(&watch) {
                if entry.phase == WatchPhase::Unpinned {
                    entry.pin(header.revision);
                    entry.phase = WatchPhase::Waiting;
                    self.creations.push(watch);
                }
            }
        }
        for (watch, watched) in judged {
            let store = header.revision;
            if watched > store {
                self.stop(watch);
                self.end(watch, WatchEnd::RolledBack { watched, store });
            } else {
                self.tell_start(watch, header);
            }
        }
    }

    /// Sets the targets of owners that requested progress before the read began.
    fn learned(&mut self, owners: HashSet<OwnerId>, header: ResponseHeader) {
        if self.stream.is_open() {
            self.progress.saw(&header);
            self.aim(&owners, header.revision);
        } else {
            self.pins.owners.extend(owners);
        }
    }

    /// Takes the error of the read, which counted `key`.
    pub(crate) fn unpinned(&mut self, key: &Bytes, error: &Arc<Error>, now: Instant) {
        self.pins.is_asked = false;
        let mut waited = std::mem::take(&mut self.pins.asked);
        let mut owners = std::mem::take(&mut self.pins.owners_asked);
        let is_for_owners = waited.is_empty() && self.pins.judged.is_empty();
        match error.kind() {
            kind if is_of_the_key(kind) && is_for_owners => {
                // The revision that the stream has shown, or shows first, takes the place of the
                // store's.
                self.aim(&owners, self.progress.known());
                owners.clear();
            }
            kind if is_of_the_key(kind) => {
                // A user that may not read the key may not watch it. The other watches use another key
                // for the next read.
                let entries = &self.entries;
                let by_key = |watch: &WatchRef| {
                    let entry = entries.get(watch);
                    entry.is_some_and(|entry| entry.spec.range.start == *key)
                };
                self.pins.judged.retain(|(watch, _)| !by_key(watch));
                let denied: Vec<WatchRef> = waited.iter().copied().filter(by_key).collect();
                for watch in denied {
                    match kind {
                        ErrorKind::PermissionDenied => {
                            self.end(watch, WatchEnd::PermissionDenied);
                        }
                        _ => self.refuse(watch, error),
                    }
                }
            }
            ErrorKind::Closed => return self.close(),
            kind => {
                // The call has tried other tokens itself already.
                if is_hopeless(kind) || wants_token(kind) {
                    self.refuse_new(error);
                }
                self.pins.pause = Some(now + self.stream.next_pause());
            }
        }
        let waiting = owners
            .into_iter()
            .filter(|owner| self.progress.requests.contains(*owner));
        self.pins.owners.extend(waiting);
        self.pins.doubted.append(&mut self.pins.judged);
        waited.append(&mut self.pins.waiting);
        waited.retain(|watch| self.entries.contains_key(watch));
        self.pins.waiting = waited;
    }

    /// When the store's revision may be read again, if a watch or an owner waits for it.
    pub(super) fn pin_pause(&self) -> Option<Instant> {
        self.pins.pause.filter(|_| self.wants_pin())
    }

    fn wants_pin(&self) -> bool {
        let owners = self.stream.is_open() && !self.pins.owners.is_empty();
        let waits = owners || !self.pins.waiting.is_empty() || !self.pins.doubted.is_empty();
        !self.pins.is_asked && waits
    }

    /// Returns the key to count for all that wait, if the read is due.
    // ORDER: watches and owners that come while a read is under way wait for the next one, see `Pins`.
    pub(super) fn pin_due(&mut self, now: Instant) -> Option<Bytes> {
        if !self.wants_pin() || self.pins.pause.is_some_and(|until| until > now) {
            return None;
        }
        self.pins.asked.append(&mut self.pins.waiting);
        self.pins
            .asked
            .retain(|watch| self.entries.contains_key(watch));
        self.pins.judged.append(&mut self.pins.doubted);
        self.pins
            .judged
            .retain(|(watch, _)| self.entries.contains_key(watch));
        if self.stream.is_open() {
            self.pins.owners_asked = std::mem::take(&mut self.pins.owners);
        }
        let doubted = self.pins.judged.first().map(|(watch, _)| watch);
        let entry = match self.pins.asked.first().or(doubted) {
            Some(watch) => self.entries.get(watch)?,
            None => {
                let owners = &self.pins.owners_asked;
                let all = self.entries.iter();
                let theirs = all.filter(|(_, entry)| owners.contains(&entry.owner));
                theirs.min_by_key(|(watch, _)| **watch)?.1
            }
        };
        let key = entry.spec.range.start.clone();
        self.pins.is_asked = true;
        Some(key)
    }
}

/// Errors of a call that depend on its key.
fn is_of_the_key(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::PermissionDenied
            | ErrorKind::InvalidArgument
            | ErrorKind::MessageTooLarge
            | ErrorKind::RequestTooLarge
    )
}
