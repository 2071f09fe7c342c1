//! PURE: users, their roles, and the permissions of roles.
//!
//! The store keeps the hash of a password as it is given, and does not know how it was made. Each change
//! of users and roles makes a revision of its own, which is not the store's: a token is valid for
//! the revision at which it was given.
//!
//! Source: etcd, `server/auth/store.go` and `range_perm_cache.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;

use super::Store;
use super::error::StoreError;
use super::key_range::KeyRange;
use super::key_set::KeySet;

/// The user and the role that may do everything.
const ROOT: &str = "root";

/// The hash of a password. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub Bytes);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash")
    }
}

/// The use of keys that a permission allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PermissionKind {
    /// Reads.
    Read,
    /// Puts and deletions.
    Write,
    /// Both.
    ReadWrite,
    /// A kind that etcd does not know, by its number. It is kept, and allows nothing.
    Unknown(i32),
}

/// A permission of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The first key.
    pub key: Bytes,
    /// The end, as in a request: empty for the key alone, a NUL byte for all keys from there on.
    pub range_end: Bytes,
    /// The use that is allowed.
    pub kind: PermissionKind,
}

/// The caller of a request, as the token of the request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The name of the user.
    pub user: String,
    /// The revision of the users when the token was given.
    pub revision: u64,
}

#[derive(Debug, Default)]
struct User {
    /// `None` for a user without a password, who cannot log in by one.
    password: Option<PasswordHash>,
    roles: BTreeSet<String>,
    /// The keys that the roles allow to read and to write.
    read: KeySet,
    write: KeySet,
}

/// The users and roles of a store.
#[derive(Debug)]
pub(super) struct Users {
    is_enabled: bool,
    revision: u64,
    users: BTreeMap<String, User>,
    /// The permissions of each role, in the order of their first keys.
    roles: BTreeMap<String, Vec<Permission>>,
}

impl Default for Users {
    fn default() -> Self {
        Self {
            is_enabled: false,
            // 0 stands for no user.
            revision: 1,
            users: BTreeMap::new(),
            roles: BTreeMap::new(),
        }
    }
}

impl Permission {
    fn range(&self) -> KeyRange {
        KeyRange::new(self.key.clone(), self.range_end.clone())
    }

    fn is_valid(&self) -> bool {
        !self.key.is_empty() && !self.range().is_empty()
    }
}

impl Users {
    fn user(&self, name: &str) -> Result<&User, StoreError> {
        self.users.get(name).ok_or(StoreError::UserNotFound)
    }

    fn user_mut(&mut self, name: &str) -> Result<&mut User, StoreError> {
        self.users.get_mut(name).ok_or(StoreError::UserNotFound)
    }

    fn role_mut(&mut self, name: &str) -> Result<&mut Vec<Permission>, StoreError> {
        self.roles.get_mut(name).ok_or(StoreError::RoleNotFound)
    }

    /// Begins the next revision, and merges the permissions of each user.
    fn changed(&mut self) {
        self.revision += 1;
        for user in self.users.values_mut() {
            (user.read, user.write) = (KeySet::default(), KeySet::default());
            let roles = user.roles.iter().filter_map(|role| self.roles.get(role));
            for permission in roles.flatten() {
                use PermissionKind::{Read, ReadWrite, Write};
                let range = permission.range();
                if matches!(permission.kind, Read | ReadWrite) {
                    user.read.insert(&range);
                }
                if matches!(permission.kind, Write | ReadWrite) {
                    user.write.insert(&range);
                }
            }
        }
    }
}

impl Store {
    /// Whether the store asks for users.
    #[must_use]
    pub fn is_auth_enabled(&self) -> bool {
        self.users.is_enabled
    }

    /// Returns the revision of users and roles.
    #[must_use]
    pub fn auth_revision(&self) -> u64 {
        self.users.revision
    }

    /// Asks for users from now on.
    ///
    /// # Errors
    /// [`StoreError::RootUserNotFound`], [`StoreError::RootRoleNotGranted`].
    pub fn enable_auth(&mut self) -> Result<(), StoreError> {
        if self.users.is_enabled {
            return Ok(());
        }
        let root = self.users.users.get(ROOT);
        let root = root.ok_or(StoreError::RootUserNotFound)?;
        if !root.roles.contains(ROOT) {
            return Err(StoreError::RootRoleNotGranted);
        }
        self.users.is_enabled = true;
        Ok(())
    }

    /// Asks for no users from now on.
    pub fn disable_auth(&mut self) {
        if self.users.is_enabled {
            self.users.is_enabled = false;
            self.users.changed();
        }
    }

