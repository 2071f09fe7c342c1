//! PURE: the differences between a copy of a prefix and a listing of the store.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::end::WatchEnd;
use super::entry::Position;
use super::event::{Event, EventKind};
use crate::kv::KeyValue;

/// The keys that a copy has by the events so far, and the progress of the present listing.
///
/// The pairs of a listing come in the order of keys. After a complete listing the copy is equal to it,
/// whatever the copy had before. After an incomplete listing another one may follow.
#[derive(Debug, Default)]
pub(super) struct Difference {
    /// The revision of the last change of each key that the copy has.
    known: BTreeMap<Bytes, i64>,
    /// The last key of the present listing.
    cursor: Option<Bytes>,
    /// The position of the store as of the last event or listing.
    position: Option<Position>,
}

impl Difference {
    /// Begins a listing.
    pub(super) fn begin(&mut self) {
        self.cursor = None;
    }

    /// Records the position of the store that a listing shows. If the store has gone back, or
    /// belongs to another cluster, this calls [`distrust`](Self::distrust) and returns the cause.
    pub(super) fn listed_at(&mut self, now: Position) -> Option<WatchEnd> {
        let before = self.position.replace(now)?;
        let is_other = before.cluster_id != now.cluster_id;
        let cause = if is_other && before.cluster_id != 0 && now.cluster_id != 0 {
            WatchEnd::ClusterChanged
        } else if now.revision < before.revision {
            WatchEnd::RolledBack {
                watched: before.revision,
                store: now.revision,
            }
        } else {
            return None;
        };
        self.distrust();
        self.position = Some(now);
        Some(cause)
    }

    /// Forgets the revisions of all keys, so that a listing delivers each key again.
    pub(super) fn distrust(&mut self) {
        self.position = None;
        self.known.values_mut().for_each(|revision| *revision = 0);
    }

    /// Takes the next pair of a listing as of `revision`.
    pub(super) fn listed(&mut self, kv: KeyValue, revision: i64, out: &mut Vec<Event>) {
        self.delete_until(Bound::Excluded(kv.key.clone()), revision, out);
        self.cursor = Some(kv.key.clone());
        let before = self.known.insert(kv.key.clone(), kv.mod_revision);
        if before != Some(kv.mod_revision) {
            out.push(event(EventKind::Put, kv));
        }
    }

    /// Ends a complete listing.
    pub(super) fn finish(&mut self, revision: i64, out: &mut Vec<Event>) {
        self.delete_until(Bound::Unbounded, revision, out);
        self.cursor = None;
    }

    /// Takes an event from after the listing.
    pub(super) fn take_event(&mut self, event: &Event) {
        if let Some(position) = &mut self.position {
            position.revision = position.revision.max(event.kv.mod_revision);
        }
        let kv = &event.kv;
        match event.kind {
            EventKind::Put => self.known.insert(kv.key.clone(), kv.mod_revision),
            EventKind::Delete => self.known.remove(&kv.key),
        };
    }

    /// Deletes the keys between the cursor and `end`: the copy has them, and the listing does not.
    fn delete_until(&mut self, end: Bound<Bytes>, revision: i64, out: &mut Vec<Event>) {
        let start = match &self.cursor {
            Some(key) => Bound::Excluded(key.clone()),
            None => Bound::Unbounded,
        };
        if let (Bound::Excluded(start), Bound::Excluded(end)) = (&start, &end) {
            // The server has repeated a key, or sent keys out of order.
            if start >= end {
                return;
            }
        }
        let gone: Vec<Bytes> = self
            .known
            .range((start, end))
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            self.known.remove(&key);
            let kv = KeyValue {
                key,
                mod_revision: revision,
                ..KeyValue::default()
            };
            out.push(event(EventKind::Delete, kv));
        }
    }
}

