//! PURE: the versions of each key, in the order of keys.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::key_range::KeyRange;
use super::key_value::{KeyValue, Revision};

/// The versions of each key.
#[derive(Debug, Default)]
pub(super) struct Index {
    keys: BTreeMap<Bytes, Versions>,
    /// Number of keys that have a value now.
    live: usize,
    versions: usize,
    bytes: usize,
}

/// The versions of one key that are kept, in the order of their revisions.
///
/// Most keys have one version: it needs no list.
#[derive(Debug)]
enum Versions {
    One(Arc<KeyValue>),
    Many(Vec<Arc<KeyValue>>),
}

impl Versions {
    fn as_slice(&self) -> &[Arc<KeyValue>] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(all) => all,
        }
    }

    fn push(&mut self, version: Arc<KeyValue>) {
        match self {
            Self::One(one) => *self = Self::Many(vec![Arc::clone(one), version]),
            Self::Many(all) => all.push(version),
        }
    }

    /// Returns the newest version up to this revision of the store, if it is no tombstone.
    fn at(&self, revision: i64) -> Option<&Arc<KeyValue>> {
        let all = self.as_slice();
        let after = match all {
            [.., last] if last.revision.main <= revision => all.len(),
            _ => all.partition_point(|one| one.revision.main <= revision),
        };
        let newest = all[..after].last()?;
        (!newest.is_tombstone()).then_some(newest)
    }

    /// Removes the first versions. Returns what is left, if anything.
    fn without_first(self, count: usize) -> Option<Self> {
        match self {
            Self::One(one) => (count == 0).then_some(Self::One(one)),
            Self::Many(mut all) => {
                all.drain(..count);
                match all.len() {
                    0 => None,
                    1 => all.pop().map(Self::One),
                    _ => {
                        all.shrink_to(all.len() * 2);
                        Some(Self::Many(all))
                    }
                }
            }
        }
    }
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
    pub(super) fn latest(&self, key: &[u8]) -> Option<&Arc<KeyValue>> {
        self.at(key, i64::MAX)
    }

    /// Returns the value that a key has at a revision.
    pub(super) fn at(&self, key: &[u8], revision: i64) -> Option<&Arc<KeyValue>> {
        self.keys.get(key)?.at(revision)
    }

    /// Returns the key as it is stored, which shares its bytes with the versions.
    pub(super) fn stored_key(&self, key: &[u8]) -> Option<&Bytes> {
        let (stored, _) = self.keys.get_key_value(key)?;
        Some(stored)
    }

    /// Returns the stored keys of a range from `from` on, each with the value that it has at this
    /// revision, if any.
    pub(super) fn scan<'a>(
        &'a self,
        range: &'a KeyRange,
        from: Bound<&'a [u8]>,
        revision: i64,
    ) -> impl Iterator<Item = (&'a Bytes, Option<&'a Arc<KeyValue>>)> + use<'a> {
        let is_empty = range.is_empty() || is_after(from, range.upper());
        let bounds = if is_empty {
            // A range of the map must not end before it begins.
            (Bound::Included(&b""[..]), Bound::Excluded(&b""[..]))
        } else {
            (from, range.upper())
        };
        let keys = self.keys.range::<[u8], _>(bounds);
        keys.map(move |(key, versions)| (key, versions.at(revision)))
    }

    /// Adds the newest version of a key.
    ///
    /// INVARIANT: the revisions of a key grow, as those of the store do.
    pub(super) fn push(&mut self, version: Arc<KeyValue>) {
        self.versions += 1;
        self.bytes += version.bytes();
        let is_live = !version.is_tombstone();
        let was_live = match self.keys.get_mut(&version.key) {
            Some(versions) => {
                let was_live = versions.at(i64::MAX).is_some();
                versions.push(version);
                was_live
            }
            None => {
                self.keys
                    .insert(version.key.clone(), Versions::One(version));
                false
            }
        };
        self.live += usize::from(is_live);
        self.live -= usize::from(was_live);
    }

    /// Removes the versions of a key from before `newest`, and `newest` itself if `with_newest` is set.
    pub(super) fn forget(&mut self, key: &[u8], newest: Revision, with_newest: bool) {
        let Some((stored, versions)) = self.keys.remove_entry(key) else {
            return;
        };
        let all = versions.as_slice();
        let count = if with_newest {
            all.partition_point(|one| one.revision <= newest)
        } else {
            all.partition_point(|one| one.revision < newest)
        };
        self.versions -= count;
        self.bytes -= all[..count].iter().map(|one| one.bytes()).sum::<usize>();
        if let Some(left) = versions.without_first(count) {
            self.keys.insert(stored, left);
        }
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