    /// Adds a user without roles; `None` for one who cannot log in by a password.
    ///
    /// # Errors
    /// [`StoreError::UserEmpty`], [`StoreError::UserExists`].
    pub fn add_user(
        &mut self,
        name: &str,
        password: Option<PasswordHash>,
    ) -> Result<(), StoreError> {
        if name.is_empty() {
            return Err(StoreError::UserEmpty);
        }
        if self.users.users.contains_key(name) {
            return Err(StoreError::UserExists);
        }
        let user = User {
            password,
            ..User::default()
        };
        self.users.users.insert(name.to_owned(), user);
        self.users.changed();
        Ok(())
    }

    /// Deletes a user.
    ///
    /// # Errors
    /// [`StoreError::InvalidAuthManagement`] for `root` while users are asked for,
    /// [`StoreError::UserNotFound`].
    pub fn delete_user(&mut self, name: &str) -> Result<(), StoreError> {
        if self.users.is_enabled && name == ROOT {
            return Err(StoreError::InvalidAuthManagement);
        }
        self.users.user(name)?;
        self.users.users.remove(name);
        self.users.changed();
        Ok(())
    }

    /// Returns the roles of a user, in their order.
    ///
    /// # Errors
    /// [`StoreError::UserNotFound`].
    pub fn user_roles(&self, name: &str) -> Result<impl Iterator<Item = &str>, StoreError> {
        Ok(self.users.user(name)?.roles.iter().map(String::as_str))
    }

