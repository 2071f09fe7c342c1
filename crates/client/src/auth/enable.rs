//! Authentication on, off, or which of the two.

use etcdex_proto::etcdserverpb as pb;

use super::AuthResponse;
use crate::kv::{ResponseHeader, header, plain_request};

/// Switches authentication on, for the whole cluster and at once.
///
/// etcd wants a user `root` with the role `root` first, and refuses with
/// [`AuthRefused`](crate::ErrorKind::AuthRefused) otherwise. From then on calls without a user
/// fail with [`TokenMissing`](crate::ErrorKind::TokenMissing).
///
/// Source: <https://etcd.io/docs/v3.6/op-guide/authentication/rbac/#enabling-authentication>.
#[derive(Clone, Debug, Default)]
#[must_use = "a request does nothing until it is sent"]
pub struct EnableAuth {
    wire: pb::AuthEnableRequest,
}

impl EnableAuth {
    /// Switches it on.
    pub fn new() -> Self {
        Self::default()
    }
}

plain_request! {
    EnableAuth: AuthEnable, repeatable: false,
    |answer: pb::AuthEnableResponse| -> AuthResponse { AuthResponse::of(answer.header) }
}

/// Switches authentication off. Users and roles are kept.
#[derive(Clone, Debug, Default)]
#[must_use = "a request does nothing until it is sent"]
pub struct DisableAuth {
    wire: pb::AuthDisableRequest,
}

impl DisableAuth {
    /// Switches it off.
    pub fn new() -> Self {
        Self::default()
    }
}

plain_request! {
    DisableAuth: AuthDisable, repeatable: false,
    |answer: pb::AuthDisableResponse| -> AuthResponse { AuthResponse::of(answer.header) }
}

/// Asks whether authentication is on.
///
/// Servers before 3.5 answer [`Unimplemented`](crate::ErrorKind::Unimplemented).
#[derive(Clone, Debug, Default)]
#[must_use = "a request does nothing until it is sent"]
pub struct AuthStatus {
    wire: pb::AuthStatusRequest,
}

impl AuthStatus {
    /// Asks.
    pub fn new() -> Self {
        Self::default()
    }
}

/// The reply to an [`AuthStatus`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct AuthStatusResponse {
    /// Who answered.
    pub header: ResponseHeader,
    /// Whether authentication is on.
    pub enabled: bool,
    /// Counts the changes of users and roles: tokens of an older one have to be renewed.
    pub auth_revision: u64,
}

plain_request! {
    AuthStatus: AuthStatus, repeatable: true,
    |answer: pb::AuthStatusResponse| -> AuthStatusResponse {
        AuthStatusResponse {
            header: header(answer.header),
            enabled: answer.enabled,
            auth_revision: answer.auth_revision,
        }
    }
}
