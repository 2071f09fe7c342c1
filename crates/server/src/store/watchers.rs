//! PURE: watchers, and the changes that they have not taken.
//!
//! A watcher in step gets each change that it matches when the change is made. One that is behind
//! reads the history in steps, until it has come to the present. A watcher whose changes are not taken
//! falls behind again, so that its memory is bounded.
//!
//! ```text
//!            the history is read to its end
//!  Behind ─────────────────────────────────────► InStep
//!    ▲ │                                            │
//!    │ └──► removed, if the history that it needs   │
//!    │      was compacted                           │
//!    └──────────────────────────────────────────────┘
//!            too many changes are not taken
//! ```

mod matching;

use std::collections::{HashMap, VecDeque};

use self::matching::Matching;
use super::Store;
use super::history::History;
use super::key_range::KeyRange;
use super::key_value::KeyValue;

/// The most changes that wait for a watcher in step.
const MOST_PENDING: usize = 1_024;

/// The changes that a watcher is told of.
#[derive(Clone, Debug)]
pub struct WatchQuery {
    /// The keys.
    pub range: KeyRange,
    /// The first revision to be told of; 0 for the next one.
    pub start: i64,
    /// Whether puts are left out.
    pub no_put: bool,
    /// Whether deletions are left out.
    pub no_delete: bool,
    /// Whether each change comes with the pair from before.
    pub prev_kv: bool,
}

/// The ID of a watcher. The store uses no ID twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatcherId(u64);

/// A change that a watcher is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// The change: a put, or a deletion as a [tombstone](KeyValue::is_tombstone).
    pub change: KeyValue,
    /// The pair from before, if it was requested, and the revision before can still be read.
    pub prev_kv: Option<KeyValue>,
}

/// The result when a watcher asks for its changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchOutput {
    /// The changes, of whole revisions.
    Events {
        /// The revision of the store.
        revision: i64,
        /// The changes, in order. There may be none.
        events: Vec<WatchEvent>,
        /// Whether the history may have more: the watcher asks again.
        more: bool,
    },
    /// The history that the watcher needs was compacted. The watcher was removed.
    Compacted {
        /// The compacted revision.
        revision: i64,
    },
}

#[derive(Debug)]
struct Watcher {
    query: WatchQuery,
    /// The first revision that the watcher was not told of.
    next: i64,
    position: Position,
    /// Whether the watcher was put in the list of those that have something to take, and has not taken
    /// it.
    is_ready: bool,
}

#[derive(Debug)]
enum Position {
    Behind,
    /// INVARIANT: it has all matching changes from the watcher's next revision on.
    InStep(VecDeque<KeyValue>),
}

/// The watchers of a store.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    watchers: HashMap<WatcherId, Watcher>,
    matching: Matching,
    /// Watchers that have something to take.
    ready: VecDeque<WatcherId>,
    last_id: u64,
}

impl Watcher {
    fn wants(&self, change: &KeyValue) -> bool {
        let is_filtered = if change.is_tombstone() {
            self.query.no_delete
        } else {
            self.query.no_put
        };
        !is_filtered && change.revision().main >= self.next
    }

    /// Takes the changes that wait. Returns whether the history may have more.
    fn take(&mut self, most: usize, history: &History, current: i64) -> (Vec<KeyValue>, bool) {
        if let Position::InStep(pending) = &mut self.position {
            let changes = std::mem::take(pending).into();
            self.next = self.next.max(current + 1);
            return (changes, false);
        }
        let mut changes = Vec::new();
        let mut last = self.next;
        for (visited, change) in history.since(self.next).enumerate() {
            let main = change.revision().main;
            if visited >= most && main != last {
                self.next = main;
                return (changes, true);
            }
            last = main;
            if self.query.range.contains(change.key()) && self.wants(change) {
                changes.push(change.clone());
            }
        }
        self.next = self.next.max(current + 1);
        self.position = Position::InStep(VecDeque::new());
        (changes, false)
    }
}

impl Watchers {
    fn add(&mut self, query: WatchQuery, current: i64) -> WatcherId {
        self.last_id += 1;
        let id = WatcherId(self.last_id);
        self.matching.insert(&query.range, id);
        let is_behind = query.start != 0 && query.start <= current;
        let watcher = Watcher {
            next: if is_behind {
                query.start
            } else {
                query.start.max(current + 1)
            },
            position: if is_behind {
                Position::Behind
            } else {
                Position::InStep(VecDeque::new())
            },
            is_ready: is_behind,
            query,
        };
        self.ready.extend(is_behind.then_some(id));
        self.watchers.insert(id, watcher);
        id
    }