    /// Returns the names of all users, in their order.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.users.users.keys().map(String::as_str)
    }

    /// Returns the hash of a user's password, for a login; `None` for a user without one.
    ///
    /// # Errors
    /// [`StoreError::AuthNotEnabled`], and [`StoreError::AuthFailed`] if there is no such user.
    pub fn password(&self, name: &str) -> Result<Option<&PasswordHash>, StoreError> {
        if !self.users.is_enabled {
            return Err(StoreError::AuthNotEnabled);
        }
        let user = self.users.users.get(name).ok_or(StoreError::AuthFailed)?;
        Ok(user.password.as_ref())
    }

    /// Whether a user has a password.
    ///
    /// # Errors
    /// [`StoreError::UserNotFound`].
    pub fn has_password(&self, name: &str) -> Result<bool, StoreError> {
        Ok(self.users.user(name)?.password.is_some())
    }

    /// Replaces a user's password. A user without one stays without.
    ///
    /// # Errors
    /// [`StoreError::UserNotFound`].
    pub fn change_password(&mut self, name: &str, new: PasswordHash) -> Result<(), StoreError> {
        let user = self.users.user_mut(name)?;
        if let Some(password) = &mut user.password {
            *password = new;
        }
        self.users.changed();
        Ok(())
    }

    /// Grants a role to a user. One that the user has changes nothing.
    ///
    /// # Errors
    /// [`StoreError::UserNotFound`], [`StoreError::RoleNotFound`]. The role `root` need not exist.
    pub fn grant_role(&mut self, user: &str, role: &str) -> Result<(), StoreError> {
        let exists = role == ROOT || self.users.roles.contains_key(role);
        let user = self.users.user_mut(user)?;
        if !exists {
            return Err(StoreError::RoleNotFound);
        }
        if user.roles.insert(role.to_owned()) {
            self.users.changed();
        }
        Ok(())
    }

    /// Revokes a role from a user.
    ///
    /// # Errors
    /// [`StoreError::InvalidAuthManagement`] for the role `root` of `root` while users are asked for,
    /// [`StoreError::UserNotFound`], [`StoreError::RoleNotGranted`].
    pub fn revoke_role(&mut self, user: &str, role: &str) -> Result<(), StoreError> {
        if self.users.is_enabled && user == ROOT && role == ROOT {
            return Err(StoreError::InvalidAuthManagement);
        }
        if !self.users.user_mut(user)?.roles.remove(role) {
            return Err(StoreError::RoleNotGranted);
        }
        self.users.changed();
        Ok(())
    }

    /// Adds a role without permissions.
    ///
    /// # Errors
    /// [`StoreError::RoleEmpty`], [`StoreError::RoleExists`].
    pub fn add_role(&mut self, name: &str) -> Result<(), StoreError> {
        if name.is_empty() {
            return Err(StoreError::RoleEmpty);
        }
        if self.users.roles.contains_key(name) {
            return Err(StoreError::RoleExists);
        }
        self.users.roles.insert(name.to_owned(), Vec::new());
        self.users.changed();
        Ok(())
    }

    /// Deletes a role, and revokes it from all users.
    ///
    /// # Errors
    /// [`StoreError::InvalidAuthManagement`] for `root` while users are asked for,
    /// [`StoreError::RoleNotFound`].
    pub fn delete_role(&mut self, name: &str) -> Result<(), StoreError> {
        if self.users.is_enabled && name == ROOT {
            return Err(StoreError::InvalidAuthManagement);
        }
        self.users.role_mut(name)?;
        self.users.roles.remove(name);
        for user in self.users.users.values_mut() {
            user.roles.remove(name);
        }
        self.users.changed();
        Ok(())
    }

    /// Returns the permissions of a role, in the order of their keys. The role `root` has the one for
    /// all keys, whatever was granted to it.
    ///
    /// # Errors
    /// [`StoreError::RoleNotFound`].
    pub fn role_permissions(&self, name: &str) -> Result<Vec<Permission>, StoreError> {
        let permissions = self.users.roles.get(name);
        let permissions = permissions.ok_or(StoreError::RoleNotFound)?;
        if name == ROOT {
            return Ok(vec![Permission {
                key: Bytes::new(),
                range_end: Bytes::from_static(b"\0"),
                kind: PermissionKind::ReadWrite,
            }]);
        }
        Ok(permissions.clone())
    }

    /// Returns the names of all roles, in their order.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.users.roles.keys().map(String::as_str)
    }

    /// Grants a permission to a role, instead of the one for the same range if there is one.
    ///
    /// # Errors
    /// [`StoreError::InvalidAuthManagement`] for a range without keys, [`StoreError::RoleNotFound`].
    pub fn grant_permission(
        &mut self,
        role: &str,
        permission: Permission,
    ) -> Result<(), StoreError> {
        if !permission.is_valid() {
            return Err(StoreError::InvalidAuthManagement);
        }
        let all = self.users.role_mut(role)?;
        let first = all.partition_point(|one| one.key < permission.key);
        // etcd looks only at the first permission of the key.
        match all.get_mut(first) {
            Some(one) if one.key == permission.key && one.range_end == permission.range_end => {
                one.kind = permission.kind;
            }
            _ => {
                let end = all.partition_point(|one| one.key <= permission.key);
                all.insert(end, permission);
            }
        }
        self.users.changed();
        Ok(())
    }

    /// Revokes the permissions for a range from a role.
    ///
    /// # Errors
    /// [`StoreError::RoleNotFound`], [`StoreError::PermissionNotGranted`].
    pub fn revoke_permission(
        &mut self,
        role: &str,
        key: &[u8],
        range_end: &[u8],
    ) -> Result<(), StoreError> {
        let all = self.users.role_mut(role)?;
        let before = all.len();
        all.retain(|one| one.key != key || one.range_end != range_end);
        if all.len() == before {
            return Err(StoreError::PermissionNotGranted);
        }
        self.users.changed();
        Ok(())
    }

    /// Checks whether a caller may use keys. Everybody may if the store asks for no users.
    ///
    /// # Errors
    /// [`StoreError::UserEmpty`] without a caller, [`StoreError::AuthOldRevision`] if users have changed
    /// since the caller's token was given, [`StoreError::PermissionDenied`].
    pub fn check_permission(
        &self,
        caller: Option<&Caller>,
        range: &KeyRange,
        is_write: bool,
    ) -> Result<(), StoreError> {
        if !self.users.is_enabled {
            return Ok(());
        }
        let caller = caller.ok_or(StoreError::UserEmpty)?;
        if caller.revision < self.users.revision {
            return Err(StoreError::AuthOldRevision);
        }
        let user = self.users.users.get(&caller.user);
        let user = user.ok_or(StoreError::PermissionDenied)?;
        let keys = if is_write { &user.write } else { &user.read };
        match user.roles.contains(ROOT) || keys.covers(range) {
            true => Ok(()),
            false => Err(StoreError::PermissionDenied),
        }
    }

    /// Checks whether a caller may change users, roles and the cluster.
    ///
    /// # Errors
    /// [`StoreError::UserEmpty`], [`StoreError::UserNotFound`], [`StoreError::PermissionDenied`].
    pub fn check_admin(&self, caller: Option<&Caller>) -> Result<(), StoreError> {
        if !self.users.is_enabled {
            return Ok(());
        }
        // A certificate may have no name.
        let caller = caller.filter(|caller| !caller.user.is_empty());
        let caller = caller.ok_or(StoreError::UserEmpty)?;
        match self.users.user(&caller.user)?.roles.contains(ROOT) {
            true => Ok(()),
            false => Err(StoreError::PermissionDenied),
        }
    }
}
