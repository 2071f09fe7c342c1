//! What a role may do, and changes of it.

use std::fmt;

use bytes::Bytes;
use etcdex_proto::authpb;
use etcdex_proto::authpb::permission::Type;
use etcdex_proto::etcdserverpb as pb;

use super::{AuthResponse, check_role};
use crate::call::Request;
use crate::call::wire::Wire;
use crate::error::Error;
use crate::key::{Key, KeyRange, Namespace};
use crate::kv::{Selection, decode, range_options};
use crate::method::Method;
use crate::transport::{Failure, frame};

/// What a permission lets do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PermissionType {
    /// Reading and watching.
    Read,
    /// Putting and deleting.
    Write,
    /// Both.
    ReadWrite,
    /// What a newer server calls by this number.
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

/// One permission of a role, byte for byte as etcd keeps it.
///
/// The keys are those of the whole store, also on a handle with a
/// [namespace](crate::Client::namespace). `Debug` shows their lengths, not their bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Permission {
    /// What it lets do.
    pub permission_type: PermissionType,
    /// The key, or the first key of the range.
    pub key: Bytes,
    /// Where the range ends: empty for the single `key`, the byte 0 for no end, else the first
    /// key that is no longer in it. All keys are those from the byte 0 on without an end.
    pub range_end: Bytes,
}

impl fmt::Debug for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permission")
            .field("permission_type", &self.permission_type)
            .field("key", &format_args!("{} bytes", self.key.len()))
            .field("range_end", &format_args!("{} bytes", self.range_end.len()))
            .finish()
    }
}

pub(super) fn permission(permission: authpb::Permission) -> Permission {
    Permission {
        permission_type: PermissionType::of(permission.perm_type),
        key: permission.key,
        range_end: permission.range_end,
    }
}

/// Lets a role read or write a key, or with options a range.
///
/// For a range that the role has a permission for already, the new type takes the place of the
/// old one.
///
/// The keys are those of the whole store: a [namespace](crate::Client::namespace) is not put in
/// front of them, as what a role may do must not depend on who grants it.
///
/// Source: <https://etcd.io/docs/v3.6/op-guide/authentication/rbac/#working-with-roles>.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct RoleGrantPermission {
    role: String,
    permission_type: PermissionType,
    key: Key,
    selection: Selection,
}

impl RoleGrantPermission {
    /// Lets `role` read or write one key; options make it a range.
    pub fn new(
        role: impl Into<String>,
        permission_type: PermissionType,
        key: impl Into<Key>,
    ) -> Self {
        Self {
            role: role.into(),
            permission_type,
            key: key.into(),
            selection: Selection::default(),
        }
    }
}

range_options! { RoleGrantPermission }

impl Request for RoleGrantPermission {
    type Reply = AuthResponse;
}

#[allow(private_interfaces)]
impl Wire for RoleGrantPermission {
    type Answer = AuthResponse;

    fn method(&self) -> Method {
        Method::RoleGrantPermission
    }

    fn is_repeatable(&self) -> bool {
        false
    }

    fn encode(&self, _: Option<&Namespace>, limit: usize) -> Result<Bytes, Failure> {
        let range = range(&self.role, &self.key, &self.selection)?;
        let message = pb::AuthRoleGrantPermissionRequest {
            name: self.role.clone(),
            perm: Some(authpb::Permission {
                perm_type: self.permission_type.number(),
                key: range.start,
                range_end: range.end,
            }),
        };
        frame(&message, limit)
    }

    fn decode(&self, reply: Bytes, _: Option<&Namespace>) -> Result<AuthResponse, Error> {
        let answer: pb::AuthRoleGrantPermissionResponse = decode(reply)?;
        Ok(AuthResponse::of(answer.header))
    }
}

/// Takes the permission of a key, or with options of a range, from a role.
///
/// The range has to be exactly the one that was granted; etcd does not take a part of it. The
/// keys are those of the whole store, whatever the namespace.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct RoleRevokePermission {
    role: String,
    key: Key,
    selection: Selection,
}

impl RoleRevokePermission {
    /// Takes what `role` may do with one key; options make it a range.
    pub fn new(role: impl Into<String>, key: impl Into<Key>) -> Self {
        Self {
            role: role.into(),
            key: key.into(),
            selection: Selection::default(),
        }
    }
}

range_options! { RoleRevokePermission }

impl Request for RoleRevokePermission {
    type Reply = AuthResponse;
}

#[allow(private_interfaces)]
impl Wire for RoleRevokePermission {
    type Answer = AuthResponse;

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

/// The range of real keys that a permission is about.
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
