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
use crate::call::{Scope, calls};
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

    calls! {
        /// Enables authentication in the whole cluster: see [`EnableAuth`].
        fn enable() -> EnableAuth::new;

        /// Disables authentication: see [`DisableAuth`].
        fn disable() -> DisableAuth::new;

        /// Returns whether authentication is enabled: see [`AuthStatus`].
        fn status() -> AuthStatus::new;

        /// Adds a user: see [`AddUser`].
        fn add_user(name: impl Into<String>, password: impl Into<String>) -> AddUser::new;

        /// Deletes a user: see [`DeleteUser`].
        fn delete_user(name: impl Into<String>) -> DeleteUser::new;

        /// Returns the roles of a user: see [`GetUser`].
        fn get_user(name: impl Into<String>) -> GetUser::new;

        /// Lists all users: see [`ListUsers`].
        fn list_users() -> ListUsers::new;

        /// Changes the password of a user: see [`ChangePassword`].
        fn change_password(name: impl Into<String>, password: impl Into<String>)
            -> ChangePassword::new;

        /// Grants a role to a user: see [`GrantRole`].
        fn grant_role(user: impl Into<String>, role: impl Into<String>) -> GrantRole::new;

        /// Revokes a role from a user: see [`RevokeRole`].
        fn revoke_role(user: impl Into<String>, role: impl Into<String>) -> RevokeRole::new;

        /// Adds a role without permissions: see [`AddRole`].
        fn add_role(name: impl Into<String>) -> AddRole::new;

        /// Deletes a role: see [`DeleteRole`].
        fn delete_role(name: impl Into<String>) -> DeleteRole::new;

        /// Returns the permissions of a role: see [`GetRole`].
        fn get_role(name: impl Into<String>) -> GetRole::new;

        /// Lists all roles: see [`ListRoles`].
        fn list_roles() -> ListRoles::new;

        /// Grants a permission to a role: see [`GrantPermission`].
        fn grant_permission(role: impl Into<String>, permission: Permission)
            -> GrantPermission::new;

        /// Revokes the permission for a key, or with options for a range, from a role: see
        /// [`RevokePermission`].
        fn revoke_permission(role: impl Into<String>, key: impl Into<Key>) -> RevokePermission::new;
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
