//! Users: a name, a password, and roles.

use etcdex_proto::authpb::UserAddOptions;
use etcdex_proto::etcdserverpb as pb;

use super::{AuthResponse, check_role, check_user};
use crate::call::options;
use crate::kv::{ResponseHeader, header, plain_request, refuse};
use crate::transport::Failure;

/// Adds a user without roles. `Debug` does not show the password.
///
/// Source: <https://etcd.io/docs/v3.6/op-guide/authentication/rbac/#working-with-users>.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct AddUser {
    wire: pb::AuthUserAddRequest,
}

impl AddUser {
    /// Returns a request that adds the user `name`, who logs in with `password`.
    pub fn new(name: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            wire: pb::AuthUserAddRequest {
                name: name.into(),
                password: password.into(),
                options: Some(UserAddOptions { no_password: false }),
                ..pb::AuthUserAddRequest::default()
            },
        }
    }

    fn check(&self) -> Result<(), Failure> {
        check_user(&self.wire.name)?;
        let without = self.wire.options.is_some_and(|options| options.no_password);
        if without && !self.wire.password.is_empty() {
            return Err(refuse(
                "no_password is for a user without a password, and a password is given: give an \
                 empty one",
            ));
        }
        Ok(())
    }
}

options! { AddUser {
    /// Adds the user without a password. Such a user logs in only by the name in a client
    /// certificate (`--client-cert-auth`). The given password must be empty.
    fn no_password(mut self) {
        self.wire.options = Some(UserAddOptions { no_password: true });
    }
} }

plain_request! {
    AddUser: UserAdd, repeatable: false, check: Self::check,
    |answer: pb::AuthUserAddResponse| -> AuthResponse { AuthResponse::of(answer.header) }
}

/// Deletes a user.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct DeleteUser {
    wire: pb::AuthUserDeleteRequest,
}

impl DeleteUser {
    /// Returns a request that deletes the user `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            wire: pb::AuthUserDeleteRequest { name: name.into() },
        }
    }

    fn check(&self) -> Result<(), Failure> {
        check_user(&self.wire.name)
    }
}

plain_request! {
    DeleteUser: UserDelete, repeatable: false, check: Self::check,
    |answer: pb::AuthUserDeleteResponse| -> AuthResponse { AuthResponse::of(answer.header) }
}

/// Asks for the roles of a user.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct GetUser {
    wire: pb::AuthUserGetRequest,
}

impl GetUser {
    /// Returns a request for the roles of the user `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            wire: pb::AuthUserGetRequest { name: name.into() },
        }
    }

    fn check(&self) -> Result<(), Failure> {
        check_user(&self.wire.name)
    }
}

/// The reply to a [`GetUser`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct GetUserResponse {
    /// Member and cluster that answered.
    pub header: ResponseHeader,
    /// Names of the user's roles.
    pub roles: Vec<String>,
}

plain_request! {
    GetUser: UserGet, repeatable: true, check: Self::check,
    |answer: pb::AuthUserGetResponse| -> GetUserResponse {
        GetUserResponse { header: header(answer.header), roles: answer.roles }
    }
}

/// Lists all users.
#[derive(Clone, Debug, Default)]
#[must_use = "a request does nothing until it is sent"]
pub struct ListUsers {
    wire: pb::AuthUserListRequest,
}

impl ListUsers {
    /// Returns the request.
    pub fn new() -> Self {
        Self::default()
    }
}

/// The reply to a [`ListUsers`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ListUsersResponse {
    /// Member and cluster that answered.
    pub header: ResponseHeader,
    /// Names of all users.
    pub users: Vec<String>,
}

plain_request! {
    ListUsers: UserList, repeatable: true,
    |answer: pb::AuthUserListResponse| -> ListUsersResponse {
        ListUsersResponse { header: header(answer.header), users: answer.users }
    }
}

/// Changes the password of a user. `Debug` does not show the password.
///
/// The server no longer accepts tokens that the user got with the old password.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct ChangePassword {
    wire: pb::AuthUserChangePasswordRequest,
}

impl ChangePassword {
    /// Returns a request that sets the password of the user `name`.
    pub fn new(name: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            wire: pb::AuthUserChangePasswordRequest {
                name: name.into(),
                password: password.into(),
                ..pb::AuthUserChangePasswordRequest::default()
            },
        }
    }

    /// Returns a request that sets the password of the user `name` by its bcrypt hash, so that the
    /// sender need not know the password. `hash` is the base64 of the hash (`$2a$10$...`), as in
    /// etcd's API.
    ///
    /// The request needs etcd 3.5 or later. **etcd 3.4 does not know the field and sets an empty
    /// password**: ask [`status`](crate::maintenance::Maintenance::status) for the version first.
    ///
    /// [`AddUser`] has no such form, because servers of all versions discard a hash there and
    /// set an empty password. Add the user with a random password, then call this.
    ///
    /// Source: etcd's `server/etcdserver/v3_server.go` (`UserAdd`, `UserChangePassword`).
    pub fn hashed(name: impl Into<String>, hash: impl Into<String>) -> Self {
        Self {
            wire: pb::AuthUserChangePasswordRequest {
                name: name.into(),
                hashed_password: hash.into(),
                ..pb::AuthUserChangePasswordRequest::default()
            },
        }
    }

    fn check(&self) -> Result<(), Failure> {
        check_user(&self.wire.name)
    }
}

plain_request! {
    ChangePassword: UserChangePassword, repeatable: false, check: Self::check,
    |answer: pb::AuthUserChangePasswordResponse| -> AuthResponse {
        AuthResponse::of(answer.header)
    }
}

/// Grants a role to a user. Granting a role that the user has is not an error.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct GrantRole {
    wire: pb::AuthUserGrantRoleRequest,
}

impl GrantRole {
    /// Returns a request that grants `role` to `user`.
    pub fn new(user: impl Into<String>, role: impl Into<String>) -> Self {
        Self {
            wire: pb::AuthUserGrantRoleRequest {
                user: user.into(),
                role: role.into(),
            },
        }
    }

    fn check(&self) -> Result<(), Failure> {
        check_user(&self.wire.user)?;
        check_role(&self.wire.role)
    }
}

plain_request! {
    GrantRole: UserGrantRole, repeatable: false, check: Self::check,
    |answer: pb::AuthUserGrantRoleResponse| -> AuthResponse { AuthResponse::of(answer.header) }
}

/// Revokes a role from a user.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct RevokeRole {
    wire: pb::AuthUserRevokeRoleRequest,
}

impl RevokeRole {
    /// Returns a request that revokes `role` from `user`.
    pub fn new(user: impl Into<String>, role: impl Into<String>) -> Self {
        Self {
            wire: pb::AuthUserRevokeRoleRequest {
                name: user.into(),
                role: role.into(),
            },
        }
    }

    fn check(&self) -> Result<(), Failure> {
        check_user(&self.wire.name)?;
        check_role(&self.wire.role)
    }
}

plain_request! {
    RevokeRole: UserRevokeRole, repeatable: false, check: Self::check,
    |answer: pb::AuthUserRevokeRoleResponse| -> AuthResponse { AuthResponse::of(answer.header) }
}
