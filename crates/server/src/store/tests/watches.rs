//! Watchers against a list of all changes.

use std::collections::BTreeMap;

use super::*;

/// A watcher, and what it has got.
struct Seen {
    query: WatchQuery,
    /// The first revision that it has to be told of.
    first: i64,
    got: Vec<KeyValue>,
    /// The compacted revision that it was ended with.
    compacted: Option<i64>,
}

/// A bench with watchers.
struct Watches {
    bench: Bench,
    seen: BTreeMap<WatcherId, Seen>,
}

impl Watches {
    fn watch(&mut self) {
        let bench = &mut self.bench;
        let range = match bench.random.u8(..4) {
            0 => KeyRange::single(bench.key()),
            1 => KeyRange::new(bench.key(), b"\0"[..].into()),
            _ => KeyRange::new(bench.key(), bench.key()),
        };
        let revision = bench.store.revision();
        let start = match bench.random.u8(..4) {
            0 => 0,
            1 => revision + bench.random.i64(1..5),
            _ => bench.random.i64(1..=revision),
        };
        let query = WatchQuery {
            range,
            start,
            no_put: bench.random.u8(..5) == 0,
            no_delete: bench.random.u8(..5) == 0,
            prev_kv: bench.random.bool(),
        };
        let id = bench.store.watch(query.clone());
        let seen = Seen {
            first: if start == 0 { revision + 1 } else { start },
            query,
            got: Vec::new(),
            compacted: None,
        };
        self.seen.insert(id, seen);
    }

    /// Takes once from the next watcher that is ready. Returns whether there was one.
    fn take(&mut self) -> bool {
        let Some(id) = self.bench.store.next_ready_watch() else {
            return false;
        };
        loop {
            let most = self.bench.random.usize(1..6);
            let output = self.bench.store.take_events(id, most).expect("a watcher");
            let seen = self.seen.get_mut(&id).expect("a watcher");
            match output {
                WatchOutput::Compacted { revision } => {
                    assert_eq!(revision, self.bench.store.compacted());
                    let next = seen
                        .got
                        .last()
                        .map_or(seen.first, |last| last.revision().main + 1);
                    assert!(
                        next < revision || seen.first < revision,
                        "it needs nothing so old"
                    );
                    seen.compacted = Some(revision);
                    assert!(self.bench.store.take_events(id, 1).is_none());
                    return true;
                }
                WatchOutput::Events {
                    revision,
                    events,
                    more,
                } => {
                    assert_eq!(revision, self.bench.store.revision());
                    if let (Some(last), Some(next)) = (seen.got.last(), events.first()) {
                        let whole = last.revision().main < next.change.revision().main;
                        assert!(whole, "a revision was split");
                    }
                    for event in events {
                        check_before(&self.bench, &seen.query, &event);
                        seen.got.push(event.change.clone());
                    }
                    if !more {
                        return true;
                    }
                }
            }
        }
    }

    /// Checks that each watcher has got what it has to.
    fn check(&self) {
        for (id, seen) in &self.seen {
            let all = self.bench.changes.0.iter();
            let expected = all.filter(|change| {
                let is_filtered = match change.is_tombstone() {
                    true => seen.query.no_delete,
                    false => seen.query.no_put,
                };
                let is_in_range = seen.query.range.contains(change.key());
                change.revision().main >= seen.first && is_in_range && !is_filtered
            });
            let expected: Vec<&KeyValue> = expected.collect();
            let got: Vec<&KeyValue> = seen.got.iter().collect();
            match seen.compacted {
                None => assert_eq!(got, expected, "{id:?}"),
                Some(_) => assert!(expected.starts_with(&got), "{id:?}"),
            }
        }
    }
}

fn check_before(bench: &Bench, query: &WatchQuery, event: &WatchEvent) {
    let main = event.change.revision().main;
    let can_be_read = main > bench.store.compacted();
    let pairs = bench.changes.at(main - 1);
    let before = pairs.iter().find(|(key, ..)| key == event.change.key());
    let expected = before.filter(|_| query.prev_kv && can_be_read);
    let found = event.prev_kv.as_ref();
    let found = found.map(triple);
    assert_eq!(found.as_ref(), expected, "before {main}");
}

#[test]
fn a_watcher_gets_each_change_once_and_in_order_or_is_told_of_the_compaction() {
    let (mut ended, mut alive) = (0, 0);
    for seed in 0..300 {
        let mut watches = Watches {
            bench: Bench::new(seed),
            seen: BTreeMap::new(),
        };
        for _ in 0..200 {
            match watches.bench.random.u8(..16) {
                0 => watches.watch(),
                1 => watches.bench.compact(),
                2..4 => watches.bench.sweep(),
                4..8 => drop(watches.take()),
                _ => watches.bench.change(),
            }
        }
        while watches.take() {}
        watches.check();
        ended += watches
            .seen
            .values()
            .filter(|seen| seen.compacted.is_some())
            .count();
        alive += watches
            .seen
            .values()
            .filter(|seen| seen.compacted.is_none())
            .count();
        let all: Vec<WatcherId> = watches.seen.keys().copied().collect();
        for id in all {
            let is_there = watches.seen[&id].compacted.is_none();
            assert_eq!(watches.bench.store.cancel_watch(id), is_there);
        }
        watches.bench.change();
        assert_eq!(watches.bench.store.next_ready_watch(), None);
    }
    assert!(ended > 20 && alive > 200, "{ended} ended, {alive} did not");
}

#[test]
fn a_watcher_whose_changes_are_not_taken_falls_behind_and_loses_nothing() {
    let mut store = Store::new(Limits::default());
    let query = WatchQuery {
        range: KeyRange::single("a".into()),
        start: 0,
        no_put: false,
        no_delete: false,
        prev_kv: false,
    };
    let slow = store.watch(query.clone());
    for _ in 0..5_000 {
        store
            .put(&Put::new("a".into(), Bytes::new()))
            .expect("a put");
    }
    assert_eq!(store.watch_progress(&[slow]), None);
    assert_eq!(store.next_ready_watch(), Some(slow));
    assert_eq!(store.next_ready_watch(), None, "once");
    let mut revisions = Vec::new();
    loop {
        let Some(WatchOutput::Events { events, more, .. }) = store.take_events(slow, 100) else {
            panic!("nothing was compacted");
        };
        assert!(events.len() <= 100);
        revisions.extend(events.iter().map(|event| event.change.revision().main));
        if !more {
            break;
        }
    }
    assert_eq!(revisions, (2..=5_001).collect::<Vec<i64>>());
    assert_eq!(store.watch_progress(&[slow]), Some(5_001));
    // In the future.
    let later = store.watch(WatchQuery {
        start: 5_003,
        ..query
    });
    assert_eq!(store.watch_progress(&[slow, later]), None);
    for _ in 0..2 {
        store
            .put(&Put::new("a".into(), Bytes::new()))
            .expect("a put");
    }
    let output = store.take_events(later, 1).expect("a watcher");
    let WatchOutput::Events { events, .. } = output else {
        panic!("{output:?}");
    };
    let revisions = events.iter().map(|event| event.change.revision().main);
    assert_eq!(revisions.collect::<Vec<_>>(), [5_003]);
}