fn event(kind: EventKind, kv: KeyValue) -> Event {
    Event {
        kind,
        kv,
        prev_kv: None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Copy = BTreeMap<Bytes, i64>;

    fn apply(copy: &mut Copy, events: &[Event]) {
        for event in events {
            match event.kind {
                EventKind::Put => copy.insert(event.kv.key.clone(), event.kv.mod_revision),
                EventKind::Delete => copy.remove(&event.kv.key),
            };
        }
    }

    fn pair(key: &Bytes, mod_revision: i64) -> KeyValue {
        KeyValue {
            key: key.clone(),
            mod_revision,
            ..KeyValue::default()
        }
    }

    fn state() -> impl Strategy<Value = Copy> {
        proptest::collection::btree_map(
            proptest::collection::vec(0u8..4, 1..3).prop_map(Bytes::from),
            1i64..4,
            0..12,
        )
    }

    proptest! {
        /// Each complete listing makes the copy equal to it, also after an incomplete one, and makes no
        /// events for unchanged keys.
        #[test]
        fn a_copy_is_right_after_each_listing(
            listings in proptest::collection::vec((state(), proptest::option::of(0usize..6)), 1..5),
        ) {
            let mut difference = Difference::default();
            let mut copy = Copy::new();
            for (listing, breaks_off) in listings {
                difference.begin();
                let mut out = Vec::new();
                for (key, revision) in listing.iter().take(breaks_off.unwrap_or(usize::MAX)) {
                    difference.listed(pair(key, *revision), 9, &mut out);
                }
                if breaks_off.is_none() {
                    difference.finish(9, &mut out);
                }
                let unchanged = |event: &Event| {
                    event.kind == EventKind::Put
                        && copy.get(&event.kv.key) == Some(&event.kv.mod_revision)
                };
                prop_assert!(!out.iter().any(unchanged));
                apply(&mut copy, &out);
                prop_assert!(breaks_off.is_some() || copy == listing);
            }
        }
    }

    fn at(cluster_id: u64, revision: i64) -> Position {
        Position {
            cluster_id,
            revision,
        }
    }

    /// After an incomplete listing comes one of another history. Its keys may have the same
    /// revisions and other values.
    #[test]
    fn keys_of_another_history_are_delivered_again() {
        for (now, cause) in [
            (at(1, 19), Some((20, 19))),
            (at(2, 30), None),
            (at(2, 5), None),
        ] {
            let (key, mut out) = (Bytes::from_static(b"k"), Vec::new());
            let mut difference = Difference::default();
            assert_eq!(difference.listed_at(at(1, 20)), None);
            assert_eq!(difference.listed_at(at(1, 20)), None);
            difference.listed(pair(&key, 5), 20, &mut out);
            difference.begin();
            let cause = cause.map_or(WatchEnd::ClusterChanged, |(watched, store)| {
                WatchEnd::RolledBack { watched, store }
            });
            assert_eq!(difference.listed_at(now), Some(cause));
            assert_eq!(
                difference.listed_at(now),
                None,
                "the cause is returned once"
            );
            difference.listed(pair(&key, 5), now.revision, &mut out);
            assert_eq!(out.len(), 2);
        }
        // A server that sends no cluster ID does not count as another cluster.
        let mut difference = Difference::default();
        for position in [at(1, 20), at(0, 20), at(2, 20)] {
            assert_eq!(difference.listed_at(position), None);
        }
    }

    #[test]
    fn a_listing_from_before_the_last_event_is_of_another_history() {
        let mut difference = Difference::default();
        difference.listed_at(at(1, 10));
        let kv = pair(&Bytes::from_static(b"k"), 20);
        difference.take_event(&event(EventKind::Put, kv));
        let (watched, store) = (20, 15);
        let cause = WatchEnd::RolledBack { watched, store };
        assert_eq!(difference.listed_at(at(1, 15)), Some(cause));
        assert_eq!(difference.listed_at(at(1, 16)), None);
    }

    #[test]
    fn distrusted_keys_are_delivered_again() {
        let (key, mut out) = (Bytes::from_static(b"k"), Vec::new());
        let mut difference = Difference::default();
        difference.listed(pair(&key, 5), 9, &mut out);
        difference.finish(9, &mut out);
        difference.distrust();
        difference.begin();
        difference.listed(pair(&key, 5), 9, &mut out);
        assert_eq!(out.len(), 2);
    }
}
