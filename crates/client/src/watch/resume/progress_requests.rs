//! PURE: owners that want to be told how far their watches have come.
//!
//! An owner that asks wants an answer that is not older than its question. So the store's
//! revision is read after the question, and the owner is told when all its watches have come
//! that far: by events, by the server's word, or because they begin later.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use super::progress::EVERY;
use super::{Note, Watches};
use crate::kv::ResponseHeader;

/// What an owner waits for.
#[derive(Debug, Default)]
pub(super) struct ProgressRequest {
    /// The store's revision after the owner had asked; `None` until it is known. 0 if the store
    /// does not tell it: then the first revision that the stream shows takes its place.
    pub(super) target: Option<i64>,
    /// The same for an owner that has asked again meanwhile. An owner that asks all the time is
    /// answered as well.
    later: Option<i64>,
    /// Watches of the owner that had not come that far.
    pub(super) behind: HashSet<u64>,
    /// How far the owner was told that it has come, on the word of a server that is not exact.
    told: i64,
    /// When such a server is not asked again.
    until: Option<Instant>,
}

impl Watches {
    /// An owner wants to be told how far its watches have come.
    pub(crate) fn request_progress(&mut self, owner: u64) {
        if self.owners.contains(owner) {
            self.progress.wanted.entry(owner).or_default();
            // INVARIANT: the revision is read after the request, so the answer is not older.
            self.pins.push_owner(owner);
        }
    }

    /// Sets what owners wait for: this revision, which the store had after they had asked.
    pub(super) fn aim(&mut self, owners: &HashSet<u64>, revision: i64) {
        for owner in owners {
            if let Some(want) = self.progress.wanted.get_mut(owner) {
                match want.target {
                    Some(target) if target > 0 => want.later = Some(revision),
                    _ => {
                        want.target = Some(revision);
                        self.progress.ripe.insert(*owner);
                    }
                }
            }
        }
    }

    /// A watch has come further, or is in force for the first time, or is gone.
    pub(super) fn moved(&mut self, number: u64, owner: u64, next: Option<i64>) {
        let Some(want) = self.progress.wanted.get_mut(&owner) else {
            return;
        };
        let Some(target) = want.target else {
            return;
        };
        if next.is_none_or(|next| next > target) {
            want.behind.remove(&number);
        }
        if want.behind.is_empty() {
            self.progress.ripe.insert(owner);
        }
    }

    /// Tells the owners whose watches have come as far as they wanted to know.
    ///
    /// One pass over all watches serves all owners.
    pub(super) fn settle(&mut self) {
        let ripe = std::mem::take(&mut self.progress.ripe);
        if ripe.is_empty() {
            return;
        }
        let mut reached = self.reached(&ripe);
        let mut ripe: Vec<u64> = ripe.into_iter().collect();
        ripe.sort_unstable();
        for owner in ripe {
            let Some(want) = self.progress.wanted.get_mut(&owner) else {
                continue;
            };
            // Without a watch in force there is nothing to tell yet.
            let target = want.target.filter(|target| *target > 0);
            let (Some(target), Some((revision, behind))) = (target, reached.remove(&owner)) else {
                continue;
            };
            if !behind.is_empty() {
                want.behind = behind;
                continue;
            }
            let revision = revision.min(self.progress.known.max(target));
            self.has_answer(owner);
            if revision > 0 {
                self.tell_progress(owner, revision);
            }
        }
    }

    /// An owner has its answer, or never gets a better one.
    fn has_answer(&mut self, owner: u64) {
        let Some(want) = self.progress.wanted.get_mut(&owner) else {
            return;
        };
        let target = want.later;
        *want = ProgressRequest {
            target,
            ..ProgressRequest::default()
        };
        if target.is_some() {
            self.progress.ripe.insert(owner);
        } else if !self.pins.has_owner(owner) {
            self.progress.forget(owner);
        }
    }

    /// How far the watches of these owners have come that are or were in force, and which of them
    /// have not come as far as their owner wants to know.
    fn reached(&self, owners: &HashSet<u64>) -> HashMap<u64, (i64, HashSet<u64>)> {
        let mut reached: HashMap<u64, (i64, HashSet<u64>)> = HashMap::new();
        for (number, entry) in self.entries.iter().filter(|(_, entry)| entry.was_created) {
            if !owners.contains(&entry.owner) {
                continue;
            }
            let want = self.progress.wanted.get(&entry.owner);
            let target = want.and_then(|want| want.target).unwrap_or(0);
            let (revision, behind) = reached
                .entry(entry.owner)
                .or_insert_with(|| (i64::MAX, HashSet::new()));
            *revision = (*revision).min(entry.assembler.next.saturating_sub(1));
            if entry.assembler.next <= target {
                behind.insert(*number);
            }
        }
        reached
    }

    fn tell_progress(&mut self, owner: u64, revision: i64) {
        let header = ResponseHeader {
            revision,
            ..self.progress.header
        };
        let watch = None;
        self.tell(owner, Note::Progress { watch, header });
    }

    /// The same of a server that may overtake events with it: owners are told how far the
    /// events have come. What is under way may be told a little later, so the server is asked
    /// again for some time.
    pub(super) fn progressed_maybe(&mut self, header: ResponseHeader, now: Instant) {
        let aimed = self.progress.wanted.iter();
        let aimed = aimed.filter(|(_, want)| want.target.is_some());
        let owners: HashSet<u64> = aimed.map(|(owner, _)| *owner).collect();
        let mut reached: Vec<_> = self.reached(&owners).into_iter().collect();
        reached.sort_unstable_by_key(|(owner, _)| *owner);
        for (owner, (revision, _)) in reached {
            let Some(want) = self.progress.wanted.get_mut(&owner) else {
                continue;
            };
            let revision = revision.min(header.revision);
            let is_news = revision > want.told;
            want.told = want.told.max(revision);
            if *want.until.get_or_insert(now + EVERY) <= now {
                self.has_answer(owner);
            }
            if is_news {
                self.tell_progress(owner, revision);
            }
        }
    }
}
