//! The store against a list of all its changes, and single rules.
//!
//! The replies to calls are compared with those of real etcd in `tests/it/differential.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;

use super::*;

mod watches;

const KEYS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// All changes of a store, of which none is forgotten.
#[derive(Default)]
struct Changes(Vec<KeyValue>);

/// The pairs at a revision: key, value, revision of the last put.
type Pairs = Vec<(Bytes, Bytes, i64)>;

impl Changes {
    /// Returns the pairs at a revision.
    fn at(&self, revision: i64) -> Pairs {
        let mut pairs = BTreeMap::new();
        for change in &self.0 {
            if change.revision().main > revision {
                break;
            }
            if change.is_tombstone() {
                pairs.remove(change.key());
            } else {
                pairs.insert(change.key(), change);
            }
        }
        let pairs = pairs.into_values();
        pairs.map(triple).collect()
    }

    /// Returns the number of versions that a store has to keep after a compaction.
    fn kept(&self, compacted: i64) -> usize {
        let needed = |change: &KeyValue| {
            let revision = change.revision();
            if revision.main > compacted {
                return true;
            }
            let later = self.0.iter().any(|other| {
                let other_revision = other.revision();
                let between = other_revision > revision && other_revision.main <= compacted;
                other.key() == change.key() && between
            });
            !later && (!change.is_tombstone() || revision.main == compacted)
        };
        self.0.iter().filter(|change| needed(change)).count()
    }
}

/// A store and all its changes.
struct Bench {
    store: Store,
    changes: Changes,
    random: Rng,
}

impl Bench {
    fn new(seed: u64) -> Self {
        Self {
            store: Store::new(Limits::default()),
            changes: Changes::default(),
            random: Rng::with_seed(seed),
        }
    }

    fn key(&mut self) -> Bytes {
        Bytes::from_static(KEYS[self.random.usize(..KEYS.len())].as_bytes())
    }

    /// Makes one random change.
    fn change(&mut self) {
        let before = self.store.revision();
        match self.random.u8(..4) {
            0 => {
                let range = KeyRange::new(self.key(), self.key());
                let delete = Delete {
                    range,
                    prev_kv: false,
                };
                self.store.delete(&delete).expect("a key");
            }
            1 => {
                let range = KeyRange::single(self.key());
                let delete = Delete {
                    range,
                    prev_kv: false,
                };
                self.store.delete(&delete).expect("a key");
            }
            _ => {
                let value = Bytes::from(self.random.u16(..).to_string());
                let put = Put::new(self.key(), value);
                self.store.put(&put).expect("a put");
            }
        }
        let new = self
            .store
            .changes_since(before + 1)
            .expect("it was not compacted");
        self.changes.0.extend(new.cloned());
    }

    fn compact(&mut self) {
        let revision = self.random.i64(1..=self.store.revision());
        let allowed = revision > self.store.compacted();
        assert_eq!(self.store.compact(revision).is_ok(), allowed);
    }

    fn sweep(&mut self) {
        let most = self.random.usize(1..8);
        self.store.sweep(most);
    }

    fn read(&self, revision: i64) -> Pairs {
        let query = RangeQuery { revision, ..all() };
        pairs(
            &self
                .store
                .range(query)
                .expect("a revision that can be read"),
        )
    }
}

fn triple(pair: &KeyValue) -> (Bytes, Bytes, i64) {
    let copy = Bytes::copy_from_slice;
    (copy(pair.key()), copy(pair.value()), pair.revision().main)
}

fn all() -> RangeQuery {
    RangeQuery::new(KeyRange::new(b"\0"[..].into(), b"\0"[..].into()))
}

fn pairs(reply: &RangeReply) -> Pairs {
    let pairs = reply.kvs.iter();
    pairs.map(triple).collect()
}

#[test]
fn a_compaction_changes_no_read_that_is_allowed() {
    for seed in 0..200 {
        let mut bench = Bench::new(seed);
        for _ in 0..150 {
            match bench.random.u8(..8) {
                0 => bench.compact(),
                1..3 => bench.sweep(),
                _ => bench.change(),
            }
        }
        let compacted = bench.store.compacted();
        for revision in 1..=bench.store.revision() {
            if revision < compacted {
                let query = RangeQuery { revision, ..all() };
                assert_eq!(bench.store.range(query), Err(StoreError::Compacted));
                let changes = bench.store.changes_since(revision);
                assert_eq!(changes.err(), Some(StoreError::Compacted));
                continue;
            }
            assert_eq!(
                bench.read(revision),
                bench.changes.at(revision),
                "{seed}, {revision}"
            );
            let changes: Vec<_> = bench.store.changes_since(revision).expect("it").collect();
            let expected = bench.changes.0.iter();
            let expected = expected.filter(|change| change.revision().main >= revision);
            assert_eq!(changes, expected.collect::<Vec<_>>(), "{seed}, {revision}");
        }
    }
}

