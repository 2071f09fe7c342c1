//! PURE: keys that a transaction puts twice, or puts and deletes.
//!
//! Source: etcd, `server/etcdserver/api/v3rpc/key.go` (`checkIntervals`).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::Bytes;

use super::{Operation, StoreError};
use crate::store::key_range::KeyRange;

/// The keys that some operations may change.
#[derive(Default)]
struct Changed {
    puts: BTreeSet<Bytes>,
    deletes: KeySet,
}

/// A set of ranges of keys. Ranges that overlap are one.
#[derive(Default)]
struct KeySet {
    /// The first key of each range, and the first key after it.
    ranges: BTreeMap<Bytes, Bytes>,
}

/// Refuses operations of one branch that put a key twice, or put a key and delete it.
pub(super) fn check(operations: &[Operation]) -> Result<(), StoreError> {
    changed(operations).map(drop)
}

fn changed(operations: &[Operation]) -> Result<Changed, StoreError> {
    let mut all = Changed::default();
    for operation in operations {
        if let Operation::Delete(delete) = operation {
            all.deletes.insert(&delete.range);
        }
    }
    for operation in operations {
        if let Operation::Txn(inner) = operation {
            let success = changed(&inner.success)?;
            let failure = changed(&inner.failure)?;
            // Only one of the two branches is taken, so both may put the same key.
            let puts = success.puts.union(&failure.puts);
            puts.cloned().try_for_each(|key| all.put(key))?;
            all.deletes.extend(success.deletes);
            all.deletes.extend(failure.deletes);
        }
    }
    for operation in operations {
        if let Operation::Put(put) = operation {
            all.put(put.key.clone())?;
        }
    }
    Ok(all)
}

impl Changed {
    fn put(&mut self, key: Bytes) -> Result<(), StoreError> {
        self.deletes.refuse(&key)?;
        match self.puts.insert(key) {
            true => Ok(()),
            false => Err(StoreError::DuplicateKey),
        }
    }
}

impl KeySet {
    /// Adds a range. One without an upper end is left out: etcd takes its end, a NUL byte, for a key,
    /// and so for an empty range.
    fn insert(&mut self, range: &KeyRange) {
        let end = match range.upper() {
            Bound::Unbounded => return,
            Bound::Excluded(end) => Bytes::copy_from_slice(end),
            // The first key after a key is the key and a NUL byte.
            Bound::Included(last) => [last, b"\0"].concat().into(),
        };
        if *range.start() < end {
            self.insert_span(range.start().clone(), end);
        }
    }

    fn insert_span(&mut self, mut start: Bytes, mut end: Bytes) {
        // The ranges that begin up to the end of this one, from the last one on: they are apart from
        // one another, so the first that ends before the start ends the search.
        while let Some((from, to)) = self.last_from(&end) {
            if to < start {
                break;
            }
            self.ranges.remove(&from);
            start = start.min(from);
            end = end.max(to);
        }
        self.ranges.insert(start, end);
    }

    /// Returns the last range that begins up to a key.
    fn last_from(&self, key: &Bytes) -> Option<(Bytes, Bytes)> {
        let last = self.ranges.range(..=key.clone()).next_back();
        last.map(|(from, to)| (from.clone(), to.clone()))
    }

    fn extend(&mut self, other: Self) {
        for (start, end) in other.ranges {
            self.insert_span(start, end);
        }
    }

    fn refuse(&self, key: &Bytes) -> Result<(), StoreError> {
        match self.last_from(key) {
            Some((_, end)) if *key < end => Err(StoreError::DuplicateKey),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> Bytes {
        Bytes::copy_from_slice(&[number])
    }

    #[test]
    fn a_set_of_ranges_has_the_keys_of_its_ranges() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2_000 {
            let mut set = KeySet::default();
            let mut expected = [false; 32];
            for _ in 0..random.usize(..8) {
                let (start, end) = (random.u8(1..31), random.u8(0..32));
                let (range, keys) = match random.u8(..4) {
                    0 => (KeyRange::single(key(start)), start..start + 1),
                    1 => (KeyRange::new(key(start), b"\0"[..].into()), 0..0),
                    _ if end == 0 => continue,
                    _ => (KeyRange::new(key(start), key(end)), start..end),
                };
                set.insert(&range);
                keys.for_each(|number| expected[usize::from(number)] = true);
            }
            for number in 1..32 {
                let found = set.refuse(&key(number)).is_err();
                assert_eq!(
                    found,
                    expected[usize::from(number)],
                    "{number} {:?}",
                    set.ranges
                );
            }
            let mut ends = set
                .ranges
                .iter()
                .map(|(start, end)| (start.clone(), end.clone()));
            if let Some((_, mut before)) = ends.next() {
                for (start, end) in ends {
                    assert!(before < start, "they are apart");
                    before = end;
                }
            }
        }
    }
}
