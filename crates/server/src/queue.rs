//! The queue of a lock or an election: the keys below a name, in the order of their creation.
//!
//! Source: etcd, `client/v3/concurrency/key.go`, `mutex.go` and `election.go`, which etcd's own services
//! use.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::context::Context;
use crate::grpc::{Code, Status};
use crate::lease;
use crate::node::Node;
use crate::service::STEP;
use crate::store::{
    Compare, CompareResult, CompareTarget, Delete, KeyRange, KeyValue, Operation, Put, RangeQuery,
    SortOrder, SortTarget, Store, StoreError, Txn, TxnReply, WatchEvent, WatchOutput, WatchQuery,
    WatcherId,
};

/// The time-to-live of the lease of a request without one, in seconds.
///
/// Source: etcd, `client/v3/concurrency/session.go` (`defaultSessionTTL`).
const DEFAULT_TTL: i64 = 60;

/// Returns the name with a slash: the prefix of the queue's keys.
pub(crate) fn prefix(name: &[u8]) -> Bytes {
    [name, b"/"].concat().into()
}

/// Returns the range of all keys with a prefix that ends with a slash.
pub(crate) fn range(prefix: &Bytes) -> KeyRange {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    KeyRange::new(prefix.clone(), end.into())
}

/// Returns the lease of a request, or one that the server grants.
pub(crate) fn lease(context: &Context, requested: i64) -> Result<i64, Status> {
    if requested != 0 {
        return Ok(requested);
    }
    let node = context.node();
    let mut store = node.store();
    context.require_user(&store)?;
    let id = lease::unused_id(&store);
    store.grant(id, DEFAULT_TTL, node.now())?;
    Ok(id)
}

/// Returns the key of a lease in a queue.
pub(crate) fn key(prefix: &Bytes, lease: i64) -> Bytes {
    // Go writes a negative number with its sign.
    let sign = if lease < 0 { "-" } else { "" };
    let number = format!("{sign}{:x}", lease.unsigned_abs());
    [prefix, number.as_bytes()].concat().into()
}

/// Carries out some operations if a key was created at a revision, and others if not.
pub(crate) fn if_created_at(
    context: &Context,
    key: &Bytes,
    revision: i64,
    success: Vec<Operation>,
    failure: Vec<Operation>,
) -> Result<TxnReply, Status> {
    let txn = Txn {
        compares: vec![Compare {
            range: KeyRange::single(key.clone()),
            target: CompareTarget::Create(revision),
            result: CompareResult::Equal,
        }],
        success,
        failure,
    };
    let mut store = context.node().store();
    let caller = context.caller(&store)?;
    store.authorize_txn(caller.as_ref(), &txn)?;
    Ok(store.txn(&txn)?)
}

/// Returns the put of a key with its lease.
pub(crate) fn put(key: &Bytes, value: Bytes, lease: i64) -> Operation {
    Operation::Put(Put {
        key: key.clone(),
        value,
        lease,
        prev_kv: false,
        ignore_value: false,
        ignore_lease: false,
    })
}

/// Returns the read of a key.
pub(crate) fn get(key: &Bytes) -> Operation {
    Operation::Range(RangeQuery::new(KeyRange::single(key.clone())))
}

/// Returns the deletion of a key.
pub(crate) fn delete(key: &Bytes) -> Operation {
    Operation::Delete(Delete {
        range: KeyRange::single(key.clone()),
        prev_kv: false,
    })
}

/// Returns the oldest key of a queue: the owner of the lock, the leader.
pub(crate) fn first(store: &Store, prefix: &Bytes) -> Result<Option<KeyValue>, StoreError> {
    let query = RangeQuery {
        limit: 1,
        sort_target: SortTarget::Create,
        sort_order: SortOrder::Ascend,
        ..RangeQuery::new(range(prefix))
    };
    Ok(store.range(query)?.kvs.into_iter().next())
}

