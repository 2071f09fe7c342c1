//! The requests about roles.

use etcdex_proto::etcdserverpb as pb;

use super::{AuthResponse, Permission, check_role, permission};
use crate::kv::{ResponseHeader, header, plain_request};
use crate::transport::Failure;

/// Adds a role without permissions.
///
/// Source: <https://etcd.io/docs/v3.6/op-guide/authentication/rbac/#working-with-roles>.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct AddRole {
    wire: pb::AuthRoleAddRequest,
}

impl AddRole {
    /// Returns a request that adds the role `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            wire: pb::AuthRoleAddRequest { name: name.into() },
        }
    }

    fn check(&self) -> Result<(), Failure> {
        check_role(&self.wire.name)
    }
}

plain_request! {
    AddRole: RoleAdd, repeatable: false, check: Self::check,
    |answer: pb::AuthRoleAddResponse| -> AuthResponse { AuthResponse::of(answer.header) }
}

/// Deletes a role, and revokes it from all users.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct DeleteRole {
    wire: pb::AuthRoleDeleteRequest,
}

impl DeleteRole {
    /// Returns a request that deletes the role `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            wire: pb::AuthRoleDeleteRequest { role: name.into() },
        }
    }

    fn check(&self) -> Result<(), Failure> {
        check_role(&self.wire.role)
    }
}

plain_request! {
    DeleteRole: RoleDelete, repeatable: false, check: Self::check,
    |answer: pb::AuthRoleDeleteResponse| -> AuthResponse { AuthResponse::of(answer.header) }
}

/// Asks for the permissions of a role.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct GetRole {
    wire: pb::AuthRoleGetRequest,
}

impl GetRole {
    /// Returns a request for the permissions of the role `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            wire: pb::AuthRoleGetRequest { role: name.into() },
        }
    }

    fn check(&self) -> Result<(), Failure> {
        check_role(&self.wire.role)
    }
}

/// The reply to a [`GetRole`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct GetRoleResponse {
    /// Member and cluster that answered.
    pub header: ResponseHeader,
    /// Permissions of the role, sorted by key and then by end of the range.
    pub permissions: Vec<Permission>,
}

plain_request! {
    GetRole: RoleGet, repeatable: true, check: Self::check,
    |answer: pb::AuthRoleGetResponse| -> GetRoleResponse {
        GetRoleResponse {
            header: header(answer.header),
            permissions: answer.perm.into_iter().map(permission::permission).collect(),
        }
    }
}

/// Lists all roles.
#[derive(Clone, Debug, Default)]
#[must_use = "a request does nothing until it is sent"]
pub struct ListRoles {
    wire: pb::AuthRoleListRequest,
}

impl ListRoles {
    /// Returns the request.
    pub fn new() -> Self {
        Self::default()
    }
}

/// The reply to a [`ListRoles`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ListRolesResponse {
    /// Member and cluster that answered.
    pub header: ResponseHeader,
    /// Names of all roles.
    pub roles: Vec<String>,
}

plain_request! {
    ListRoles: RoleList, repeatable: true,
    |answer: pb::AuthRoleListResponse| -> ListRolesResponse {
        ListRolesResponse { header: header(answer.header), roles: answer.roles }
    }
}
