//! PURE: the permissions that a whole request needs.
//!
//! Source: etcd, `server/etcdserver/apply/auth.go`, and the checks of leases in
//! `server/etcdserver/v3_server.go`.

use super::Store;
use super::alarms;
use super::error::StoreError;
use super::key_range::KeyRange;
use super::txn::{Operation, Txn};
use super::users::Caller;
use super::write::{Delete, Put};

impl Store {
    /// Refuses a request without a user, if the store asks for users.
    ///
    /// # Errors
    /// [`StoreError::UserEmpty`].
    pub fn check_user(&self, caller: Option<&Caller>) -> Result<(), StoreError> {
        match caller {
            None if self.is_auth_enabled() => Err(StoreError::UserEmpty),
            _ => Ok(()),
        }
    }

    /// Checks whether a caller may read keys.
    ///
    /// # Errors
    /// The errors of [`check_permission`](Self::check_permission).
    pub fn authorize_read(
        &self,
        caller: Option<&Caller>,
        range: &KeyRange,
    ) -> Result<(), StoreError> {
        self.check_permission(caller, range, false)
    }

    /// Checks whether a caller may do a put. A user may attach a key only to a lease of which the user may write all keys.
    ///
    /// # Errors
    /// The errors of [`check_permission`](Self::check_permission), and those of alarms.
    pub fn authorize_put(&self, caller: Option<&Caller>, put: &Put) -> Result<(), StoreError> {
        if !self.is_auth_enabled() {
            return Ok(());
        }
        // As in etcd, an alarm counts before the permission does.
        self.check_alarms(alarms::cost_of_put(put))?;
        let range = KeyRange::single(put.key.clone());
        self.check_permission(caller, &range, true)?;
        self.authorize_lease(caller, put.lease, true)?;
        match put.prev_kv {
            true => self.authorize_read(caller, &range),
            false => Ok(()),
        }
    }

    /// Checks whether a caller may do a deletion.
    ///
    /// # Errors
    /// The errors of [`check_permission`](Self::check_permission), and those of alarms.
    pub fn authorize_delete(
        &self,
        caller: Option<&Caller>,
        delete: &Delete,
    ) -> Result<(), StoreError> {
        if !self.is_auth_enabled() {
            return Ok(());
        }
        self.check_alarms(0)?;
        self.check_permission(caller, &delete.range, true)?;
        match delete.prev_kv {
            true => self.authorize_read(caller, &delete.range),
            false => Ok(()),
        }
    }

    /// Checks whether a caller may do all that a transaction names, also what will not be carried out.
    ///
    /// # Errors
    /// The errors of [`check_permission`](Self::check_permission), and those of alarms.
    pub fn authorize_txn(&self, caller: Option<&Caller>, txn: &Txn) -> Result<(), StoreError> {
        if !self.is_auth_enabled() {
            return Ok(());
        }
        if !txn.is_read_only() {
            self.check_alarms(alarms::cost_of_txn(txn))?;
        }
        self.authorize_branches(caller, txn)
    }

    fn authorize_branches(&self, caller: Option<&Caller>, txn: &Txn) -> Result<(), StoreError> {
        for compare in &txn.compares {
            self.authorize_read(caller, &compare.range)?;
        }
        for operation in txn.success.iter().chain(&txn.failure) {
            match operation {
                Operation::Range(query) => self.authorize_read(caller, &query.range)?,
                Operation::Put(put) => self.authorize_put(caller, put)?,
                Operation::Delete(delete) => self.authorize_delete(caller, delete)?,
                Operation::Txn(inner) => self.authorize_branches(caller, inner)?,
            }
        }
        Ok(())
    }

    /// Checks whether a caller may use all keys of a lease. A lease that there is not has none.
    ///
    /// # Errors
    /// The errors of [`check_permission`](Self::check_permission).
    pub fn authorize_lease(
        &self,
        caller: Option<&Caller>,
        lease: i64,
        is_write: bool,
    ) -> Result<(), StoreError> {
        if self.check_admin(caller).is_ok() {
            return Ok(());
        }
        let keys = self.lease(lease).into_iter().flat_map(super::Lease::keys);
        for key in keys {
            self.check_permission(caller, &KeyRange::single(key.clone()), is_write)?;
        }
        Ok(())
    }

    /// Checks whether a caller may revoke a lease: write all keys of it.
    ///
    /// # Errors
    /// The errors of [`check_permission`](Self::check_permission), and those of alarms.
    pub fn authorize_revoke(&self, caller: Option<&Caller>, lease: i64) -> Result<(), StoreError> {
        self.check_user(caller)?;
        self.check_alarms(0)?;
        self.authorize_lease(caller, lease, true)
    }
}
