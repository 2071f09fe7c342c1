//! PURE: the requests of owners for the progress of their watches.
//!
//! The answer to an owner must not be older than its request. So the store's revision is read after
//! the request, and the owner is answered when all its watches have reached this revision: by
//! events, by the server's progress messages, or because they begin later.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use super::progress::EVERY;
use super::{Note, Watches};
use crate::kv::ResponseHeader;
use crate::watch::entry::{OwnerId, WatchRef};

/// The request of an owner that has no answer yet.
#[derive(Debug, Default)]
struct ProgressRequest {
    /// The store's revision after the request; `None` until it is known. 0 if the store does not
    /// tell it: then the first revision that the stream shows takes its place.
    target: Option<i64>,
    /// The target of a further request, which the owner has made after the first one had its target.
    /// So an owner that makes requests all the time is answered, too.
    later: Option<i64>,
    /// Watches of the owner that have not reached the target.
    behind: HashSet<WatchRef>,
    /// The last revision that was told to the owner, if the server is not exact.
    told: i64,
    /// The end of the further requests to such a server.
    until: Option<Instant>,
}

/// The requests of all owners.
#[derive(Debug, Default)]
pub(super) struct ProgressRequests {
    pending: HashMap<OwnerId, ProgressRequest>,
    /// Owners whose watches may have reached their targets.
    ripe: HashSet<OwnerId>,
}

impl ProgressRequests {
    /// Whether an owner waits for an answer.
    pub(super) fn contains(&self, owner: OwnerId) -> bool {
        self.pending.contains_key(&owner)
    }

    /// Forgets the request of an owner.
    pub(super) fn remove(&mut self, owner: OwnerId) {
        self.pending.remove(&owner);
        self.ripe.remove(&owner);
    }

    /// Begins all requests again, without targets. Returns their owners.
    pub(super) fn restart(&mut self) -> impl Iterator<Item = OwnerId> {
        self.ripe.clear();
        for request in self.pending.values_mut() {
            *request = ProgressRequest::default();
        }
        self.pending.keys().copied()
    }

    /// Sets the targets that the store did not tell to the first revision that the stream shows.
    pub(super) fn first_revision(&mut self, revision: i64) {
        for (owner, request) in &mut self.pending {
            if request.target == Some(0) {
                request.target = Some(revision);
                self.ripe.insert(*owner);
            }
        }
    }

    /// Whether a watch is known to be behind the target of its owner.
    pub(super) fn has_behind(&self) -> bool {
        let mut requests = self.pending.values();
        requests.any(|request| !request.behind.is_empty())
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.ripe.is_empty()
    }
}

impl Watches {
    /// Takes the request of an owner for the progress of its watches.
    pub(crate) fn request_progress(&mut self, owner: OwnerId) {
        if self.owners.contains(owner) {
            self.progress.requests.pending.entry(owner).or_default();
            // INVARIANT: the revision is read after the request, so the answer is not older.
            self.pins.push_owner(owner);
        }
    }

    /// Sets the targets of owners to a revision that the store had after their requests.
    pub(super) fn aim(&mut self, owners: &HashSet<OwnerId>, revision: i64) {
        for owner in owners {
            if let Some(request) = self.progress.requests.pending.get_mut(owner) {
                match request.target {
                    Some(target) if target > 0 => request.later = Some(revision),
                    _ => {
                        request.target = Some(revision);
                        self.progress.requests.ripe.insert(*owner);
                    }
                }
            }
        }
    }

    /// Records that a watch will deliver `next` next, or that it is gone (`None`).
    pub(super) fn moved(&mut self, watch: WatchRef, owner: OwnerId, next: Option<i64>) {
        let Some(request) = self.progress.requests.pending.get_mut(&owner) else {
            return;
        };
        let Some(target) = request.target else {
            return;
        };
        if next.is_none_or(|next| next > target) {
            request.behind.remove(&watch);
        }
        if request.behind.is_empty() {
            self.progress.requests.ripe.insert(owner);
        }
    }

