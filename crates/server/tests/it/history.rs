//! A random history: calls, and the same call to real etcd.

use bytes::Bytes;
use etcdex::kv::{GetResponse, PutResponse, SortOrder as EtcdOrder, SortTarget as EtcdTarget};
use etcdex::txn::{OperationResponse, TxnResponse};
use etcdex::{Client, Error, LeaseId};
use etcdex_server::store::{
    Compare, CompareResult, CompareTarget, Delete, DeleteReply, KeyRange, KeyValue, Operation,
    OperationReply, Put, PutReply, RangeQuery, RangeReply, SortOrder, SortTarget, Store,
    StoreError, Txn, TxnReply,
};
use fastrand::Rng;

/// Few keys, so that calls meet each other.
const KEYS: [&str; 8] = ["a", "a\0", "b", "ba", "c", "d", "e", "\u{ff}"];
const LEASES: [i64; 4] = [0, 0, 7, 8];

/// A call of a history.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Range(Range),
    Put(Put),
    Delete(Span, bool),
    Txn(Branches),
    Compact(i64),
    Grant(i64),
    Revoke(i64),
}

/// A range of keys, as both sides can be asked for it.
#[derive(Clone, Debug)]
pub(crate) enum Span {
    Single(Bytes),
    Below(Bytes, Bytes),
    From(Bytes),
}

/// A read, as both sides can be asked for it.
#[derive(Clone, Debug)]
pub(crate) struct Range {
    span: Span,
    query: RangeQuery,
}

/// A transaction.
#[derive(Clone, Debug)]
pub(crate) struct Branches {
    compares: Vec<(Span, CompareTarget, CompareResult)>,
    success: Vec<Call>,
    failure: Vec<Call>,
}

/// The reply to a call, written out, or the text of the error.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Operation(String),
    Revision(i64),
    Done,
    Refused(String),
}

fn key(random: &mut Rng) -> Bytes {
    Bytes::from_static(KEYS[random.usize(..KEYS.len())].as_bytes())
}

pub(crate) fn span(random: &mut Rng) -> Span {
    match random.u8(..6) {
        0..3 => Span::Single(key(random)),
        3..5 => Span::Below(key(random), key(random)),
        _ => Span::From(key(random)),
    }
}

impl Span {
    pub(crate) fn to_range(&self) -> KeyRange {
        match self {
            Self::Single(key) => KeyRange::single(key.clone()),
            Self::Below(key, end) => KeyRange::new(key.clone(), end.clone()),
            Self::From(key) => KeyRange::new(key.clone(), Bytes::from_static(b"\0")),
        }
    }

    pub(crate) fn first(&self) -> Bytes {
        let (Self::Single(key) | Self::Below(key, _) | Self::From(key)) = self;
        key.clone()
    }
}

/// Returns a revision near the present or the compacted one.
fn revision(random: &mut Rng, store: &Store) -> i64 {
    match random.u8(..8) {
        0 => store.revision() + 1,
        1 => store.compacted() + random.i64(-1..2),
        _ => random.i64(store.compacted().max(1)..=store.revision()),
    }
}

fn range(random: &mut Rng, store: &Store) -> Range {
    let span = span(random);
    let mut query = RangeQuery::new(span.to_range());
    if random.u8(..3) == 0 {
        query.revision = revision(random, store).max(0);
    }
    if random.bool() {
        query.limit = random.i64(1..5);
    }
    if random.u8(..3) == 0 {
        query.sort_target = [
            SortTarget::Key,
            SortTarget::Version,
            SortTarget::Create,
            SortTarget::Mod,
            SortTarget::Value,
        ][random.usize(..5)];
        query.sort_order = [SortOrder::Ascend, SortOrder::Descend][random.usize(..2)];
    }
    query.keys_only = random.u8(..4) == 0;
    query.count_only = random.u8(..8) == 0;
    for filter in [
        &mut query.min_mod_revision,
        &mut query.max_mod_revision,
        &mut query.min_create_revision,
        &mut query.max_create_revision,
    ] {
        if random.u8(..10) == 0 {
            *filter = random.i64(1..=store.revision());
        }
    }
    Range { span, query }
}

fn put(random: &mut Rng) -> Put {
    let mut put = Put::new(key(random), Bytes::from(format!("{}", random.u8(..4))));
    put.prev_kv = random.bool();
    match random.u8(..8) {
        0 => {
            put.ignore_value = true;
            put.value = Bytes::new();
        }
        1 => put.ignore_lease = true,
        _ => put.lease = LEASES[random.usize(..LEASES.len())],
    }
    put
}

