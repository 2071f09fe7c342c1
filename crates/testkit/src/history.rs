//! Histories of a store, and recordings of watches.
//!
//! A [`History`] has every change of a store, in order. A [`Recording`] has the query and all
//! messages of one watch. [`check`](crate::check) compares the two. Both are written and read as
//! JSON lines ([`Archive`]).
//!
//! Values are kept as hashes only, so that a history of hours fits into memory.

mod archive;
mod recording;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use archive::{Archive, Incident};
pub use recording::{Body, End, Message, Query, Recording};

/// A pair of a store. For a deleted key, all fields but `mod_revision` are zero, as in events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The revision that created the key.
    pub create_revision: i64,
    /// The revision that changed it last.
    pub mod_revision: i64,
    /// Number of writes since the key was created.
    pub version: i64,
    /// The [`hash`] of its value.
    pub value: u64,
}

/// Returns the hash of a value: FNV-1a, 64 bits, which is the same on every machine.
pub fn hash(value: &[u8]) -> u64 {
    value.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// The two kinds of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// The key was written.
    Put,
    /// The key was deleted.
    Delete,
}

/// A change of one key, in a store or in a message of a watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The kind of change.
    pub kind: EventKind,
    /// The key.
    pub key: Arc<str>,
    /// The pair after the change.
    pub pair: Pair,
    /// The pair before the change. Boxed, as most watches do not ask for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev: Option<Box<Pair>>,
}

impl Event {
    /// Returns the revision of the change.
    pub fn revision(&self) -> i64 {
        self.pair.mod_revision
    }

    /// Returns whether the change has created the key.
    pub fn is_create(&self) -> bool {
        self.kind == EventKind::Put && self.pair.create_revision == self.pair.mod_revision
    }
}

/// A requested change of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Writes a value with this hash.
    Put(Arc<str>, u64),
    /// Deletes an existing key.
    Delete(Arc<str>),
}

/// A requested compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compaction {
    /// When it was requested, in microseconds since the start.
    pub at: u64,
    /// The revision of the compaction.
    pub revision: i64,
}

/// When a revision was made, in microseconds since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The revision.
    pub revision: i64,
    /// When its write began: the store cannot have had the revision before. None if the revision
    /// was read from the store, for want of an acknowledgement.
    pub began: Option<u64>,
    /// When its write was acknowledged, or the revision was read: the store had the revision by
    /// then.
    pub known: u64,
}

/// Every change of a store, in order and without a gap.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Ordered by revision; events of one revision keep their order.
    events: Vec<Event>,
    /// The indices in `events` of each key.
    of_key: HashMap<Arc<str>, Vec<usize>>,
    present: HashMap<Arc<str>, Pair>,
    revision: i64,
    compactions: Vec<Compaction>,
    moments: Vec<Moment>,
}

impl History {
    /// Makes the history of a store that is empty at this revision; a new store is at 1.
    pub fn since(revision: i64) -> Self {
        Self {
            revision,
            ..Self::default()
        }
    }

    /// Returns the last revision.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Returns the pairs at the last revision.
    pub fn present(&self) -> &HashMap<Arc<str>, Pair> {
        &self.present
    }

    /// Returns the number of changes.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Returns whether there is no change.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Adds the changes of the next revision.
    pub fn append(&mut self, ops: impl IntoIterator<Item = Op>) {
        self.revision += 1;
        for op in ops {
            let event = match op {
                Op::Put(key, value) => self.put(key, value),
                Op::Delete(key) => self.delete(key),
            };
            self.push(event);
        }
    }

    fn put(&mut self, key: Arc<str>, value: u64) -> Event {
        let prev = self.present.get(&key).copied();
        let pair = Pair {
            create_revision: prev.map_or(self.revision, |prev| prev.create_revision),
            mod_revision: self.revision,
            version: prev.map_or(1, |prev| prev.version + 1),
            value,
        };
        self.present.insert(Arc::clone(&key), pair);
        Event {
            kind: EventKind::Put,
            key,
            pair,
            prev: prev.map(Box::new),
        }
    }

    fn delete(&mut self, key: Arc<str>) -> Event {
        let prev = self.present.remove(&key);
        Event {
            kind: EventKind::Delete,
            key,
            pair: Pair {
                create_revision: 0,
                mod_revision: self.revision,
                version: 0,
                value: hash(b""),
            },
            prev: prev.map(Box::new),
        }
    }

    fn push(&mut self, event: Event) {
        let places = self.of_key.entry(Arc::clone(&event.key)).or_default();
        places.push(self.events.len());
        self.events.push(event);
    }

    /// Returns all changes, in order.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Returns the change of this key at this revision.
    pub fn find(&self, key: &str, revision: i64) -> Option<&Event> {
        let places = self.of_key.get(key)?;
        let at = places.partition_point(|place| self.events[*place].revision() < revision);
        let event = &self.events[*places.get(at)?];
        (event.revision() == revision).then_some(event)
    }

    /// Returns the events that a watch has to deliver, from its start to the end of this history.
    pub fn expected(&self, query: &Query) -> Vec<&Event> {
        if query.range_end.is_none() {
            let places = self.of_key.get(&query.key).into_iter().flatten();
            let events = places.map(|place| &self.events[*place]);
            return events.filter(|event| query.wants(event)).collect();
        }
        let from = self
            .events
            .partition_point(|event| event.revision() < query.start_revision);
        let events = self.events[from..].iter();
        events.filter(|event| query.wants(event)).collect()
    }

    /// Adds the time of a revision.
    pub fn date(&mut self, moment: Moment) {
        self.moments.push(moment);
    }

    /// Returns the recorded times of revisions.
    pub fn moments(&self) -> &[Moment] {
        &self.moments
    }

    /// Returns the last revision that the store certainly had at that time; 0 if none is known.
    pub fn certain_at(&self, at: u64) -> i64 {
        let known = self.moments.iter().filter(|moment| moment.known < at);
        known.map(|moment| moment.revision).max().unwrap_or(0)
    }

    /// Returns the first revision that the store certainly did not have at that time.
    pub fn impossible_at(&self, at: u64) -> Option<i64> {
        let later = |moment: &&Moment| moment.began.is_some_and(|began| began > at);
        let later = self.moments.iter().filter(later);
        later.map(|moment| moment.revision).min()
    }

    /// Returns the pairs that a query covers, at a revision.
    pub fn state(&self, query: &Query, revision: i64) -> BTreeMap<Arc<str>, Pair> {
        let mut state = BTreeMap::new();
        let past = self
            .events
            .partition_point(|event| event.revision() <= revision);
        for event in self.events[..past]
            .iter()
            .filter(|one| query.covers(&one.key))
        {
            match event.kind {
                EventKind::Put => state.insert(Arc::clone(&event.key), event.pair),
                EventKind::Delete => state.remove(&event.key),
            };
        }
        state
    }

    /// Adds a requested compaction, whether or not it was applied.
    pub fn compact(&mut self, compaction: Compaction) {
        self.compactions.push(compaction);
    }

    /// Returns the requested compactions, in order.
    pub fn compactions(&self) -> &[Compaction] {
        &self.compactions
    }

    /// Returns the highest revision to which the store may have been compacted by then.
    pub fn compacted_by(&self, at: u64) -> i64 {
        let before = self.compactions.iter().filter(|one| one.at <= at);
        before.map(|one| one.revision).max().unwrap_or(0)
    }
}