/// A key in a queue. It is deleted when this is dropped, unless it is kept.
pub(crate) struct Place {
    node: Arc<Node>,
    prefix: Bytes,
    key: Bytes,
    create_revision: i64,
    is_kept: bool,
}

impl Place {
    pub(crate) fn new(context: &Context, prefix: Bytes, key: Bytes, create_revision: i64) -> Self {
        Self {
            node: Arc::clone(context.node()),
            prefix,
            key,
            create_revision,
            is_kept: false,
        }
    }

    /// Waits until no key of the queue is older than this one.
    pub(crate) async fn first(&self) -> Result<(), Status> {
        loop {
            let older = self.older()?;
            let Some(older) = older else {
                return Ok(());
            };
            let mut changes = older;
            while !changes
                .next()
                .await?
                .iter()
                .any(|one| one.change.is_tombstone())
            {}
        }
    }

    /// Returns the changes of the youngest key of the older ones.
    fn older(&self) -> Result<Option<Changes>, Status> {
        let query = RangeQuery {
            limit: 1,
            sort_target: SortTarget::Create,
            sort_order: SortOrder::Descend,
            max_create_revision: self.create_revision - 1,
            ..RangeQuery::new(range(&self.prefix))
        };
        let store = self.node.store();
        let older = store.range(query)?.kvs.into_iter().next();
        drop(store);
        // ORDER: the key may be deleted between the read and the watch, which begins with the revision
        // of the read.
        Ok(older.map(|kv| {
            let range = KeyRange::single(Bytes::copy_from_slice(kv.key()));
            Changes::new(&self.node, range, kv.revision().main + 1)
        }))
    }

    /// Whether the key is still the one of this place.
    pub(crate) fn is_there(&self) -> bool {
        let query = RangeQuery::new(KeyRange::single(self.key.clone()));
        let reply = self.node.store().range(query);
        let kvs = reply.map(|reply| reply.kvs).unwrap_or_default();
        kvs.iter()
            .any(|kv| kv.create_revision() == self.create_revision)
    }

    /// Leaves the key where it is.
    pub(crate) fn keep(mut self) -> Bytes {
        self.is_kept = true;
        self.key.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_kept && self.is_there() {
            let range = KeyRange::single(self.key.clone());
            let prev_kv = false;
            // An alarm may forbid it; then the key goes with its lease.
            let _ = self.node.store().delete(&Delete { range, prev_kv });
        }
    }
}

/// The changes of keys, as a watch of a service of the server.
pub(crate) struct Changes {
    node: Arc<Node>,
    watcher: WatcherId,
    ready: mpsc::UnboundedReceiver<WatcherId>,
}

impl Changes {
    /// Watches keys from a revision on.
    pub(crate) fn new(node: &Arc<Node>, range: KeyRange, start: i64) -> Self {
        let (sender, ready) = mpsc::unbounded_channel();
        let query = WatchQuery {
            range,
            start,
            no_put: false,
            no_delete: false,
            prev_kv: false,
        };
        let watcher = node.store().add_watcher(query, sender);
        Self {
            node: Arc::clone(node),
            watcher,
            ready,
        }
    }

    /// Returns the next changes. There may be none.
    pub(crate) async fn next(&mut self) -> Result<Vec<WatchEvent>, Status> {
        // INVARIANT: the node has the sender as long as the watcher is there.
        let _ = self.ready.recv().await;
        let mut changes = Vec::new();
        loop {
            match self.node.store().take_events(self.watcher, STEP) {
                Some(WatchOutput::Events { events, more, .. }) => {
                    changes.extend(events);
                    if !more {
                        return Ok(changes);
                    }
                }
                Some(WatchOutput::Compacted { .. }) => return Err(StoreError::Compacted.into()),
                None => return Err(Status::new(Code::Internal, "etcdex-server: no watcher")),
            }
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.node.store().remove_watcher(self.watcher);
    }
}
