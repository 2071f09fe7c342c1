//! PURE: a set of ranges of keys.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::key_range::KeyRange;

/// A set of keys, as ranges. Ranges that overlap or touch are one.
#[derive(Clone, Debug, Default)]
pub(super) struct KeySet {
    /// The first key of each range, and its end.
    ranges: BTreeMap<Bytes, End>,
}

/// The first key after a range.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    At(Bytes),
    /// There is none.
    Open,
}

/// Returns the end of a range, `None` for an empty one.
fn end(range: &KeyRange) -> Option<End> {
    let end: Bytes = match range.upper() {
        Bound::Unbounded => return Some(End::Open),
        Bound::Excluded(end) => Bytes::copy_from_slice(end),
        // The first key after a key is the key and a NUL byte.
        Bound::Included(last) => [last, b"\0"].concat().into(),
    };
    (*range.start() < end).then_some(End::At(end))
}

impl KeySet {
    /// Adds the keys of a range.
    pub(super) fn insert(&mut self, range: &KeyRange) {
        if let Some(end) = end(range) {
            self.insert_span(range.start().clone(), end);
        }
    }

    fn insert_span(&mut self, mut start: Bytes, mut end: End) {
        // The ranges that begin up to the end of this one, from the last one on: they are apart from
        // one another, so the first that ends before the start ends the search.
        while let Some((from, to)) = self.last_before(&end) {
            if to < End::At(start.clone()) {
                break;
            }
            self.ranges.remove(&from);
            start = start.min(from);
            end = end.max(to);
        }
        self.ranges.insert(start, end);
    }

    /// Returns the last range that begins before an end, or at it.
    fn last_before(&self, end: &End) -> Option<(Bytes, End)> {
        let upper = match end {
            End::At(key) => Bound::Included(key.clone()),
            End::Open => Bound::Unbounded,
        };
        let last = self.ranges.range((Bound::Unbounded, upper)).next_back();
        last.map(|(from, to)| (from.clone(), to.clone()))
    }

    /// Adds the keys of another set.
    pub(super) fn extend(&mut self, other: Self) {
        for (start, end) in other.ranges {
            self.insert_span(start, end);
        }
    }

    /// Whether a key is in the set.
    pub(super) fn contains(&self, key: &Bytes) -> bool {
        let last = self.last_before(&End::At(key.clone()));
        last.is_some_and(|(_, end)| End::At(key.clone()) < end)
    }

    /// Whether all keys of a range are in the set, and the range is not empty.
    pub(super) fn covers(&self, range: &KeyRange) -> bool {
        let Some(end) = end(range) else {
            return false;
        };
        let last = self.last_before(&End::At(range.start().clone()));
        last.is_some_and(|(_, to)| end <= to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> Bytes {
        Bytes::copy_from_slice(&[number])
    }

    /// Returns a random range of the keys from 1 to 31, and these keys.
    fn random_range(random: &mut fastrand::Rng) -> (KeyRange, std::ops::Range<u8>) {
        let (start, end) = (random.u8(1..31), random.u8(1..32));
        match random.u8(..4) {
            0 => (KeyRange::single(key(start)), start..start + 1),
            1 => (KeyRange::new(key(start), b"\0"[..].into()), start..32),
            _ => (KeyRange::new(key(start), key(end)), start..end),
        }
    }

    #[test]
    fn a_set_has_the_keys_of_its_ranges() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2_000 {
            let mut sets = [KeySet::default(), KeySet::default()];
            let mut expected = [false; 32];
            for _ in 0..random.usize(..8) {
                let (range, keys) = random_range(&mut random);
                sets[random.usize(..2)].insert(&range);
                keys.for_each(|number| expected[usize::from(number)] = true);
            }
            let [mut set, other] = sets;
            set.extend(other);
            for number in 1..32 {
                let found = set.contains(&key(number));
                assert_eq!(found, expected[usize::from(number)], "{number} {set:?}");
            }
            let mut ends = set.ranges.iter();
            let mut before = ends.next().map(|(_, end)| end);
            for (start, end) in ends {
                assert!(before < Some(&End::At(start.clone())), "they are apart");
                before = Some(end);
            }
            let (range, keys) = random_range(&mut random);
            // A key is not the only one below the next: those that begin with it are, too.
            let is_open = range.upper() == Bound::Unbounded;
            let has_end = !is_open || set.ranges.values().next_back() == Some(&End::Open);
            let mut keys = keys.peekable();
            let some = keys.peek().is_some();
            let all = keys.all(|number| expected[usize::from(number)]);
            if range.as_single().is_some() {
                assert_eq!(set.covers(&range), all, "{range:?} {set:?}");
            } else if set.covers(&range) {
                assert!(some && all && has_end, "{range:?} {set:?}");
            }
        }
    }
}
