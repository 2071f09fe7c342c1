//! PURE: changes of the store at one revision.

use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;

use super::Store;
use super::alarms;
use super::error::StoreError;
use super::key_range::KeyRange;
use super::key_value::{KeyValue, Numbers, Revision};

/// A put.
#[derive(Clone, Debug)]
pub struct Put {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// The lease that the key is attached to; 0 for none.
    pub lease: i64,
    /// Whether the reply has the pair from before.
    pub prev_kv: bool,
    /// Whether the key keeps its value.
    pub ignore_value: bool,
    /// Whether the key keeps its lease.
    pub ignore_lease: bool,
}

impl Put {
    /// Returns a put without a lease.
    #[must_use]
    pub fn new(key: Bytes, value: Bytes) -> Self {
        Self {
            key,
            value,
            lease: 0,
            prev_kv: false,
            ignore_value: false,
            ignore_lease: false,
        }
    }

    /// Whether the put needs the pair from before.
    pub(super) fn keeps(&self) -> bool {
        self.ignore_value || self.ignore_lease
    }

    /// Refuses what no store would accept.
    pub(crate) fn validate(&self) -> Result<(), StoreError> {
        if self.key.is_empty() {
            return Err(StoreError::EmptyKey);
        }
        if self.ignore_value && !self.value.is_empty() {
            return Err(StoreError::ValueProvided);
        }
        if self.ignore_lease && self.lease != 0 {
            return Err(StoreError::LeaseProvided);
        }
        Ok(())
    }
}

impl Delete {
    /// Refuses what no store would accept.
    pub(crate) fn validate(&self) -> Result<(), StoreError> {
        match self.range.start().is_empty() {
            true => Err(StoreError::EmptyKey),
            false => Ok(()),
        }
    }
}

/// The reply to a [`Put`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutReply {
    /// The revision of the put.
    pub revision: i64,
    /// The pair from before, if it was requested and there was one.
    pub prev_kv: Option<KeyValue>,
}

/// A deletion of a key or a range of keys.
#[derive(Clone, Debug)]
pub struct Delete {
    /// The keys.
    pub range: KeyRange,
    /// Whether the reply has the pairs from before.
    pub prev_kv: bool,
}

/// The reply to a [`Delete`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteReply {
    /// The revision of the deletion, or of the store if no key was deleted.
    pub revision: i64,
    /// Number of keys that were deleted.
    pub deleted: i64,
    /// The pairs from before, if they were requested.
    pub prev_kvs: Vec<KeyValue>,
}

/// Changes that become one revision when the value is dropped, if there are any.
///
/// INVARIANT: the revision of the store grows by one, and only if something has changed.
pub(super) struct Write<'a> {
    pub(super) store: &'a mut Store,
    changes: u32,
}

impl<'a> Write<'a> {
    pub(super) fn new(store: &'a mut Store) -> Self {
        Self { store, changes: 0 }
    }

    /// Returns the revision that a read within the changes sees.
    pub(super) fn revision(&self) -> i64 {
        self.store.revision + i64::from(self.changes > 0)
    }

    /// Puts a key. The caller has checked that the lease exists.
    pub(super) fn put(&mut self, put: &Put) -> PutReply {
        let present = self.store.index.latest(&put.key).cloned();
        let before = present.as_ref();
        let value = match before {
            Some(before) if put.ignore_value => before.value(),
            _ => &put.value,
        };
        let lease = match before {
            Some(before) if put.ignore_lease => before.lease(),
            _ => put.lease,
        };
        let revision = self.next();
        let numbers = Numbers {
            create_revision: before.map_or(revision.main, KeyValue::create_revision),
            revision,
            version: before.map_or(0, KeyValue::version) + 1,
            lease,
        };
        let from = before.map_or(0, KeyValue::lease);
        self.store.leases.attach(&put.key, from, lease);
        self.push(KeyValue::new(&put.key, value, numbers));
        PutReply {
            revision: revision.main,
            prev_kv: present.filter(|_| put.prev_kv),
        }
    }

    /// Deletes keys, in their order.
    pub(super) fn delete(&mut self, delete: &Delete) -> DeleteReply {
        let range = &delete.range;
        let from = Bound::Included(&range.start()[..]);
        let keys = self.store.index.scan(range, from, i64::MAX);
        let present: Vec<KeyValue> = keys.filter_map(|(_, pair)| pair.cloned()).collect();
        for pair in &present {
            let revision = self.next();
            self.store.leases.attach(pair.key(), pair.lease(), 0);
            self.push(KeyValue::tombstone(pair.key(), revision));
        }
        DeleteReply {
            revision: self.revision(),
            deleted: i64::try_from(present.len()).unwrap_or(i64::MAX),
            prev_kvs: if delete.prev_kv { present } else { Vec::new() },
        }
    }