    fn remove(&mut self, id: WatcherId) -> Option<Watcher> {
        let watcher = self.watchers.remove(&id)?;
        self.matching.remove(&watcher.query.range, id);
        Some(watcher)
    }

    /// Gives changes of one revision to the watchers that are in step.
    pub(super) fn notify<'a>(&mut self, changes: impl Iterator<Item = &'a KeyValue>) {
        for change in changes {
            self.matching.visit(change.key(), |id| {
                let Some(watcher) = self.watchers.get_mut(&id) else {
                    return;
                };
                if !watcher.wants(change) {
                    return;
                }
                let Position::InStep(pending) = &mut watcher.position else {
                    return;
                };
                pending.push_back(change.clone());
                if pending.len() > MOST_PENDING {
                    // The history has them, too.
                    watcher.next = pending[0].revision().main;
                    watcher.position = Position::Behind;
                }
                if !watcher.is_ready {
                    watcher.is_ready = true;
                    self.ready.push_back(id);
                }
            });
        }
    }

    fn next_ready(&mut self) -> Option<WatcherId> {
        while let Some(id) = self.ready.pop_front() {
            if self.watchers.contains_key(&id) {
                return Some(id);
            }
        }
        None
    }
}

impl Store {
    /// Adds a watcher. One that starts in the future waits for its revision.
    pub fn watch(&mut self, query: WatchQuery) -> WatcherId {
        self.watchers.add(query, self.revision)
    }

    /// Returns the number of watchers.
    #[must_use]
    pub fn watchers(&self) -> usize {
        self.watchers.watchers.len()
    }

    /// Removes a watcher. Returns whether it was there.
    pub fn cancel_watch(&mut self, id: WatcherId) -> bool {
        self.watchers.remove(id).is_some()
    }

    /// Returns a watcher that has changes to take, or may have some. It is not returned again until its
    /// changes were taken.
    pub fn next_ready_watch(&mut self) -> Option<WatcherId> {
        self.watchers.next_ready()
    }

    /// Takes the changes of a watcher. One that is behind visits up to `most` changes of the history,
    /// and the rest of a revision. Returns `None` if there is no such watcher.
    pub fn take_events(&mut self, id: WatcherId, most: usize) -> Option<WatchOutput> {
        let compacted = self.compaction.revision();
        let watcher = self.watchers.watchers.get_mut(&id)?;
        let is_behind = matches!(watcher.position, Position::Behind);
        if is_behind && watcher.next < compacted {
            self.watchers.remove(id);
            return Some(WatchOutput::Compacted {
                revision: compacted,
            });
        }
        watcher.is_ready = false;
        let (changes, more) = watcher.take(most, &self.history, self.revision);
        let wants_prev_kv = watcher.query.prev_kv;
        let events = changes.into_iter().map(|change| WatchEvent {
            prev_kv: wants_prev_kv.then(|| self.pair_before(&change)).flatten(),
            change,
        });
        Some(WatchOutput::Events {
            revision: self.revision,
            events: events.collect(),
            more,
        })
    }

    /// Returns the revision of the store if all these watchers were told of everything up to it.
    #[must_use]
    pub fn watch_progress<'a>(&self, ids: impl IntoIterator<Item = &'a WatcherId>) -> Option<i64> {
        let is_told = |id: &WatcherId| {
            let watcher = self.watchers.watchers.get(id)?;
            match &watcher.position {
                Position::InStep(pending) => {
                    Some(pending.is_empty() && watcher.query.start <= self.revision)
                }
                Position::Behind => None,
            }
        };
        let all = ids.into_iter().all(|id| is_told(id) == Some(true));
        all.then_some(self.revision)
    }

    /// Returns the pair that a change has replaced, if the revision before can be read.
    fn pair_before(&self, change: &KeyValue) -> Option<KeyValue> {
        let main = change.revision().main;
        let is_created = !change.is_tombstone() && change.create_revision() == main;
        let before = main - 1;
        if is_created || before < self.compacted() {
            return None;
        }
        self.index.at(change.key(), before).cloned()
    }
}
