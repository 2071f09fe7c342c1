//! PURE: which revision is "now", and whether the store has gone back.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::loss::{is_hopeless, wants_token};
use super::{Phase, Watches};
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
        if !self.knows(&header) {
            return;
        }
        for number in pinning {
            if let Some(entry) = self.entries.get_mut(&number) {
                if entry.phase == Phase::Unpinned {
                    entry.pin(header.revision);
                    entry.phase = Phase::Waiting;
                    self.waiting.push_back(number);
                }
            }
        }
        for (number, watched) in judged {
            let store = header.revision;
            if watched > store {
                self.stop(number);
                self.end(number, WatchEnd::RolledBack { watched, store });
            }
        }
    }

    /// The revision could not be learned, by that key.
    pub(crate) fn unpinned(&mut self, key: &Bytes, error: &Arc<Error>, now: Instant) {
        self.pins.is_asked = false;
        let mut waited = std::mem::take(&mut self.pins.asked);
        match error.kind() {
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
            ErrorKind::Closed => self.shut(),
            kind => {
                // The call has tried other tokens itself.
                if is_hopeless(kind) || wants_token(kind) {
                    self.refuse_new(error);
                }
                self.failures = self.failures.saturating_add(1);
                self.pins.pause = Some(now + self.pause());
            }
        }
        self.pins.doubted.append(&mut self.pins.judged);
        waited.append(&mut self.pins.waiting);
        waited.retain(|number| self.entries.contains_key(number));
        self.pins.waiting = waited;
    }

    pub(super) fn wants_pin(&self) -> bool {
        !self.pins.is_asked && (!self.pins.waiting.is_empty() || !self.pins.doubted.is_empty())
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
        let doubted = self.pins.judged.first().map(|(number, _)| number);
        let first = self.pins.asked.first().or(doubted)?;
        let key = self.entries.get(first)?.spec.range.start.clone();
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
