//! PURE: which watchers a key concerns.
//!
//! Watchers of one key are in a map. Watchers of a range are in a list of ranges in the order of their
//! starts, which is read as a balanced tree: the middle of each part of the list is its root, and has
//! the largest end of the part. So a key finds its ranges without a look at the others. A new
//! range goes to a short list first, and the two are merged when that is full.

use std::collections::HashMap;
use std::ops::Bound;

use bytes::Bytes;

use super::WatcherId;
use crate::store::key_range::KeyRange;

/// The most ranges that are not in the tree yet.
const MOST_RECENT: usize = 32;

/// The watchers of keys and ranges.
#[derive(Debug, Default)]
pub(super) struct Matching {
    keys: HashMap<Bytes, Vec<WatcherId>>,
    /// The watchers of each range.
    ranges: HashMap<KeyRange, Vec<WatcherId>>,
    tree: Vec<Node>,
    /// Ranges that are not in the tree yet.
    recent: Vec<KeyRange>,
    /// Number of ranges of the tree without watchers.
    dead: usize,
}

/// A range, and the largest end of the part of the list that it is the middle of.
#[derive(Debug)]
struct Node {
    range: KeyRange,
    end: End,
}

/// The upper end of a range, in an order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Below(Bytes),
    Open,
}

impl End {
    /// Whether a key is below the end.
    fn is_above(&self, key: &[u8]) -> bool {
        match self {
            Self::Below(end) => key < &end[..],
            Self::Open => true,
        }
    }
}

fn end(range: &KeyRange) -> End {
    match range.upper() {
        Bound::Unbounded => End::Open,
        Bound::Excluded(end) | Bound::Included(end) => End::Below(Bytes::copy_from_slice(end)),
    }
}

impl Matching {
    pub(super) fn insert(&mut self, range: &KeyRange, id: WatcherId) {
        if let Some(key) = range.as_single() {
            self.keys.entry(key.clone()).or_default().push(id);
            return;
        }
        if range.is_empty() {
            return;
        }
        if let Some(ids) = self.ranges.get_mut(range) {
            self.dead -= usize::from(ids.is_empty());
            ids.push(id);
            return;
        }
        self.ranges.insert(range.clone(), vec![id]);
        self.recent.push(range.clone());
        if self.recent.len() > MOST_RECENT {
            self.rebuild();
        }
    }

    pub(super) fn remove(&mut self, range: &KeyRange, id: WatcherId) {
        if let Some(key) = range.as_single() {
            if let Some(ids) = self.keys.get_mut(key) {
                ids.retain(|one| *one != id);
                if ids.is_empty() {
                    self.keys.remove(key);
                }
            }
            return;
        }
        let Some(ids) = self.ranges.get_mut(range) else {
            return;
        };
        ids.retain(|one| *one != id);
        self.dead += usize::from(ids.is_empty());
        if self.dead > MOST_RECENT && self.dead * 2 > self.ranges.len() {
            self.rebuild();
        }
    }

    /// Calls `found` with each watcher of a key.
    pub(super) fn visit(&self, key: &[u8], mut found: impl FnMut(WatcherId)) {
        let mut all = |ids: Option<&Vec<WatcherId>>| {
            ids.into_iter().flatten().for_each(|id| found(*id));
        };
        all(self.keys.get(key));
        for range in self.recent.iter().filter(|range| range.contains(key)) {
            all(self.ranges.get(range));
        }
        visit(&self.tree, key, &mut |range| all(self.ranges.get(range)));
    }

    fn rebuild(&mut self) {
        self.ranges.retain(|_, ids| !ids.is_empty());
        self.dead = 0;
        self.recent.clear();
        let nodes = self.ranges.keys().map(|range| Node {
            range: range.clone(),
            end: end(range),
        });
        self.tree = nodes.collect();
        self.tree
            .sort_unstable_by(|one, other| one.range.start().cmp(other.range.start()));
        widen(&mut self.tree);
    }
}

/// Sets the largest end of each part. Returns that of the whole.
fn widen(part: &mut [Node]) -> Option<End> {
    let middle = part.len() / 2;
    let (left, rest) = part.split_at_mut(middle);
    let (node, right) = rest.split_first_mut()?;
    let below = widen(left).max(widen(right));
    if let Some(end) = below {
        if end > node.end {
            node.end = end;
        }
    }
    Some(node.end.clone())
}

/// Calls `found` with each range of the part that has the key.
fn visit(part: &[Node], key: &[u8], found: &mut impl FnMut(&KeyRange)) {
    let middle = part.len() / 2;
    let (left, rest) = part.split_at(middle);
    let Some((node, right)) = rest.split_first() else {
        return;
    };
    if !node.end.is_above(key) {
        return;
    }
    visit(left, key, found);
    if &node.range.start()[..] <= key {
        if node.range.contains(key) {
            found(&node.range);
        }
        visit(right, key, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_finds_all_its_watchers_and_no_other() {
        for seed in 0..40 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut key = || Bytes::from(format!("{:03}", random.u16(..300)));
            let mut random = fastrand::Rng::with_seed(seed + 1_000);
            let mut matching = Matching::default();
            let mut present: Vec<(KeyRange, WatcherId)> = Vec::new();
            for number in 0..600 {
                if random.u8(..3) == 0 && !present.is_empty() {
                    let (range, id) = present.swap_remove(random.usize(..present.len()));
                    matching.remove(&range, id);
                } else {
                    let range = match random.u8(..10) {
                        0 => KeyRange::new(key(), b"\0"[..].into()),
                        1..4 => KeyRange::single(key()),
                        _ => KeyRange::new(key(), key()),
                    };
                    matching.insert(&range, WatcherId(number));
                    present.push((range, WatcherId(number)));
                }
                let key = key();
                let mut found = Vec::new();
                matching.visit(&key, |id| found.push(id));
                let expected = present.iter().filter(|(range, _)| range.contains(&key));
                let mut expected: Vec<WatcherId> = expected.map(|(_, id)| *id).collect();
                found.sort_unstable();
                expected.sort_unstable();
                assert_eq!(found, expected, "seed {seed}");
            }
        }
    }
}
