//! PURE: alarms, and the quota.
//!
//! A store that is at its quota raises the alarm of its member. From then on, everything that would
//! make the store larger is refused, until somebody lifts the alarm. Deletions and compactions are
//! allowed, so that there can be room again.
//!
//! Source: etcd, `server/storage/quota.go`, `server/etcdserver/apply/capped.go` and `corrupt.go`.

use std::collections::BTreeSet;

use super::Store;
use super::error::StoreError;
use super::txn::{Operation, Txn};
use super::write::Put;

/// Bytes that a version counts besides its key and value.
const VERSION: usize = 256;

/// Bytes that a lease counts.
const LEASE: usize = 64;

/// The reason of an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AlarmKind {
    /// The store of a member is at its quota.
    NoSpace,
    /// The store of a member differs from those of the others.
    Corrupt,
}

/// An alarm of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Alarm {
    /// The ID of the member.
    pub member: u64,
    /// The reason.
    pub kind: AlarmKind,
}

/// The alarms that are raised.
#[derive(Debug, Default)]
pub(super) struct Alarms(BTreeSet<Alarm>);

impl Alarms {
    fn has(&self, kind: AlarmKind) -> bool {
        self.0.iter().any(|alarm| alarm.kind == kind)
    }
}

/// Returns the bytes that a put may add.
pub(super) fn cost_of_put(put: &Put) -> usize {
    VERSION + put.key.len() + put.value.len()
}

/// Returns the bytes that a transaction may add: those of the larger branch.
pub(super) fn cost_of_txn(txn: &Txn) -> usize {
    let cost = |operations: &[Operation]| {
        let costs = operations.iter().map(|operation| match operation {
            Operation::Put(put) => cost_of_put(put),
            Operation::Txn(inner) => cost_of_txn(inner),
            Operation::Range(_) | Operation::Delete(_) => 0,
        });
        costs.sum::<usize>()
    };
    cost(&txn.success).max(cost(&txn.failure))
}

/// Returns the bytes that a lease adds.
pub(super) fn cost_of_lease() -> usize {
    LEASE
}

impl Store {
    /// Returns the alarms, in the order of their members.
    pub fn alarms(&self) -> impl Iterator<Item = Alarm> {
        self.alarms.0.iter().copied()
    }

    /// Raises an alarm. One that is raised stays as it is.
    pub fn raise_alarm(&mut self, alarm: Alarm) {
        self.alarms.0.insert(alarm);
    }

    /// Lifts an alarm. Returns whether it was raised.
    pub fn lift_alarm(&mut self, alarm: Alarm) -> bool {
        self.alarms.0.remove(&alarm)
    }

    /// Returns the size of the store that counts against the quota, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.index.bytes() + self.index.versions() * VERSION
    }

    /// Refuses a request that would make the store larger than its quota, and raises the alarm then.
    pub(super) fn check_quota(&mut self, cost: usize) -> Result<(), StoreError> {
        let fits = self.size().saturating_add(cost) < self.limits.quota_bytes;
        if cost == 0 || fits {
            return Ok(());
        }
        self.raise_alarm(Alarm {
            member: self.limits.member_id,
            kind: AlarmKind::NoSpace,
        });
        Err(StoreError::NoSpace)
    }

    /// Refuses a request that an alarm forbids. `cost`: the bytes that the request may add.
    pub(super) fn check_alarms(&self, cost: usize) -> Result<(), StoreError> {
        if self.alarms.has(AlarmKind::Corrupt) {
            return Err(StoreError::Corrupt);
        }
        if cost > 0 && self.alarms.has(AlarmKind::NoSpace) {
            return Err(StoreError::NoSpace);
        }
        Ok(())
    }
}
