//! Users, roles and what they may do.
//!
//! [`Client::auth`](crate::Client::auth) gives the handle [`Auth`], whose methods are those of
//! etcd's own API. Each request is also a value of its own, for
//! [`Client::run`](crate::Client::run).
//!
//! ```no_run
//! # async fn example(client: etcdex::Client) -> Result<(), etcdex::Error> {
//! use etcdex::auth::Permission;
//!
//! let auth = client.auth();
//! auth.role_add("jobs").await?;
//! auth.role_grant_permission("jobs", Permission::read_write("jobs/").prefix()).await?;
//! auth.user_add("worker", "a password").await?;
//! auth.user_grant_role("worker", "jobs").await?;
//! # Ok(())
//! # }
//! ```
//!
//! Passwords go over the connection as they are, and only TLS hides them there; they appear in
//! no `Debug`, error or log.
//!
//! How etcd does it: <https://etcd.io/docs/v3.6/op-guide/authentication/rbac/>.

mod permission;
mod role;
mod switch;
mod user;

use std::fmt;

use etcdex_proto::etcdserverpb as pb;

pub use self::permission::{Permission, PermissionType, RoleGrantPermission, RoleRevokePermission};
pub use self::role::{RoleAdd, RoleDelete, RoleGet, RoleGetResponse, RoleList, RoleListResponse};
pub use self::switch::{AuthDisable, AuthEnable, AuthStatus, AuthStatusResponse};
pub use self::user::{
    UserAdd, UserChangePassword, UserDelete, UserGet, UserGetResponse, UserGrantRole, UserList,
    UserListResponse, UserRevokeRole,
};
use crate::call::{Call, Scope};
use crate::key::Key;
use crate::kv::{ResponseHeader, header, refuse};
use crate::transport::Failure;

/// The client's handle to users, roles and permissions; made by
/// [`Client::auth`](crate::Client::auth).
///
/// # Retries
/// What only reads is sent again, at another endpoint if there is one, when a server is
/// unavailable. A change is sent again only when it provably was not applied.
#[derive(Clone)]
pub struct Auth {
    scope: Scope,
}

impl Auth {
    pub(crate) fn new(scope: Scope) -> Self {
        Self { scope }
    }

    /// Switches authentication on, for the whole cluster: see [`AuthEnable`].
    pub fn enable(&self) -> Call<AuthEnable> {
        self.call(AuthEnable::new())
    }

    /// Switches authentication off: see [`AuthDisable`].
    pub fn disable(&self) -> Call<AuthDisable> {
        self.call(AuthDisable::new())
    }

    /// Asks whether it is on: see [`AuthStatus`].
    pub fn status(&self) -> Call<AuthStatus> {
        self.call(AuthStatus::new())
    }

    /// Adds a user: see [`UserAdd`].
    pub fn user_add(&self, name: impl Into<String>, password: impl Into<String>) -> Call<UserAdd> {
        self.call(UserAdd::new(name, password))
    }

    /// Deletes a user: see [`UserDelete`].
    pub fn user_delete(&self, name: impl Into<String>) -> Call<UserDelete> {
        self.call(UserDelete::new(name))
    }

    /// Asks for a user's roles: see [`UserGet`].
    pub fn user_get(&self, name: impl Into<String>) -> Call<UserGet> {
        self.call(UserGet::new(name))
    }

    /// Lists all users: see [`UserList`].
    pub fn user_list(&self) -> Call<UserList> {
        self.call(UserList::new())
    }

    /// Gives a user another password: see [`UserChangePassword`].
    pub fn user_change_password(
        &self,
        name: impl Into<String>,
        password: impl Into<String>,
    ) -> Call<UserChangePassword> {
        self.call(UserChangePassword::new(name, password))
    }

    /// Gives a user a role: see [`UserGrantRole`].
    pub fn user_grant_role(
        &self,
        user: impl Into<String>,
        role: impl Into<String>,
    ) -> Call<UserGrantRole> {
        self.call(UserGrantRole::new(user, role))
    }

    /// Takes a role from a user: see [`UserRevokeRole`].
    pub fn user_revoke_role(
        &self,
        user: impl Into<String>,
        role: impl Into<String>,
    ) -> Call<UserRevokeRole> {
        self.call(UserRevokeRole::new(user, role))
    }

    /// Adds a role, which may nothing yet: see [`RoleAdd`].
    pub fn role_add(&self, name: impl Into<String>) -> Call<RoleAdd> {
        self.call(RoleAdd::new(name))
    }

    /// Deletes a role: see [`RoleDelete`].
    pub fn role_delete(&self, name: impl Into<String>) -> Call<RoleDelete> {
        self.call(RoleDelete::new(name))
    }

    /// Asks what a role may do: see [`RoleGet`].
    pub fn role_get(&self, name: impl Into<String>) -> Call<RoleGet> {
        self.call(RoleGet::new(name))
    }

    /// Lists all roles: see [`RoleList`].
    pub fn role_list(&self) -> Call<RoleList> {
        self.call(RoleList::new())
    }

    /// Gives a role a permission: see [`RoleGrantPermission`].
    pub fn role_grant_permission(
        &self,
        role: impl Into<String>,
        permission: Permission,
    ) -> Call<RoleGrantPermission> {
        self.call(RoleGrantPermission::new(role, permission))
    }

    /// Takes the permission of a key, or with options of a range, from a role: see
    /// [`RoleRevokePermission`].
    pub fn role_revoke_permission(
        &self,
        role: impl Into<String>,
        key: impl Into<Key>,
    ) -> Call<RoleRevokePermission> {
        self.call(RoleRevokePermission::new(role, key))
    }

    fn call<R: crate::Request>(&self, request: R) -> Call<R> {
        Call::new(&self.scope, request)
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").finish_non_exhaustive()
    }
}

/// The reply to every change of users and roles.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct AuthResponse {
    /// Who answered.
    pub header: ResponseHeader,
}

impl AuthResponse {
    fn of(answered: Option<pb::ResponseHeader>) -> Self {
        Self {
            header: header(answered),
        }
    }
}

/// Of an empty user name etcd says what it says when nobody has logged in, which would mislead.
fn check_user(name: &str) -> Result<(), Failure> {
    if name.is_empty() {
        return Err(refuse("the name of the user is empty"));
    }
    Ok(())
}

fn check_role(name: &str) -> Result<(), Failure> {
    if name.is_empty() {
        return Err(refuse("the name of the role is empty"));
    }
    Ok(())
}
