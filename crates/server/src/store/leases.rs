//! PURE: leases, their keys, their expiry.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bytes::Bytes;

use super::error::StoreError;

/// The longest time-to-live, in seconds. Source: etcd, `server/lease/lessor.go` (`MaxLeaseTTL`).
const LONGEST: i64 = 9_000_000_000;

/// The limits of leases.
#[derive(Clone, Copy, Debug)]
pub struct LeaseLimits {
    /// The shortest time-to-live: a shorter one is raised to this.
    pub shortest: Duration,
}

/// A lease.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The time-to-live after a renewal, in seconds.
    ttl: i64,
    /// When the lease expires, on the clock of the store.
    expiry: Duration,
    keys: BTreeSet<Bytes>,
}

impl Lease {
    /// Returns the time-to-live after a renewal, in seconds.
    #[must_use]
    pub fn ttl(&self) -> i64 {
        self.ttl
    }

    /// Returns the time that is left at the time `now`.
    #[must_use]
    pub fn remaining(&self, now: Duration) -> Duration {
        self.expiry.saturating_sub(now)
    }

    /// Returns the attached keys, in their order.
    pub fn keys(&self) -> impl Iterator<Item = &Bytes> {
        self.keys.iter()
    }
}

/// All leases.
#[derive(Debug)]
pub(super) struct Leases {
    limits: LeaseLimits,
    by_id: HashMap<i64, Lease>,
    /// INVARIANT: it has one entry for each lease, with its expiry.
    by_expiry: BTreeSet<(Duration, i64)>,
}

impl Leases {
    pub(super) fn new(limits: LeaseLimits) -> Self {
        Self {
            limits,
            by_id: HashMap::new(),
            by_expiry: BTreeSet::new(),
        }
    }

    pub(super) fn has(&self, id: i64) -> bool {
        self.by_id.contains_key(&id)
    }

    pub(super) fn lease(&self, id: i64) -> Option<&Lease> {
        self.by_id.get(&id)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = i64> {
        self.by_expiry.iter().map(|(_, id)| *id)
    }

    pub(super) fn grant(&mut self, id: i64, ttl: i64, now: Duration) -> Result<i64, StoreError> {
        if id == 0 {
            return Err(StoreError::LeaseNotFound);
        }
        if ttl > LONGEST {
            return Err(StoreError::LeaseTtlTooLarge);
        }
        if self.has(id) {
            return Err(StoreError::LeaseExists);
        }
        let shortest = i64::try_from(self.limits.shortest.as_secs()).unwrap_or(LONGEST);
        let ttl = ttl.max(shortest);
        let expiry = now + seconds(ttl);
        let keys = BTreeSet::new();
        self.by_id.insert(id, Lease { ttl, expiry, keys });
        self.by_expiry.insert((expiry, id));
        Ok(ttl)
    }

    pub(super) fn renew(&mut self, id: i64, now: Duration) -> Result<i64, StoreError> {
        let lease = self.by_id.get_mut(&id);
        let lease = lease.filter(|lease| lease.expiry > now);
        let lease = lease.ok_or(StoreError::LeaseNotFound)?;
        self.by_expiry.remove(&(lease.expiry, id));
        lease.expiry = now + seconds(lease.ttl);
        self.by_expiry.insert((lease.expiry, id));
        Ok(lease.ttl)
    }

    /// Moves a key from one lease to another; 0 is none.
    pub(super) fn attach(&mut self, key: &[u8], from: i64, to: i64) {
        if from == to {
            return;
        }
        if let Some(lease) = self.by_id.get_mut(&from) {
            lease.keys.remove(key);
        }
        if let Some(lease) = self.by_id.get_mut(&to) {
            lease.keys.insert(Bytes::copy_from_slice(key));
        }
    }

    /// Removes a lease. Returns its keys.
    pub(super) fn remove(&mut self, id: i64) -> Option<BTreeSet<Bytes>> {
        let lease = self.by_id.remove(&id)?;
        self.by_expiry.remove(&(lease.expiry, id));
        Some(lease.keys)
    }

    /// Returns the leases that have expired, in the order of their expiry.
    pub(super) fn expired(&self, now: Duration) -> Vec<i64> {
        let due = self
            .by_expiry
            .iter()
            .take_while(|(expiry, _)| *expiry <= now);
        due.map(|(_, id)| *id).collect()
    }
}

fn seconds(ttl: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl).unwrap_or(0))
}