#[test]
fn a_sweep_keeps_nothing_that_no_read_needs() {
    for seed in 0..200 {
        let mut bench = Bench::new(seed);
        for _ in 0..100 {
            match bench.random.u8(..8) {
                0 => bench.compact(),
                1..3 => bench.sweep(),
                _ => bench.change(),
            }
        }
        while bench.store.sweep(7) {}
        let compacted = bench.store.compacted();
        assert_eq!(
            bench.store.versions(),
            bench.changes.kept(compacted),
            "{seed}"
        );
        let present = bench.changes.at(i64::MAX);
        assert_eq!(bench.store.keys(), present.len(), "{seed}");
        let revision = bench.store.revision();
        if bench.store.compact(revision).is_ok() {
            while bench.store.sweep(7) {}
        }
        // One more revision, so that no tombstone of the compacted one is left.
        bench
            .store
            .put(&Put::new(b"g"[..].into(), Bytes::new()))
            .expect("a put");
        bench
            .store
            .compact(revision + 1)
            .expect("it is the present");
        while bench.store.sweep(7) {}
        assert_eq!(bench.store.versions(), present.len() + 1, "{seed}");
        let bytes = present
            .iter()
            .map(|(key, value, _)| key.len() + value.len());
        assert_eq!(bench.store.bytes(), bytes.sum::<usize>() + 1, "{seed}");
    }
}

#[test]
fn a_scan_reads_at_one_revision_whatever_happens_meanwhile() {
    for seed in 0..300 {
        let mut bench = Bench::new(seed);
        (0..60).for_each(|_| bench.change());
        let revision = bench.random.i64(1..=bench.store.revision());
        let query = RangeQuery { revision, ..all() };
        let mut scan = bench.store.begin_range(query).expect("it can be read");
        while !bench.store.continue_range(&mut scan, 1) {
            for _ in 0..bench.random.usize(..12) {
                match bench.random.u8(..6) {
                    0 => bench.compact(),
                    1 => bench.sweep(),
                    _ => bench.change(),
                }
            }
        }
        let reply = scan.finish();
        assert_eq!(pairs(&reply), bench.changes.at(revision), "{seed}");
        // The scan is over, and nothing is kept for it.
        while bench.store.sweep(100) {}
        let compacted = bench.store.compacted();
        assert_eq!(
            bench.store.versions(),
            bench.changes.kept(compacted),
            "{seed}"
        );
    }
}

/// etcd does not find the overlap with a deletion from a key on. See `txn/overlap.rs`.
#[test]
fn a_transaction_puts_no_key_that_it_deletes() {
    let mut store = Store::new(Limits::default());
    store
        .put(&Put::new("b".into(), "value".into()))
        .expect("a put");
    let delete = |key: &'static str, end: &'static [u8]| {
        Operation::Delete(Delete {
            range: KeyRange::new(key.into(), end.into()),
            prev_kv: false,
        })
    };
    let put = Operation::Put(Put::new("b".into(), "other".into()));
    let txn = |operations: &[Operation]| Txn {
        success: operations.to_vec(),
        ..Txn::default()
    };
    let inside = |operation: &Operation| Operation::Txn(txn(std::slice::from_ref(operation)));
    for end in [b"\0", b"c"] {
        let from_a = delete("a", end);
        for operations in [
            [from_a.clone(), put.clone()],
            [put.clone(), from_a.clone()],
            [inside(&from_a), put.clone()],
            [from_a.clone(), inside(&put)],
        ] {
            assert_eq!(store.txn(&txn(&operations)), Err(StoreError::DuplicateKey));
        }
    }
    assert_eq!(store.revision(), 2, "nothing was changed");
    let others = [delete("c", b"\0"), put];
    assert!(store.txn(&txn(&others)).is_ok());
}

