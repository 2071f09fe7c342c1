//! The requests about roles.

use etcdex_proto::etcdserverpb as pb;

use super::{AuthResponse, Permission, check_role, permission};
use crate::kv::{ResponseHeader, header, plain_request};

plain_request! {
    /// Adds a role without permissions.
    ///
    /// Source: <https://etcd.io/docs/v3.6/op-guide/authentication/rbac/#working-with-roles>.
    pub struct AddRole(pb::AuthRoleAddRequest): RoleAdd, repeatable: false,
    check: |wire| check_role(&wire.name),
    |answer: pb::AuthRoleAddResponse| -> AuthResponse { AuthResponse::of(answer.header) }
}

impl AddRole {
    /// Returns a request that adds the role `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            wire: pb::AuthRoleAddRequest { name: name.into() },
        }
    }
}

plain_request! {
    /// Deletes a role, and revokes it from all users.
    pub struct DeleteRole(pb::AuthRoleDeleteRequest): RoleDelete, repeatable: false,
    check: |wire| check_role(&wire.role),
    |answer: pb::AuthRoleDeleteResponse| -> AuthResponse { AuthResponse::of(answer.header) }
}

impl DeleteRole {
    /// Returns a request that deletes the role `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            wire: pb::AuthRoleDeleteRequest { role: name.into() },
        }
    }
}

plain_request! {
    /// Asks for the permissions of a role.
    pub struct GetRole(pb::AuthRoleGetRequest): RoleGet, repeatable: true,
    check: |wire| check_role(&wire.role),
    |answer: pb::AuthRoleGetResponse| -> GetRoleResponse {
        GetRoleResponse {
            header: header(answer.header),
            permissions: answer.perm.into_iter().map(permission::permission).collect(),
        }
    }
}

impl GetRole {
    /// Returns a request for the permissions of the role `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            wire: pb::AuthRoleGetRequest { role: name.into() },
        }
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
    /// Lists all roles.
    pub struct ListRoles(pb::AuthRoleListRequest, empty): RoleList, repeatable: true,
    |answer: pb::AuthRoleListResponse| -> ListRolesResponse {
        ListRolesResponse { header: header(answer.header), roles: answer.roles }
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