    /// Answers the owners whose watches have reached their targets.
    ///
    /// One pass over all watches serves all owners.
    pub(super) fn settle(&mut self) {
        let ripe = std::mem::take(&mut self.progress.requests.ripe);
        if ripe.is_empty() {
            return;
        }
        let mut reached = self.reached(&ripe);
        let mut ripe: Vec<OwnerId> = ripe.into_iter().collect();
        ripe.sort_unstable();
        for owner in ripe {
            let Some(request) = self.progress.requests.pending.get_mut(&owner) else {
                continue;
            };
            // Without a created watch there is no answer yet.
            let target = request.target.filter(|target| *target > 0);
            let (Some(target), Some((revision, behind))) = (target, reached.remove(&owner)) else {
                continue;
            };
            if !behind.is_empty() {
                request.behind = behind;
                continue;
            }
            let revision = revision.min(self.progress.known().max(target));
            self.has_answer(owner);
            if revision > 0 {
                self.tell_progress(owner, revision);
            }
        }
    }

    /// Ends the request of an owner, and begins its further request.
    fn has_answer(&mut self, owner: OwnerId) {
        let Some(request) = self.progress.requests.pending.get_mut(&owner) else {
            return;
        };
        let target = request.later;
        *request = ProgressRequest {
            target,
            ..ProgressRequest::default()
        };
        if target.is_some() {
            self.progress.requests.ripe.insert(owner);
        } else if !self.pins.has_owner(owner) {
            self.progress.requests.remove(owner);
        }
    }

    /// Returns how far the created watches of each owner have come, and which of them have not reached
    /// the target of their owner.
    fn reached(&self, owners: &HashSet<OwnerId>) -> HashMap<OwnerId, (i64, HashSet<WatchRef>)> {
        let mut reached: HashMap<OwnerId, (i64, HashSet<WatchRef>)> = HashMap::new();
        for (watch, entry) in self.entries.iter().filter(|(_, entry)| entry.was_created) {
            if !owners.contains(&entry.owner) {
                continue;
            }
            let request = self.progress.requests.pending.get(&entry.owner);
            let target = request.and_then(|request| request.target).unwrap_or(0);
            let (revision, behind) = reached
                .entry(entry.owner)
                .or_insert_with(|| (i64::MAX, HashSet::new()));
            *revision = (*revision).min(entry.assembler.next.saturating_sub(1));
            if entry.assembler.next <= target {
                behind.insert(*watch);
            }
        }
        reached
    }

    fn tell_progress(&mut self, owner: OwnerId, revision: i64) {
        let header = ResponseHeader {
            revision,
            ..self.progress.header()
        };
        let watch = None;
        self.tell(owner, Note::Progress { watch, header });
    }

    /// Takes an answer of a server that may send it before earlier events. Owners are told how far the
    /// events have come. Events under way may come a little later, so the server is asked again for
    /// some time.
    pub(super) fn progressed_maybe(&mut self, header: ResponseHeader, now: Instant) {
        let aimed = self.progress.requests.pending.iter();
        let aimed = aimed.filter(|(_, request)| request.target.is_some());
        let owners: HashSet<OwnerId> = aimed.map(|(owner, _)| *owner).collect();
        let mut reached: Vec<_> = self.reached(&owners).into_iter().collect();
        reached.sort_unstable_by_key(|(owner, _)| *owner);
        for (owner, (revision, _)) in reached {
            let Some(request) = self.progress.requests.pending.get_mut(&owner) else {
                continue;
            };
            let revision = revision.min(header.revision);
            let is_news = revision > request.told;
            request.told = request.told.max(revision);
            if *request.until.get_or_insert(now + EVERY) <= now {
                self.has_answer(owner);
            }
            if is_news {
                self.tell_progress(owner, revision);
            }
        }
    }
}
