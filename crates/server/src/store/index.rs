//! PURE: the versions of each key, in the order of keys.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;

use super::key_range::KeyRange;
use super::key_value::{KeyValue, Revision};

/// The versions of each key.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The newest version of each key, in the order of keys, with the older ones.
    keys: BTreeMap<Newest, Older>,
    /// Number of keys that have a value now.
    live: usize,
    versions: usize,
    bytes: usize,
}

/// The newest version of a key. Its order is that of its key.
#[derive(Debug)]
struct Newest(KeyValue);

/// The versions of a key before the newest one, in order. Most keys have none, and a pointer is a third
/// of the size of a list.
type Older = Option<Box<Vec<KeyValue>>>;

impl Borrow<[u8]> for Newest {
    fn borrow(&self) -> &[u8] {
        self.0.key()
    }
}

impl PartialEq for Newest {
    fn eq(&self, other: &Self) -> bool {
        self.0.key() == other.0.key()
    }
}

impl Eq for Newest {}

impl PartialOrd for Newest {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Newest {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key().cmp(other.0.key())
    }
}

/// Returns the version of a key at a revision, if the key has a value there.
fn at<'a>(newest: &'a Newest, older: &'a Older, revision: i64) -> Option<&'a KeyValue> {
    let version = if newest.0.revision().main <= revision {
        &newest.0
    } else {
        let older = older.as_ref()?;
        let after = older.partition_point(|one| one.revision().main <= revision);
        older[..after].last()?
    };
    (!version.is_tombstone()).then_some(version)
}

impl Index {
    pub(super) fn live(&self) -> usize {
        self.live
    }

    pub(super) fn versions(&self) -> usize {
        self.versions
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the value that a key has now.
    pub(super) fn latest(&self, key: &[u8]) -> Option<&KeyValue> {
        self.at(key, i64::MAX)
    }

    /// Returns the value that a key has at a revision.
    pub(super) fn at(&self, key: &[u8], revision: i64) -> Option<&KeyValue> {
        let (newest, older) = self.keys.get_key_value(key)?;
        at(newest, older, revision)
    }

    /// Returns the stored keys of a range from `from` on, each with the value that it has at this
    /// revision, if any.
    pub(super) fn scan<'a>(
        &'a self,
        range: &'a KeyRange,
        from: Bound<&'a [u8]>,
        revision: i64,
    ) -> impl Iterator<Item = (&'a [u8], Option<&'a KeyValue>)> + use<'a> {
        let is_empty = range.is_empty() || is_after(from, range.upper());
        let bounds = if is_empty {
            // A range of the map must not end before it begins.
            (Bound::Included(&b""[..]), Bound::Excluded(&b""[..]))
        } else {
            (from, range.upper())
        };
        let keys = self.keys.range::<[u8], _>(bounds);
        keys.map(move |(newest, older)| (newest.0.key(), at(newest, older, revision)))
    }

    /// Adds the newest version of a key.
    ///
    /// INVARIANT: the revisions of a key grow, as those of the store do.
    pub(super) fn push(&mut self, version: KeyValue) {
        self.versions += 1;
        self.bytes += version.bytes();
        self.live += usize::from(!version.is_tombstone());
        let mut older = None;
        if let Some((Newest(before), mut all)) = self.keys.remove_entry(version.key()) {
            self.live -= usize::from(!before.is_tombstone());
            all.get_or_insert_default().push(before);
            older = all;
        }
        self.keys.insert(Newest(version), older);
    }

    /// Removes the versions of a key from before `revision`, and the one of `revision` itself if
    /// `with_itself` is set.
    pub(super) fn forget(&mut self, key: &[u8], revision: Revision, with_itself: bool) {
        let is_superfluous = |version: &KeyValue| {
            let place = version.revision();
            place < revision || (with_itself && place == revision)
        };
        let Some((newest, older)) = self.keys.get_key_value(key) else {
            return;
        };
        let first = older.as_ref().and_then(|older| older.first());
        if !is_superfluous(first.unwrap_or(&newest.0)) {
            return;
        }
        // INVARIANT: the entry is there, as it was just found.
        let Some((newest, older)) = self.keys.remove_entry(key) else {
            return;
        };
        let mut older = older.unwrap_or_default();
        let count = older.partition_point(is_superfluous);
        for version in older.drain(..count) {
            self.versions -= 1;
            self.bytes -= version.bytes();
        }
        if is_superfluous(&newest.0) {
            self.versions -= 1;
            self.bytes -= newest.0.bytes();
            return;
        }
        older.shrink_to(older.len() * 2);
        self.keys
            .insert(newest, (!older.is_empty()).then_some(older));
    }
}

/// Whether no key is both in the lower and in the upper bound.
fn is_after(lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> bool {
    match (lower, upper) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(lower), Bound::Included(upper)) => lower > upper,
        (Bound::Included(lower) | Bound::Excluded(lower), Bound::Excluded(upper))
        | (Bound::Excluded(lower), Bound::Included(upper)) => lower >= upper,
    }
}
