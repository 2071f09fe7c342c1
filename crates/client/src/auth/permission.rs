//! Permissions, and the requests that grant and revoke them.

use bytes::Bytes;
use etcdex_proto::authpb;
use etcdex_proto::authpb::permission::Type;
use etcdex_proto::etcdserverpb as pb;

use super::{AuthResponse, check_role};
use crate::call::Request;
use crate::debug::{byte_length, debug_fields};
use crate::error::Error;
use crate::key::{Key, KeyRange, Namespace};
use crate::kv::{Selection, decode, range_options, refuse};
use crate::method::Method;
use crate::transport::{Failure, frame};

/// The kind of access that a permission gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PermissionType {
    /// Getting and watching keys.
    Read,
    /// Putting and deleting keys.
    Write,
    /// Both `Read` and `Write`.
    ReadWrite,
    /// A kind of a newer server, with its number on the wire.
    Other(i32),
}

impl PermissionType {
    fn of(number: i32) -> Self {
        match Type::try_from(number) {
            Ok(Type::Read) => Self::Read,
            Ok(Type::Write) => Self::Write,
            Ok(Type::Readwrite) => Self::ReadWrite,
            Err(_) => Self::Other(number),
        }
    }

    fn number(self) -> i32 {
        match self {
            Self::Read => Type::Read as i32,
            Self::Write => Type::Write as i32,
            Self::ReadWrite => Type::Readwrite as i32,
            Self::Other(number) => number,
        }
    }
}

/// A permission of a role, byte for byte as etcd stores it.
///
/// [`read`](Self::read), [`write`](Self::write) and [`read_write`](Self::read_write) return one.
///
/// A [namespace](crate::Client::namespace) is not applied: the keys are those of the whole store. `Debug` shows their lengths, not their bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Permission {
    /// Kind of access.
    pub permission_type: PermissionType,
    /// Key, or first key of the range.
    pub key: Bytes,
    /// End of the range, exclusive. Empty for the single `key`; the byte 0 for no end. For all
    /// keys, `key` and `range_end` are both the byte 0.
    pub range_end: Bytes,
}

impl Permission {
    /// Returns a permission for one key. Options such as [`prefix`](Self::prefix) extend it to a
    /// range.
    pub fn new(permission_type: PermissionType, key: impl Into<Key>) -> Self {
        let range = KeyRange::single(key.into().into_bytes());
        Self {
            permission_type,
            key: range.start,
            range_end: range.end,
        }
    }

    /// Returns a permission to get and watch one key, or with options a range.
    pub fn read(key: impl Into<Key>) -> Self {
        Self::new(PermissionType::Read, key)
    }

    /// Returns a permission to put and delete one key, or with options a range.
    pub fn write(key: impl Into<Key>) -> Self {
        Self::new(PermissionType::Write, key)
    }

    /// Returns a permission to get, watch, put and delete one key, or with options a range.
    pub fn read_write(key: impl Into<Key>) -> Self {
        Self::new(PermissionType::ReadWrite, key)
    }

    /// Selects the keys from the given key up to `end`, exclusive. If several range options are
    /// given, the last one counts.
    #[must_use]
    pub fn range_end(mut self, end: impl Into<Key>) -> Self {
        self.range_end = end.into().into_bytes();
        self
    }

    /// Selects the keys that start with the given key. An empty key selects all keys.
    #[must_use]
    pub fn prefix(self) -> Self {
        let range = KeyRange::prefix(self.key.clone());
        self.over(range)
    }

    /// Selects the keys that are greater than or equal to the given key.
    #[must_use]
    pub fn from_key(self) -> Self {
        let range = KeyRange::from_key(self.key.clone());
        self.over(range)
    }

    /// Selects all keys, regardless of the given key.
    #[must_use]
    pub fn all_keys(self) -> Self {
        self.over(KeyRange::all())
    }

    fn over(self, range: KeyRange) -> Self {
        Self {
            key: range.start,
            range_end: range.end,
            ..self
        }
    }
}

debug_fields! { Permission |permission| {
    permission_type: permission.permission_type, key: byte_length(&permission.key),
    range_end: byte_length(&permission.range_end),
} }

pub(super) fn permission(permission: authpb::Permission) -> Permission {
    Permission {
        permission_type: PermissionType::of(permission.perm_type),
        key: permission.key,
        range_end: permission.range_end,
    }
}

