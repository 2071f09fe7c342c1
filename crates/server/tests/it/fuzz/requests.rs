//! Random requests about keys and leases, wrong ones among them.

use bytes::Bytes;
use etcdex_proto::etcdserverpb as pb;
use etcdex_proto::etcdserverpb::compare::{CompareTarget, TargetUnion};
use etcdex_proto::etcdserverpb::request_op::Request as Operation;
use fastrand::Rng;

use super::call::{COMPACTED, NOW};

/// Few keys, so that calls meet each other. The last one is no key.
const KEYS: [&[u8]; 8] = [b"a", b"a\0", b"b", b"ba", b"c", b"d", b"\xff", b""];

/// Ends of ranges.
const ENDS: [&[u8]; 8] = [b"", b"\0", b"a\0", b"b", b"bb", b"d", b"\xff", b"\xff\xff"];

/// Leases. The last ones are never granted.
const LEASES: [i64; 6] = [7, 8, 9, -5, 99, 0];

/// Lengths of values: one that is large, one that is too large for etcd, and one that is too large for gRPC.
const LARGE: [usize; 3] = [1_400_000, 1_600_000, 2_200_000];

/// Returns true once in this many times.
pub(crate) fn one_in(random: &mut Rng, times: u32) -> bool {
    random.u32(..times) == 0
}

fn pick<T: Copy>(random: &mut Rng, all: &[T]) -> T {
    all[random.usize(..all.len())]
}

pub(crate) fn key(random: &mut Rng) -> Bytes {
    let keys = if one_in(random, 60) {
        &KEYS[..]
    } else {
        &KEYS[..7]
    };
    Bytes::from_static(pick(random, keys))
}

pub(crate) fn range_end(random: &mut Rng) -> Bytes {
    let ends = if random.bool() { &ENDS[..1] } else { &ENDS[..] };
    Bytes::from_static(pick(random, ends))
}

/// Whether no key can be in a range.
pub(crate) fn is_empty(key: &[u8], range_end: &[u8]) -> bool {
    !matches!(range_end, b"" | b"\0") && range_end <= key
}

fn value(random: &mut Rng) -> Bytes {
    if one_in(random, 2_000) {
        return vec![b'x'; pick(random, &LARGE)].into();
    }
    Bytes::from(random.u8(..4).to_string())
}

/// Returns a lease that is there now and then, or 0.
fn attached_lease(random: &mut Rng) -> i64 {
    if random.bool() { 0 } else { lease(random) }
}

pub(crate) fn lease(random: &mut Rng) -> i64 {
    let leases = if one_in(random, 20) {
        &LEASES[..]
    } else {
        &LEASES[..3]
    };
    pick(random, leases)
}

/// Returns a revision near the present or the compacted one, or one that makes no sense.
pub(crate) fn revision(random: &mut Rng) -> i64 {
    match random.u8(..24) {
        0 => NOW + random.i64(1..4),
        1..4 => COMPACTED + random.i64(-1..3),
        4 => -1 - random.i64(0..2),
        5 => i64::MAX,
        _ => NOW - random.i64(0..30),
    }
}

/// Returns 0 mostly, and a revision now and then.
fn some_revision(random: &mut Rng, times: u32) -> i64 {
    if one_in(random, times) {
        revision(random)
    } else {
        0
    }
}

pub(crate) fn range(random: &mut Rng) -> pb::RangeRequest {
    let mut range = pb::RangeRequest {
        key: key(random),
        range_end: range_end(random),
        revision: some_revision(random, 3),
        serializable: random.bool(),
        keys_only: one_in(random, 4),
        count_only: one_in(random, 8),
        min_mod_revision: some_revision(random, 12),
        max_mod_revision: some_revision(random, 12),
        min_create_revision: some_revision(random, 12),
        max_create_revision: some_revision(random, 12),
        ..pb::RangeRequest::default()
    };
    if one_in(random, 3) {
        range.limit = random.i64(-1..5);
    }
    if one_in(random, 3) {
        range.sort_target = random.i32(0..5);
        range.sort_order = random.i32(0..3);
    }
    if one_in(random, 100) {
        range.sort_target = random.i32(-1..7);
        range.sort_order = random.i32(-1..5);
    }
    range
}

pub(crate) fn put(random: &mut Rng) -> pb::PutRequest {
    let mut put = pb::PutRequest {
        key: key(random),
        value: value(random),
        lease: attached_lease(random),
        prev_kv: random.bool(),
        ignore_value: one_in(random, 8),
        ignore_lease: one_in(random, 8),
    };
    if put.ignore_value && !one_in(random, 10) {
        put.value = Bytes::new();
    }
    if put.ignore_lease && !one_in(random, 10) {
        put.lease = 0;
    }
    put
}