    fn next(&mut self) -> Revision {
        let revision = Revision {
            main: self.store.revision + 1,
            sub: self.changes,
        };
        self.changes += 1;
        revision
    }

    fn push(&mut self, change: KeyValue) {
        self.store.history.push(change.clone());
        self.store.index.push(change);
    }
}

impl Drop for Write<'_> {
    fn drop(&mut self) {
        self.store.revision = self.revision();
        let Store {
            history, watchers, ..
        } = &mut *self.store;
        watchers.notify(history.last(self.changes as usize));
    }
}

impl Store {
    /// Puts a key.
    ///
    /// # Errors
    /// [`StoreError::EmptyKey`], [`StoreError::ValueProvided`], [`StoreError::LeaseProvided`],
    /// [`StoreError::LeaseNotFound`], and [`StoreError::KeyNotFound`] if the key does not exist and the
    /// put keeps its value or its lease; [`StoreError::NoSpace`], [`StoreError::Corrupt`]. Nothing was
    /// changed then.
    pub fn put(&mut self, put: &Put) -> Result<PutReply, StoreError> {
        let cost = alarms::cost_of_put(put);
        self.check_quota(cost)?;
        put.validate()?;
        self.check_alarms(cost)?;
        self.check_put(put)?;
        Ok(Write::new(self).put(put))
    }

    /// Checks a put against the present state.
    pub(super) fn check_put(&self, put: &Put) -> Result<(), StoreError> {
        if put.lease != 0 && !self.leases.has(put.lease) {
            return Err(StoreError::LeaseNotFound);
        }
        if put.keeps() && self.index.latest(&put.key).is_none() {
            return Err(StoreError::KeyNotFound);
        }
        Ok(())
    }

    /// Deletes a key or a range of keys. Deleting nothing is no error, and makes no revision.
    ///
    /// # Errors
    /// [`StoreError::EmptyKey`], [`StoreError::Corrupt`].
    pub fn delete(&mut self, delete: &Delete) -> Result<DeleteReply, StoreError> {
        delete.validate()?;
        self.check_alarms(0)?;
        Ok(Write::new(self).delete(delete))
    }

    /// Grants a lease, at the time `now`. Returns its time-to-live.
    ///
    /// # Errors
    /// [`StoreError::LeaseNotFound`] for the ID 0, [`StoreError::LeaseExists`],
    /// [`StoreError::LeaseTtlTooLarge`], [`StoreError::NoSpace`], [`StoreError::Corrupt`].
    pub fn grant(&mut self, id: i64, ttl: i64, now: Duration) -> Result<i64, StoreError> {
        let cost = alarms::cost_of_lease();
        self.check_quota(cost)?;
        self.check_alarms(cost)?;
        self.leases.grant(id, ttl, now)
    }

    /// Renews a lease, at the time `now`. Returns its time-to-live.
    ///
    /// # Errors
    /// [`StoreError::LeaseNotFound`], also for a lease that has expired and was not removed yet.
    pub fn renew(&mut self, id: i64, now: Duration) -> Result<i64, StoreError> {
        self.leases.renew(id, now)
    }

    /// Revokes a lease, and deletes its keys at one revision, in their order.
    ///
    /// # Errors
    /// [`StoreError::LeaseNotFound`], [`StoreError::Corrupt`].
    pub fn revoke(&mut self, id: i64) -> Result<(), StoreError> {
        self.check_alarms(0)?;
        let keys = self.leases.remove(id).ok_or(StoreError::LeaseNotFound)?;
        let mut write = Write::new(self);
        for key in keys {
            write.delete(&Delete {
                range: KeyRange::single(key),
                prev_kv: false,
            });
        }
        Ok(())
    }

    /// Revokes the leases that have expired at the time `now`, each at a revision of its own. Returns
    /// their IDs, in the order of their expiry.
    pub fn expire(&mut self, now: Duration) -> Vec<i64> {
        let mut expired = self.leases.expired(now);
        // An alarm may forbid it.
        expired.retain(|id| self.revoke(*id).is_ok());
        expired
    }

    /// Returns a lease.
    #[must_use]
    pub fn lease(&self, id: i64) -> Option<&super::Lease> {
        self.leases.lease(id)
    }

    /// Returns the IDs of all leases, in the order of their expiry.
    pub fn leases(&self) -> impl Iterator<Item = i64> {
        self.leases.ids()
    }
}