fn txn(random: &mut Rng, store: &Store, depth: u32) -> Branches {
    let compares = (0..random.usize(..3)).map(|_| {
        let number = random.i64(0..4);
        let target = match random.u8(..5) {
            0 => CompareTarget::Version(number),
            1 => CompareTarget::Create(random.i64(0..=store.revision())),
            2 => CompareTarget::Mod(random.i64(0..=store.revision())),
            3 => CompareTarget::Value(Bytes::from(number.to_string())),
            _ => CompareTarget::Lease(LEASES[random.usize(..LEASES.len())]),
        };
        let result = [
            CompareResult::Equal,
            CompareResult::Greater,
            CompareResult::Less,
            CompareResult::NotEqual,
        ][random.usize(..4)];
        (span(random), target, result)
    });
    let compares = compares.collect();
    let mut branch = || {
        let count = random.usize(..4);
        let calls = (0..count).map(|_| match random.u8(..8) {
            0..2 => Call::Range(range(random, store)),
            2..5 => Call::Put(put(random)),
            5..7 => Call::Delete(span(random), random.bool()),
            _ if depth < 2 => Call::Txn(txn(random, store, depth + 1)),
            _ => Call::Put(put(random)),
        });
        calls.collect::<Vec<_>>()
    };
    Branches {
        compares,
        success: branch(),
        failure: branch(),
    }
}

impl Call {
    /// Returns a random call.
    pub(crate) fn random(random: &mut Rng, store: &Store) -> Self {
        match random.u8(..32) {
            0..10 => Self::Range(range(random, store)),
            10..18 => Self::Put(put(random)),
            18..22 => Self::Delete(span(random), random.bool()),
            22..29 => loop {
                let txn = txn(random, store, 0);
                if !(txn.deletes_from_a_key() && txn.puts()) {
                    break Self::Txn(txn);
                }
            },
            29 => Self::Compact(revision(random, store).max(1)),
            30 => Self::Grant(LEASES[random.usize(2..4)]),
            _ => Self::Revoke(LEASES[random.usize(2..4)]),
        }
    }

    /// Makes the call to the store.
    pub(crate) fn to_store(&self, store: &mut Store) -> Reply {
        self.try_store(store)
            .unwrap_or_else(|error| Reply::Refused(error.to_string()))
    }

    fn try_store(&self, store: &mut Store) -> Result<Reply, StoreError> {
        let operation = |reply: OperationReply| Reply::Operation(written(&reply));
        Ok(match self {
            Self::Range(range) => {
                operation(OperationReply::Range(store.range(range.query.clone())?))
            }
            Self::Put(put) => operation(OperationReply::Put(store.put(put)?)),
            Self::Delete(span, prev_kv) => {
                let reply = store.delete(&delete(span, *prev_kv))?;
                operation(OperationReply::Delete(reply))
            }
            Self::Txn(txn) => operation(OperationReply::Txn(store.txn(&txn.to_txn())?)),
            Self::Compact(revision) => {
                store.compact(*revision)?;
                Reply::Done
            }
            Self::Grant(id) => {
                store.grant(*id, 600, std::time::Duration::ZERO)?;
                Reply::Revision(store.revision())
            }
            Self::Revoke(id) => {
                store.revoke(*id)?;
                Reply::Revision(store.revision())
            }
        })
    }

    /// Makes the call to real etcd.
    pub(crate) async fn to_etcd(&self, client: &Client) -> Reply {
        self.try_etcd(client)
            .await
            .unwrap_or_else(|error| Reply::Refused(error.message().to_owned()))
    }

    async fn try_etcd(&self, client: &Client) -> Result<Reply, Error> {
        let id = |id: i64| LeaseId::new(id).expect("not 0");
        Ok(match self {
            Self::Range(range) => Reply::Operation(got(&client.run(range.to_get()).await?)),
            Self::Put(put) => Reply::Operation(was_put(&client.run(to_put(put)).await?)),
            Self::Delete(span, prev_kv) => {
                Reply::Operation(deleted(&client.run(to_delete(span, *prev_kv)).await?))
            }
            Self::Txn(txn) => Reply::Operation(done(&client.run(txn.to_etcd()).await?)),
            Self::Compact(revision) => {
                client.compact(*revision).await?;
                Reply::Done
            }
            Self::Grant(lease) => {
                let ttl = std::time::Duration::from_secs(600);
                let granted = client.grant(ttl).id(id(*lease)).await?;
                Reply::Revision(granted.header.revision)
            }
            Self::Revoke(lease) => {
                Reply::Revision(client.revoke(id(*lease)).await?.header.revision)
            }
        })
    }
}