/// Grants a [`Permission`] to a role.
///
/// If the role has a permission for the same range, the new permission replaces it.
///
/// A [namespace](crate::Client::namespace) is not applied: the permissions of a role must not
/// depend on the handle that grants them.
///
/// ```no_run
/// # async fn example(client: etcdex::Client) -> Result<(), etcdex::Error> {
/// use etcdex::auth::Permission;
///
/// let auth = client.auth();
/// auth.grant_permission("jobs", Permission::read_write("jobs/").prefix()).await?;
/// # Ok(())
/// # }
/// ```
///
/// Source: <https://etcd.io/docs/v3.6/op-guide/authentication/rbac/#working-with-roles>.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct GrantPermission {
    role: String,
    permission: Permission,
}

impl GrantPermission {
    /// Returns a request that grants the permission to `role`. The permission may also be one of
    /// another role's [`GetRoleResponse`](super::GetRoleResponse).
    pub fn new(role: impl Into<String>, permission: Permission) -> Self {
        Self {
            role: role.into(),
            permission,
        }
    }
}

impl Request for GrantPermission {
    type Reply = AuthResponse;

    fn method(&self) -> Method {
        Method::RoleGrantPermission
    }

    fn is_repeatable(&self) -> bool {
        false
    }

    fn encode(&self, _: Option<&Namespace>, limit: usize) -> Result<Bytes, Failure> {
        check_role(&self.role)?;
        let permission = &self.permission;
        if permission.key.is_empty() {
            return Err(refuse(
                "the key of the permission is empty; etcd has no empty keys",
            ));
        }
        let message = pb::AuthRoleGrantPermissionRequest {
            name: self.role.clone(),
            perm: Some(authpb::Permission {
                perm_type: permission.permission_type.number(),
                key: permission.key.clone(),
                range_end: permission.range_end.clone(),
            }),
        };
        frame(&message, limit)
    }

    fn decode(&self, reply: Bytes, _: Option<&Namespace>) -> Result<AuthResponse, Error> {
        let answer: pb::AuthRoleGrantPermissionResponse = decode(reply)?;
        Ok(AuthResponse::of(answer.header))
    }
}

/// Revokes the permission for a key, or with options for a range, from a role.
///
/// The range must be exactly the granted one: etcd does not revoke a part of a range. A
/// [namespace](crate::Client::namespace) is not applied.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct RevokePermission {
    role: String,
    key: Key,
    selection: Selection,
}

impl RevokePermission {
    /// Returns a request that revokes the permission of `role` for one key. Options such as
    /// [`prefix`](Self::prefix) extend it to a range.
    pub fn new(role: impl Into<String>, key: impl Into<Key>) -> Self {
        Self {
            role: role.into(),
            key: key.into(),
            selection: Selection::default(),
        }
    }
}

range_options! { RevokePermission }

impl Request for RevokePermission {
    type Reply = AuthResponse;

    fn method(&self) -> Method {
        Method::RoleRevokePermission
    }

    fn is_repeatable(&self) -> bool {
        false
    }

    fn encode(&self, _: Option<&Namespace>, limit: usize) -> Result<Bytes, Failure> {
        let range = range(&self.role, &self.key, &self.selection)?;
        let message = pb::AuthRoleRevokePermissionRequest {
            role: self.role.clone(),
            key: range.start,
            range_end: range.end,
        };
        frame(&message, limit)
    }

    fn decode(&self, reply: Bytes, _: Option<&Namespace>) -> Result<AuthResponse, Error> {
        let answer: pb::AuthRoleRevokePermissionResponse = decode(reply)?;
        Ok(AuthResponse::of(answer.header))
    }
}

/// Returns the range of a permission, without a namespace.
fn range(role: &str, key: &Key, selection: &Selection) -> Result<KeyRange, Failure> {
    check_role(role)?;
    selection.range(&key.clone().into_bytes(), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_of_a_newer_server_is_kept() {
        for number in -1..6 {
            assert_eq!(PermissionType::of(number).number(), number);
        }
        assert_eq!(PermissionType::of(2), PermissionType::ReadWrite);
        assert_eq!(PermissionType::of(3), PermissionType::Other(3));
    }
}