#[test]
fn a_store_at_its_quota_grows_no_more_until_its_alarm_is_lifted() {
    let limits = Limits {
        quota_bytes: 1_024,
        member_id: 7,
        ..Limits::default()
    };
    let mut store = Store::new(limits);
    store.grant(1, 60, Duration::ZERO).expect("a lease");
    let put = Put::new("key".into(), vec![b'v'; 200].into());
    store.put(&put).expect("there is room for one");
    store.put(&put).expect("there is room for two");
    assert_eq!(store.alarms().count(), 0);
    // 2 versions of 256 + 203 bytes, and another one.
    assert_eq!(store.put(&put), Err(StoreError::NoSpace));
    let alarm = Alarm {
        member: 7,
        kind: AlarmKind::NoSpace,
    };
    assert_eq!(store.alarms().collect::<Vec<_>>(), [alarm]);
    let txn = |operation| Txn {
        success: vec![operation],
        ..Txn::default()
    };
    // There is room for these, but the alarm forbids them.
    let small = Put::new("k".into(), Bytes::new());
    store.compact(store.revision()).expect("it is allowed");
    while store.sweep(10) {}
    assert_eq!(store.put(&small), Err(StoreError::NoSpace));
    let writes = store.txn(&txn(Operation::Put(small.clone())));
    assert_eq!(writes, Err(StoreError::NoSpace));
    assert_eq!(store.grant(2, 60, Duration::ZERO), Err(StoreError::NoSpace));
    // These need no room.
    assert!(store.range(all()).is_ok());
    assert!(store.txn(&txn(Operation::Range(all()))).is_ok());
    let delete = Delete {
        range: KeyRange::single("key".into()),
        prev_kv: false,
    };
    assert_eq!(store.delete(&delete).expect("it is allowed").deleted, 1);
    store.revoke(1).expect("it is allowed");
    assert!(store.lift_alarm(alarm) && !store.lift_alarm(alarm));
    store.put(&small).expect("there is room again");
}

#[test]
fn a_store_that_may_be_corrupt_changes_nothing() {
    let mut store = Store::new(Limits::default());
    store.grant(1, 5, Duration::ZERO).expect("a lease");
    let put = Put::new("key".into(), Bytes::new());
    store.put(&put).expect("a put");
    store.raise_alarm(Alarm {
        member: 1,
        kind: AlarmKind::Corrupt,
    });
    let delete = Delete {
        range: KeyRange::single("key".into()),
        prev_kv: false,
    };
    assert_eq!(store.put(&put), Err(StoreError::Corrupt));
    assert_eq!(store.delete(&delete), Err(StoreError::Corrupt));
    assert_eq!(
        store.txn(&Txn {
            success: vec![Operation::Delete(delete)],
            ..Txn::default()
        }),
        Err(StoreError::Corrupt)
    );
    assert_eq!(store.compact(2), Err(StoreError::Corrupt));
    assert_eq!(store.revoke(1), Err(StoreError::Corrupt));
    assert_eq!(store.grant(2, 5, Duration::ZERO), Err(StoreError::Corrupt));
    assert_eq!(store.expire(Duration::from_secs(60)), Vec::<i64>::new());
    assert_eq!(store.range(all()).expect("it can be read").count, 1);
    assert_eq!((store.revision(), store.leases().count()), (2, 1));
}

#[test]
fn leases_expire_in_order_with_their_keys() {
    let second = Duration::from_secs(1);
    let mut store = Store::new(Limits::default());
    assert_eq!(store.grant(1, 10, Duration::ZERO), Ok(10));
    assert_eq!(store.grant(2, 1, Duration::ZERO), Ok(2), "the shortest");
    assert_eq!(
        store.grant(2, 5, Duration::ZERO),
        Err(StoreError::LeaseExists)
    );
    assert_eq!(
        store.grant(0, 5, Duration::ZERO),
        Err(StoreError::LeaseNotFound)
    );
    assert_eq!(
        store.grant(3, 9_000_000_001, Duration::ZERO),
        Err(StoreError::LeaseTtlTooLarge)
    );
    for (key, lease) in [("b", 1), ("a", 1), ("c", 2), ("d", 2)] {
        let mut put = Put::new(key.into(), Bytes::new());
        put.lease = lease;
        store.put(&put).expect("a put");
    }
    // Without its lease, and with another one.
    store
        .put(&Put::new("d".into(), Bytes::new()))
        .expect("a put");
    let mut put = Put::new("c".into(), Bytes::new());
    put.lease = 1;
    store.put(&put).expect("a put");
    assert_eq!(store.leases().collect::<Vec<_>>(), [2, 1]);
    let before = store.revision();
    assert_eq!(store.expire(second), Vec::<i64>::new());
    assert_eq!(store.expire(2 * second), [2]);
    assert_eq!(store.revision(), before, "it had no keys any more");
    assert_eq!(store.renew(1, 9 * second), Ok(10));
    assert_eq!(store.renew(2, 9 * second), Err(StoreError::LeaseNotFound));
    assert_eq!(store.expire(18 * second), Vec::<i64>::new());
    let lease = store.lease(1).expect("the lease");
    assert_eq!(lease.remaining(18 * second), second);
    assert_eq!(lease.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(
        store.renew(1, 19 * second),
        Err(StoreError::LeaseNotFound),
        "it is over"
    );
    assert_eq!(store.expire(19 * second), [1]);
    assert_eq!(store.revision(), before + 1, "all at one revision");
    let changes = store
        .changes_since(before + 1)
        .expect("it")
        .map(|change| change.key().to_vec());
    assert_eq!(changes.collect::<Vec<_>>(), [b"a", b"b", b"c"]);
    assert_eq!(store.keys(), 1);
}