pub(crate) fn delete(random: &mut Rng) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest {
        key: key(random),
        range_end: range_end(random),
        prev_kv: random.bool(),
    }
}

fn compare(random: &mut Rng) -> pb::Compare {
    let number = random.i64(0..4);
    let target = if one_in(random, 60) {
        9
    } else {
        random.i32(0..5)
    };
    // The value is that of another property now and then.
    let given = if one_in(random, 30) {
        random.i32(0..6)
    } else {
        target
    };
    let target_union = match CompareTarget::try_from(given) {
        Ok(CompareTarget::Version) => Some(TargetUnion::Version(number)),
        Ok(CompareTarget::Create) => Some(TargetUnion::CreateRevision(NOW - number * 5)),
        Ok(CompareTarget::Mod) => Some(TargetUnion::ModRevision(NOW - number * 5)),
        Ok(CompareTarget::Value) => Some(TargetUnion::Value(number.to_string().into())),
        Ok(CompareTarget::Lease) => Some(TargetUnion::Lease(attached_lease(random))),
        Err(_) => None,
    };
    pb::Compare {
        result: if one_in(random, 60) {
            -1
        } else {
            random.i32(0..4)
        },
        target,
        key: key(random),
        range_end: range_end(random),
        target_union,
    }
}

/// Returns a transaction. Real etcd ends by one that puts keys and deletes all keys from one on, so there
/// is none.
pub(crate) fn txn(random: &mut Rng) -> pb::TxnRequest {
    let mut txn = branches(random, 0);
    if puts(&txn) {
        bound_deletions(&mut txn);
    }
    txn
}

fn branches(random: &mut Rng, depth: u32) -> pb::TxnRequest {
    let is_long = one_in(random, 300);
    let mut branch = |most: usize| {
        let count = if is_long {
            120 + random.usize(..12)
        } else {
            random.usize(..most)
        };
        (0..count).map(|_| operation(random, depth)).collect()
    };
    let (success, failure) = (branch(4), branch(3));
    pb::TxnRequest {
        compare: (0..random.usize(..3)).map(|_| compare(random)).collect(),
        success,
        failure,
    }
}

fn operation(random: &mut Rng, depth: u32) -> pb::RequestOp {
    let request = match random.u8(..32) {
        0..10 => Some(Operation::RequestRange(range(random))),
        10..22 => Some(Operation::RequestPut(put(random))),
        22..28 => Some(Operation::RequestDeleteRange(delete(random))),
        28..31 if depth < 2 => Some(Operation::RequestTxn(branches(random, depth + 1))),
        31 if one_in(random, 10) => None,
        _ => Some(Operation::RequestRange(range(random))),
    };
    pb::RequestOp { request }
}

fn operations(txn: &pb::TxnRequest) -> impl Iterator<Item = &Operation> {
    let operations = txn.success.iter().chain(&txn.failure);
    operations.filter_map(|operation| operation.request.as_ref())
}

fn puts(txn: &pb::TxnRequest) -> bool {
    operations(txn).any(|operation| match operation {
        Operation::RequestPut(_) => true,
        Operation::RequestTxn(inner) => puts(inner),
        _ => false,
    })
}

/// Gives each deletion without an end one.
fn bound_deletions(txn: &mut pb::TxnRequest) {
    for operation in txn.success.iter_mut().chain(&mut txn.failure) {
        match &mut operation.request {
            Some(Operation::RequestDeleteRange(delete)) if delete.range_end[..] == *b"\0" => {
                delete.range_end = Bytes::from_static(b"\xff\xff");
            }
            Some(Operation::RequestTxn(inner)) => bound_deletions(inner),
            _ => {}
        }
    }
}

/// Whether a transaction names a range that no key can be in.
pub(crate) fn has_empty_range(txn: &pb::TxnRequest) -> bool {
    let is_empty_compare = |one: &pb::Compare| is_empty(&one.key, &one.range_end);
    txn.compare.iter().any(is_empty_compare)
        || operations(txn).any(|operation| match operation {
            Operation::RequestRange(range) => is_empty(&range.key, &range.range_end),
            Operation::RequestDeleteRange(delete) => is_empty(&delete.key, &delete.range_end),
            Operation::RequestTxn(inner) => has_empty_range(inner),
            Operation::RequestPut(_) => false,
        })
}

pub(crate) fn watch(random: &mut Rng) -> pb::WatchCreateRequest {
    let filters = [&[][..], &[], &[], &[0], &[1], &[0, 1], &[7]];
    pb::WatchCreateRequest {
        key: key(random),
        range_end: range_end(random),
        start_revision: some_revision(random, 3),
        filters: pick(random, &filters).to_vec(),
        prev_kv: random.bool(),
        watch_id: if random.bool() { 0 } else { random.i64(-1..8) },
        fragment: one_in(random, 4),
        ..pb::WatchCreateRequest::default()
    }
}
