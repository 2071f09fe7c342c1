//! The state of one server: its store, its identity, its time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use etcdex_proto::etcdserverpb::ResponseHeader;
use tokio::sync::Notify;

use crate::store::{Limits, Store};

/// The raft term of a member that has led since its first election.
const RAFT_TERM: u64 = 2;

/// One server.
#[derive(Debug)]
pub(crate) struct Node {
    store: Mutex<Store>,
    cluster_id: u64,
    member_id: u64,
    started: Instant,
    /// Told of each compaction whose work is to be done in the background.
    compacted: Notify,
}

impl Node {
    pub(crate) fn new() -> Self {
        let member_id = fastrand::u64(1..);
        Self {
            store: Mutex::new(Store::new(Limits {
                member_id,
                ..Limits::default()
            })),
            cluster_id: fastrand::u64(1..),
            member_id,
            started: Instant::now(),
            compacted: Notify::new(),
        }
    }

    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        // A panic under the lock is a fault of the store. Other requests go on with what there is.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn compacted(&self) -> &Notify {
        &self.compacted
    }

    /// Returns the time of the store.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns the header of a reply at a revision.
    pub(crate) fn header(&self, revision: i64) -> Option<ResponseHeader> {
        Some(ResponseHeader {
            cluster_id: self.cluster_id,
            member_id: self.member_id,
            revision,
            raft_term: RAFT_TERM,
        })
    }
}
