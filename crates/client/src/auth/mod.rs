//! Users, roles and permissions.
//!
//! [`Client::auth`](crate::Client::auth) returns the handle [`Auth`], with a method for each request
//! of etcd's API. Each request is also a value, which [`Client::run`](crate::Client::run) sends.
//!
//! ```no_run
//! # async fn example(client: etcdex::Client) -> Result<(), etcdex::Error> {
//! use etcdex::auth::Permission;
//!
//! let auth = client.auth();
//! auth.add_role("jobs").await?;
//! auth.grant_permission("jobs", Permission::read_write("jobs/").prefix()).await?;
//! auth.add_user("worker", "a password").await?;
//! auth.grant_role("worker", "jobs").await?;
//! # Ok(())
//! # }
//! ```
//!
//! Passwords are sent in plain text, so that only TLS hides them on the network. They are in no
//! `Debug` output, error or log.
//!
//! Source: <https://etcd.io/docs/v3.6/op-guide/authentication/rbac/>.

mod enable;
mod permission;
mod role;
mod user;

use etcdex_proto::etcdserverpb as pb;

pub use self::enable::{AuthStatus, AuthStatusResponse, DisableAuth, EnableAuth};
pub use self::permission::{GrantPermission, Permission, PermissionType, RevokePermission};
pub use self::role::{AddRole, DeleteRole, GetRole, GetRoleResponse, ListRoles, ListRolesResponse};
pub use self::user::{
    AddUser, ChangePassword, DeleteUser, GetUser, GetUserResponse, GrantRole, ListUsers,
    ListUsersResponse, RevokeRole,
};
use crate::call::{Call, Scope};
use crate::debug::debug_fields;
use crate::key::Key;
use crate::kv::{ResponseHeader, header, refuse};
use crate::transport::Failure;

/// A handle for requests about users, roles and permissions; returned by
/// [`Client::auth`](crate::Client::auth).
///
/// # Retries
/// A request that only reads is sent again when a server is unavailable, to another endpoint if
/// there is one. A change is sent again only when it provably was not applied.
#[derive(Clone)]
pub struct Auth {
    scope: Scope,
}

impl Auth {
    pub(crate) fn new(scope: Scope) -> Self {
        Self { scope }
    }

    /// Enables authentication in the whole cluster: see [`EnableAuth`].
    pub fn enable(&self) -> Call<EnableAuth> {
        self.call(EnableAuth::new())
    }

    /// Disables authentication: see [`DisableAuth`].
    pub fn disable(&self) -> Call<DisableAuth> {
        self.call(DisableAuth::new())
    }

    /// Returns whether authentication is enabled: see [`AuthStatus`].
    pub fn status(&self) -> Call<AuthStatus> {
        self.call(AuthStatus::new())
    }

    /// Adds a user: see [`AddUser`].
    pub fn add_user(&self, name: impl Into<String>, password: impl Into<String>) -> Call<AddUser> {
        self.call(AddUser::new(name, password))
    }

    /// Deletes a user: see [`DeleteUser`].
    pub fn delete_user(&self, name: impl Into<String>) -> Call<DeleteUser> {
        self.call(DeleteUser::new(name))
    }

    /// Returns the roles of a user: see [`GetUser`].
    pub fn get_user(&self, name: impl Into<String>) -> Call<GetUser> {
        self.call(GetUser::new(name))
    }

    /// Lists all users: see [`ListUsers`].
    pub fn list_users(&self) -> Call<ListUsers> {
        self.call(ListUsers::new())
    }

    /// Changes the password of a user: see [`ChangePassword`].
    pub fn change_password(
        &self,
        name: impl Into<String>,
        password: impl Into<String>,
    ) -> Call<ChangePassword> {
        self.call(ChangePassword::new(name, password))
    }

    /// Grants a role to a user: see [`GrantRole`].
    pub fn grant_role(&self, user: impl Into<String>, role: impl Into<String>) -> Call<GrantRole> {
        self.call(GrantRole::new(user, role))
    }

    /// Revokes a role from a user: see [`RevokeRole`].
    pub fn revoke_role(
        &self,
        user: impl Into<String>,
        role: impl Into<String>,
    ) -> Call<RevokeRole> {
        self.call(RevokeRole::new(user, role))
    }

    /// Adds a role without permissions: see [`AddRole`].
    pub fn add_role(&self, name: impl Into<String>) -> Call<AddRole> {
        self.call(AddRole::new(name))
    }

    /// Deletes a role: see [`DeleteRole`].
    pub fn delete_role(&self, name: impl Into<String>) -> Call<DeleteRole> {
        self.call(DeleteRole::new(name))
    }

    /// Returns the permissions of a role: see [`GetRole`].
    pub fn get_role(&self, name: impl Into<String>) -> Call<GetRole> {
        self.call(GetRole::new(name))
    }

    /// Lists all roles: see [`ListRoles`].
    pub fn list_roles(&self) -> Call<ListRoles> {
        self.call(ListRoles::new())
    }

    /// Grants a permission to a role: see [`GrantPermission`].
    pub fn grant_permission(
        &self,
        role: impl Into<String>,
        permission: Permission,
    ) -> Call<GrantPermission> {
        self.call(GrantPermission::new(role, permission))
    }

    /// Revokes the permission for a key, or with options for a range, from a role: see
    /// [`RevokePermission`].
    pub fn revoke_permission(
        &self,
        role: impl Into<String>,
        key: impl Into<Key>,
    ) -> Call<RevokePermission> {
        self.call(RevokePermission::new(role, key))
    }

    fn call<R: crate::Request>(&self, request: R) -> Call<R> {
        Call::new(&self.scope, request)
    }
}

debug_fields! { Auth |_auth| { .. } }

/// The reply to each change of users and roles.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct AuthResponse {
    /// Member and cluster that answered.
    pub header: ResponseHeader,
}

impl AuthResponse {
    fn of(answered: Option<pb::ResponseHeader>) -> Self {
        Self {
            header: header(answered),
        }
    }
}

/// Returns an error for an empty user name. etcd would answer a request with an empty name as if
/// the caller had not logged in, which misleads.
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
