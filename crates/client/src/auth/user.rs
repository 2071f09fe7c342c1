//! Users: a name, a password, and roles.

use etcdex_proto::authpb::UserAddOptions;
use etcdex_proto::etcdserverpb as pb;

use super::{AuthResponse, check_role, check_user};
use crate::call::options;
use crate::kv::{ResponseHeader, header, plain_request, refuse};
use crate::transport::Failure;

/// Adds a user, without roles. `Debug` does not show the password.
///
/// Source: <https://etcd.io/docs/v3.6/op-guide/authentication/rbac/#working-with-users>.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct AddUser {
    wire: pb::AuthUserAddRequest,
}

impl AddUser {
    /// Adds a user that logs in with a password.
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
                "no_password is for a user without one, and yet a password is given: give an \
                 empty one",
            ));
        }
        Ok(())
    }
}

options! { AddUser {
    /// The user has no password and cannot log in by one, only by the name in a client
    /// certificate (`--client-cert-auth`). The password given has to be empty.
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
    /// Deletes the user with that name.
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

/// Asks for a user's roles.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct GetUser {
    wire: pb::AuthUserGetRequest,
}

impl GetUser {
    /// Asks for the roles of the user with that name.
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
    /// Who answered.
    pub header: ResponseHeader,
    /// The names of the user's roles.
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
    /// Lists them.
    pub fn new() -> Self {
        Self::default()
    }
}

/// The reply to a [`ListUsers`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ListUsersResponse {
    /// Who answered.
    pub header: ResponseHeader,
    /// The names of all users.
    pub users: Vec<String>,
}

plain_request! {
    ListUsers: UserList, repeatable: true,
    |answer: pb::AuthUserListResponse| -> ListUsersResponse {
        ListUsersResponse { header: header(answer.header), users: answer.users }
    }
}

/// Gives a user another password. `Debug` does not show it.
///
/// Tokens that the user has got with the old one end.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct ChangePassword {
    wire: pb::AuthUserChangePasswordRequest,
}

impl ChangePassword {
    /// The user with that name logs in with this password from now on.
    pub fn new(name: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            wire: pb::AuthUserChangePasswordRequest {
                name: name.into(),
                password: password.into(),
                ..pb::AuthUserChangePasswordRequest::default()
            },
        }
    }

    /// The user with that name logs in from now on with the password that has this bcrypt hash:
    /// the sender of the request need not know the password. `hash` is the hash (`$2a$10$...`)
    /// in base64, as etcd's API has it.
    ///
    /// It needs etcd 3.5 or later. **etcd 3.4 does not know the field and sets an empty
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

/// Gives a user a role. To have it already is no error.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct GrantRole {
    wire: pb::AuthUserGrantRoleRequest,
}

impl GrantRole {
    /// Gives `user` what `role` may.
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

/// Takes a role from a user.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct RevokeRole {
    wire: pb::AuthUserRevokeRoleRequest,
}

impl RevokeRole {
    /// Takes `role` from `user`.
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
