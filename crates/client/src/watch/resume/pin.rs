//! PURE: which revision is "now", and whether the store has gone back.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::loss::{is_hopeless, wants_token};
use super::{Stream, WatchPhase, Watches};
use crate::error::{Error, ErrorKind};
use crate::kv::ResponseHeader;
use crate::watch::end::WatchEnd;

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
        if matches!(self.stream, Stream::Open(_)) {
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

    pub(super) fn wants_pin(&self) -> bool {
        let owners = matches!(self.stream, Stream::Open(_)) && !self.pins.owners.is_empty();
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
        if matches!(self.stream, Stream::Open(_)) {
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
