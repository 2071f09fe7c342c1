//! Users: a name, a password, and roles.

use etcdex_proto::authpb::UserAddOptions;
use etcdex_proto::etcdserverpb as pb;

use super::{AuthResponse, check_role, check_user};
use crate::call::options;
use crate::kv::{ResponseHeader, header, plain_request, refuse};

plain_request! {
    /// Adds a user without roles. `Debug` does not show the password.
    ///
    /// Source: <https://etcd.io/docs/v3.6/op-guide/authentication/rbac/#working-with-users>.
    pub struct AddUser(pb::AuthUserAddRequest): UserAdd, repeatable: false,
    check: |wire| {
        check_user(&wire.name)?;
        let without = wire.options.is_some_and(|options| options.no_password);
        if without && !wire.password.is_empty() {
            return Err(refuse(
                "no_password is for a user without a password, and a password is given: give an \
                 empty one",
            ));
        }
        Ok(())
    },
    |answer: pb::AuthUserAddResponse| -> AuthResponse { AuthResponse::of(answer.header) }
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
}

options! { AddUser {
    /// Adds the user without a password. Such a user logs in only by the name in a client
    /// certificate (`--client-cert-auth`). The given password must be empty.
    fn no_password(mut self) {
        self.wire.options = Some(UserAddOptions { no_password: true });
    }
} }

plain_request! {
    /// Deletes a user.
    pub struct DeleteUser(pb::AuthUserDeleteRequest): UserDelete, repeatable: false,
    check: |wire| check_user(&wire.name),
    |answer: pb::AuthUserDeleteResponse| -> AuthResponse { AuthResponse::of(answer.header) }
}

impl DeleteUser {
    /// Returns a request that deletes the user `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            wire: pb::AuthUserDeleteRequest { name: name.into() },
        }
    }
}

plain_request! {
    /// Asks for the roles of a user.
    pub struct GetUser(pb::AuthUserGetRequest): UserGet, repeatable: true,
    check: |wire| check_user(&wire.name),
    |answer: pb::AuthUserGetResponse| -> GetUserResponse {
        GetUserResponse { header: header(answer.header), roles: answer.roles }
    }
}

impl GetUser {
    /// Returns a request for the roles of the user `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            wire: pb::AuthUserGetRequest { name: name.into() },
        }
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
    /// Lists all users.
    pub struct ListUsers(pb::AuthUserListRequest, empty): UserList, repeatable: true,
    |answer: pb::AuthUserListResponse| -> ListUsersResponse {
        ListUsersResponse { header: header(answer.header), users: answer.users }
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
    /// Changes the password of a user. `Debug` does not show the password.
    ///
    /// The server no longer accepts tokens that the user got with the old password.
    pub struct ChangePassword(pb::AuthUserChangePasswordRequest): UserChangePassword,
    repeatable: false,
    check: |wire| check_user(&wire.name),
    |answer: pb::AuthUserChangePasswordResponse| -> AuthResponse {
        AuthResponse::of(answer.header)
    }
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
}

plain_request! {
    /// Grants a role to a user. Granting a role that the user has is not an error.
    pub struct GrantRole(pb::AuthUserGrantRoleRequest): UserGrantRole, repeatable: false,
    check: |wire| {
        check_user(&wire.user)?;
        check_role(&wire.role)
    },
    |answer: pb::AuthUserGrantRoleResponse| -> AuthResponse { AuthResponse::of(answer.header) }
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
}

plain_request! {
    /// Revokes a role from a user.
    pub struct RevokeRole(pb::AuthUserRevokeRoleRequest): UserRevokeRole, repeatable: false,
    check: |wire| {
        check_user(&wire.name)?;
        check_role(&wire.role)
    },
    |answer: pb::AuthUserRevokeRoleResponse| -> AuthResponse { AuthResponse::of(answer.header) }
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
}