fn delete(span: &Span, prev_kv: bool) -> Delete {
    Delete {
        range: span.to_range(),
        prev_kv,
    }
}

impl Branches {
    fn any(&self, matches: fn(&Call) -> bool) -> bool {
        let mut calls = self.success.iter().chain(&self.failure);
        calls.any(|call| match call {
            Call::Txn(inner) => inner.any(matches),
            other => matches(other),
        })
    }

    fn deletes_from_a_key(&self) -> bool {
        self.any(|call| matches!(call, Call::Delete(Span::From(_), _)))
    }

    /// Whether there is a put. In a transaction with a deletion from a key on, real etcd can lose
    /// the pair, and end at the next read of it.
    fn puts(&self) -> bool {
        self.any(|call| matches!(call, Call::Put(_)))
    }

    fn to_txn(&self) -> Txn {
        let operations = |calls: &[Call]| {
            let operations = calls.iter().map(|call| match call {
                Call::Range(range) => Operation::Range(range.query.clone()),
                Call::Put(put) => Operation::Put(put.clone()),
                Call::Delete(span, prev_kv) => Operation::Delete(delete(span, *prev_kv)),
                Call::Txn(txn) => Operation::Txn(txn.to_txn()),
                other => unreachable!("{other:?} is in no transaction"),
            });
            operations.collect()
        };
        let compares = self.compares.iter().map(|(span, target, result)| Compare {
            range: span.to_range(),
            target: target.clone(),
            result: *result,
        });
        Txn {
            compares: compares.collect(),
            success: operations(&self.success),
            failure: operations(&self.failure),
        }
    }

    fn to_etcd(&self) -> etcdex::Txn {
        let compares = self.compares.iter().map(to_compare);
        let operation = |call: &Call| -> etcdex::txn::Operation {
            use etcdex::txn::IntoOperation as _;
            match call {
                Call::Range(range) => range.to_get().into_operation(),
                Call::Put(put) => to_put(put).into_operation(),
                Call::Delete(span, prev_kv) => to_delete(span, *prev_kv).into_operation(),
                Call::Txn(txn) => txn.to_etcd().into_operation(),
                other => unreachable!("{other:?} is in no transaction"),
            }
        };
        etcdex::Txn::new()
            .when_all(compares)
            .then_all(self.success.iter().map(operation))
            .otherwise_all(self.failure.iter().map(operation))
    }
}

fn to_compare((span, target, result): &(Span, CompareTarget, CompareResult)) -> etcdex::Compare {
    macro_rules! compare {
        ($target:expr, $given:expr) => {
            match result {
                CompareResult::Equal => $target.equal($given),
                CompareResult::Greater => $target.greater($given),
                CompareResult::Less => $target.less($given),
                CompareResult::NotEqual => $target.not_equal($given),
                CompareResult::Any => unreachable!("no history has it"),
            }
        };
    }
    let key = span.first();
    let compare = match target {
        CompareTarget::Version(given) => compare!(etcdex::Compare::version(key), *given),
        CompareTarget::Create(given) => compare!(etcdex::Compare::create_revision(key), *given),
        CompareTarget::Mod(given) => compare!(etcdex::Compare::mod_revision(key), *given),
        CompareTarget::Value(given) => compare!(etcdex::Compare::value(key), given.clone()),
        CompareTarget::Lease(given) => {
            compare!(etcdex::Compare::lease(key), LeaseId::new(*given))
        }
    };
    match span {
        Span::Single(_) => compare,
        Span::Below(_, end) => compare.range_end(end.clone()),
        Span::From(_) => compare.from_key(),
    }
}

impl Range {
    fn to_get(&self) -> etcdex::Get {
        let get = etcdex::Get::new(self.span.first());
        let mut get = match &self.span {
            Span::Single(_) => get,
            Span::Below(_, end) => get.range_end(end.clone()),
            Span::From(_) => get.from_key(),
        };
        let query = &self.query;
        if query.revision > 0 {
            get = get.revision(query.revision);
        }
        if let Ok(limit @ 1..) = u64::try_from(query.limit) {
            get = get.limit(limit);
        }
        let order = match query.sort_order {
            SortOrder::None => None,
            SortOrder::Ascend => Some(EtcdOrder::Ascend),
            SortOrder::Descend => Some(EtcdOrder::Descend),
        };
        let target = match query.sort_target {
            SortTarget::Key => EtcdTarget::Key,
            SortTarget::Version => EtcdTarget::Version,
            SortTarget::Create => EtcdTarget::Create,
            SortTarget::Mod => EtcdTarget::Mod,
            SortTarget::Value => EtcdTarget::Value,
        };
        if let Some(order) = order {
            get = get.sort(target, order);
        }
        if query.keys_only {
            get = get.keys_only();
        }
        if query.count_only {
            get = get.count_only();
        }
        get.min_mod_revision(query.min_mod_revision)
            .max_mod_revision(query.max_mod_revision)
            .min_create_revision(query.min_create_revision)
            .max_create_revision(query.max_create_revision)
    }
}

