//! The requests that enable and disable authentication, and return its state.

use etcdex_proto::etcdserverpb as pb;

use super::AuthResponse;
use crate::kv::{ResponseHeader, header, plain_request};

plain_request! {
    /// Enables authentication in the whole cluster.
    ///
    /// etcd requires a user `root` with the role `root`, and refuses with
    /// [`AuthRefused`](crate::ErrorKind::AuthRefused) without one. Once authentication is enabled,
    /// calls without a user fail with [`TokenMissing`](crate::ErrorKind::TokenMissing).
    ///
    /// Source: <https://etcd.io/docs/v3.6/op-guide/authentication/rbac/#enabling-authentication>.
    pub struct EnableAuth(pb::AuthEnableRequest, empty): AuthEnable, repeatable: false,
    |answer: pb::AuthEnableResponse| -> AuthResponse { AuthResponse::of(answer.header) }
}

plain_request! {
    /// Disables authentication. Users and roles are kept.
    pub struct DisableAuth(pb::AuthDisableRequest, empty): AuthDisable, repeatable: false,
    |answer: pb::AuthDisableResponse| -> AuthResponse { AuthResponse::of(answer.header) }
}

plain_request! {
    /// Asks whether authentication is enabled.
    ///
    /// Servers before 3.5 answer [`Unimplemented`](crate::ErrorKind::Unimplemented).
    pub struct AuthStatus(pb::AuthStatusRequest, empty): AuthStatus, repeatable: true,
    |answer: pb::AuthStatusResponse| -> AuthStatusResponse {
        AuthStatusResponse {
            header: header(answer.header),
            enabled: answer.enabled,
            auth_revision: answer.auth_revision,
        }
    }
}

/// The reply to an [`AuthStatus`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct AuthStatusResponse {
    /// Member and cluster that answered.
    pub header: ResponseHeader,
    /// Whether authentication is enabled.
    pub enabled: bool,
    /// Number of changes of users and roles. Tokens that are older than a change are no longer
    /// accepted.
    pub auth_revision: u64,
}
