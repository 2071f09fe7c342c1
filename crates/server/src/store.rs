//! PURE: the store of the server: keys with all their revisions, leases, watchers, alarms and
//! users.
//!
//! The store is synchronous, and has neither tasks nor a clock: time is an argument. Its parts are
//! files with private state:
//!
//! ```text
//! index.rs        the versions of each key, in the order of keys
//! history.rs      all versions in the order of revisions
//! compaction.rs   the compacted revision, and the removal of superfluous versions
//! leases.rs       leases, their keys, their expiry
//! watchers.rs     watchers, and the changes that they have not taken
//! alarms.rs       alarms, and the quota
//! users.rs        users, their roles, and the permissions of roles
//! ```
//!
//! `range.rs`, `write.rs` and `txn.rs` are the operations on them, and `permissions.rs` says what a user
//! needs for them; `error.rs` has etcd's texts.
//!
//! # Long work
//! No call takes long, so that the caller can hold the store under one lock. A range is read by
//! [`RangeScan`] in steps, all of them at one revision, and a compaction is
//! [swept](Store::sweep) in steps. In between, others read and write.
//! See [ADR 0025](https://github.com/etcdex/etcdex/blob/main/docs/adr/0025-the-store-of-the-embedded-server.md).

mod alarms;
mod compaction;
mod error;
mod history;
mod index;
mod key_range;
mod key_set;
mod key_value;
mod leases;
mod permissions;
mod range;
#[cfg(test)]
mod tests;
mod txn;
mod users;
mod watchers;
mod write;

use std::time::Duration;

pub use self::alarms::{Alarm, AlarmKind};
pub use self::error::{Code, StoreError};
pub use self::key_range::KeyRange;
pub use self::key_value::{KeyValue, Revision};
pub use self::leases::{Lease, LeaseLimits};
pub use self::range::{RangeQuery, RangeReply, RangeScan, SortOrder, SortTarget};
pub use self::txn::{
    Compare, CompareResult, CompareTarget, Operation, OperationReply, Txn, TxnReply,
};
pub use self::users::{Caller, PasswordHash, Permission, PermissionKind};
pub use self::watchers::{WatchEvent, WatchOutput, WatchQuery, WatcherId};
pub use self::write::{Delete, DeleteReply, Put, PutReply};

use self::alarms::Alarms;
use self::compaction::Compaction;
use self::history::History;
use self::index::Index;
use self::leases::Leases;
use self::users::Users;
use self::watchers::Watchers;

/// The limits of a store. The defaults are etcd's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most compares, and the most operations of each branch, of a transaction. The operations of
    /// a transaction inside another one count against what the outer one has left.
    pub txn_operations: usize,
    /// The shortest time-to-live of a lease: a shorter one is raised to this.
    pub min_lease_ttl: Duration,
    /// The [size](Store::size) from which on the store refuses to grow, in bytes.
    pub quota_bytes: usize,
    /// The ID of the member, for its alarms.
    pub member_id: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            txn_operations: 128,
            min_lease_ttl: Duration::from_secs(2),
            quota_bytes: 2 << 30,
            member_id: 1,
        }
    }
}

/// A store. It begins empty, at revision 1.
#[derive(Debug)]
pub struct Store {
    limits: Limits,
    /// The revision of the last change.
    revision: i64,
    index: Index,
    history: History,
    compaction: Compaction,
    leases: Leases,
    watchers: Watchers,
    alarms: Alarms,
    users: Users,
}

impl Store {
    /// Makes an empty store.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            revision: 1,
            index: Index::default(),
            history: History::default(),
            compaction: Compaction::default(),
            leases: Leases::new(LeaseLimits {
                shortest: limits.min_lease_ttl,
            }),
            watchers: Watchers::default(),
            alarms: Alarms::default(),
            users: Users::default(),
        }
    }

    /// Returns the revision of the last change.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Returns the revision up to which the history was compacted; -1 before the first compaction.
    #[must_use]
    pub fn compacted(&self) -> i64 {
        self.compaction.revision()
    }

    /// Returns the number of keys that have a value now.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.index.live()
    }

    /// Returns the number of versions that are kept, deletions included.
    #[must_use]
    pub fn versions(&self) -> usize {
        self.index.versions()
    }

    /// Returns the bytes of the keys and values of all versions that are kept.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.index.bytes()
    }

    /// Returns the changes of a revision and later ones, in order: puts, and deletions as
    /// [tombstones](KeyValue::is_tombstone).
    ///
    /// # Errors
    /// [`StoreError::Compacted`] if the history from there on is not complete.
    pub fn changes_since(
        &self,
        revision: i64,
    ) -> Result<impl Iterator<Item = &KeyValue>, StoreError> {
        if revision < self.compaction.revision() {
            return Err(StoreError::Compacted);
        }
        Ok(self.history.since(revision))
    }

    /// Forgets all versions that no read at this revision or a later one needs. Reads below the revision are
    /// refused from now on; [`sweep`](Self::sweep) does the work.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] if the history was compacted at this revision or a later one,
    /// [`StoreError::FutureRevision`] if the store has not reached the revision,
    /// [`StoreError::Corrupt`].
    pub fn compact(&mut self, revision: i64) -> Result<(), StoreError> {
        self.check_alarms(0)?;
        self.compaction.begin(revision, self.revision)
    }

    /// Removes up to `most` versions that a compaction has made superfluous. Returns whether there may
    /// be more. A [`RangeScan`] in progress keeps the versions that it needs.
    pub fn sweep(&mut self, most: usize) -> bool {
        self.compaction
            .sweep(most, &mut self.index, &mut self.history)
    }
}