fn to_put(put: &Put) -> etcdex::Put {
    let mut request = etcdex::Put::new(put.key.clone(), put.value.clone());
    if let Some(lease) = LeaseId::new(put.lease) {
        request = request.lease(lease);
    }
    if put.prev_kv {
        request = request.prev_kv();
    }
    if put.ignore_value {
        request = request.ignore_value();
    }
    if put.ignore_lease {
        request = request.ignore_lease();
    }
    request
}

fn to_delete(span: &Span, prev_kv: bool) -> etcdex::Delete {
    let delete = etcdex::Delete::new(span.first());
    let delete = match span {
        Span::Single(_) => delete,
        Span::Below(_, end) => delete.range_end(end.clone()),
        Span::From(_) => delete.from_key(),
    };
    if prev_kv { delete.prev_kv() } else { delete }
}

/// Writes a pair of real etcd.
pub(crate) fn etcd_pair(pair: &etcdex::KeyValue) -> String {
    let lease = pair.lease.map_or(0, LeaseId::as_i64);
    let (create, modified) = (pair.create_revision, pair.mod_revision);
    let numbers = [create, modified, pair.version, lease];
    format!("{:?}={:?} {numbers:?}", pair.key, pair.value)
}

/// Writes a pair of the store, without the number of its change, which etcd does not tell.
pub(crate) fn store_pair(pair: &KeyValue) -> String {
    let (create, modified) = (pair.create_revision(), pair.revision().main);
    let numbers = [create, modified, pair.version(), pair.lease()];
    let (key, value) = (pair.key().to_vec(), pair.value().to_vec());
    format!(
        "{:?}={:?} {numbers:?}",
        Bytes::from(key),
        Bytes::from(value)
    )
}

fn got(reply: &GetResponse) -> String {
    let pairs: Vec<String> = reply.kvs.iter().map(etcd_pair).collect();
    let (revision, count) = (reply.header.revision, reply.count);
    format!("get at {revision}: {count} {} {pairs:?}", reply.more)
}

fn was_put(reply: &PutResponse) -> String {
    let before = reply.prev_kv.as_ref().map(etcd_pair);
    format!("put at {}: {before:?}", reply.header.revision)
}

fn deleted(reply: &etcdex::kv::DeleteResponse) -> String {
    let before: Vec<String> = reply.prev_kvs.iter().map(etcd_pair).collect();
    let (revision, deleted) = (reply.header.revision, reply.deleted);
    format!("delete at {revision}: {deleted} {before:?}")
}

fn done(reply: &TxnResponse) -> String {
    let replies = reply.responses.iter().map(|reply| match reply {
        OperationResponse::Get(reply) => got(reply),
        OperationResponse::Put(reply) => was_put(reply),
        OperationResponse::Delete(reply) => deleted(reply),
        OperationResponse::Txn(reply) => done(reply),
        other => unreachable!("{other:?}"),
    });
    let replies: Vec<String> = replies.collect();
    let (revision, succeeded) = (reply.header.revision, reply.succeeded);
    format!("txn at {revision}: {succeeded} {replies:?}")
}

/// Writes a reply of the store, as the functions above write that of real etcd.
fn written(reply: &OperationReply) -> String {
    let all = |pairs: &[KeyValue]| pairs.iter().map(store_pair).collect::<Vec<_>>();
    match reply {
        OperationReply::Range(RangeReply {
            revision,
            kvs,
            more,
            count,
            at: _,
        }) => format!("get at {revision}: {count} {more} {:?}", all(kvs)),
        OperationReply::Put(PutReply { revision, prev_kv }) => {
            format!("put at {revision}: {:?}", prev_kv.as_ref().map(store_pair))
        }
        OperationReply::Delete(DeleteReply {
            revision,
            deleted,
            prev_kvs,
        }) => format!("delete at {revision}: {deleted} {:?}", all(prev_kvs)),
        OperationReply::Txn(TxnReply {
            revision,
            succeeded,
            replies,
        }) => {
            let replies: Vec<String> = replies.iter().map(written).collect();
            format!("txn at {revision}: {succeeded} {replies:?}")
        }
    }
}
