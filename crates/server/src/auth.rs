//! The service Auth: users, roles, and logins.
//!
//! A password is kept as a salted SHA-256. etcd's bcrypt protects hashes that are stolen from a disk; these
//! are only in the memory of the process, and a hash that takes 50 ms would slow down every test that
//! logs in.

use std::sync::Arc;

use bytes::Bytes;
use etcdex_proto::authpb;
use etcdex_proto::etcdserverpb as pb;
use prost::Message;
use sha2::{Digest, Sha256};

use crate::context::Context;
use crate::grpc::{Code, Status, decode};
use crate::node::StoreGuard;
use crate::service::Progress;
use crate::store::{PasswordHash, Permission, PermissionKind, StoreError};

/// Length of the salt in front of a hash, in bytes.
const SALT: usize = 16;

/// Does what only a user with the role `root` may do.
fn administrate<M, R>(
    context: &Context,
    message: Bytes,
    change: impl FnOnce(&mut StoreGuard<'_>, M) -> Result<R, Status>,
    reply: impl FnOnce(Option<pb::ResponseHeader>, R) -> Result<Progress, Status>,
) -> Result<Progress, Status>
where
    M: Message + Default,
{
    let request = decode(message)?;
    let node = Arc::clone(context.node());
    let mut store = node.store();
    context.require_admin(&store)?;
    let result = change(&mut store, request)?;
    reply(node.header(store.revision()), result)
}

/// Defines methods of administrators, whose reply is only a header.
macro_rules! changes {
    ($($name:ident($request:ident) -> $reply:ident |$context:ident, $store:ident, $message:ident| $change:expr;)*) => {
        $(pub(crate) fn $name($context: &Context, message: Bytes) -> Result<Progress, Status> {
            administrate(
                $context,
                message,
                |$store, $message: pb::$request| Ok($change),
                |header, ()| Progress::answer(&pb::$reply { header }),
            )
        })*
    };
}

changes! {
    enable(AuthEnableRequest) -> AuthEnableResponse |context, store, _request| store.enable_auth()?;
    disable(AuthDisableRequest) -> AuthDisableResponse |context, store, _request| {
        store.disable_auth();
        context.node().tokens().clear();
    };
    user_add(AuthUserAddRequest) -> AuthUserAddResponse |context, store, request| {
        let has_password = !request.options.is_some_and(|options| options.no_password);
        let password = has_password.then(|| hash(&request.password)).transpose()?;
        store.add_user(&request.name, password)?;
    };
    user_delete(AuthUserDeleteRequest) -> AuthUserDeleteResponse |context, store, request| {
        store.delete_user(&request.name)?;
        context.node().tokens().remove_user(&request.name);
    };
    user_change_password(AuthUserChangePasswordRequest) -> AuthUserChangePasswordResponse
        |context, store, request| {
            store.change_password(&request.name, hash(&request.password)?)?;
            context.node().tokens().remove_user(&request.name);
        };
    user_grant_role(AuthUserGrantRoleRequest) -> AuthUserGrantRoleResponse
        |context, store, request| store.grant_role(&request.user, &request.role)?;
    user_revoke_role(AuthUserRevokeRoleRequest) -> AuthUserRevokeRoleResponse
        |context, store, request| store.revoke_role(&request.name, &request.role)?;
    role_add(AuthRoleAddRequest) -> AuthRoleAddResponse
        |context, store, request| store.add_role(&request.name)?;
    role_delete(AuthRoleDeleteRequest) -> AuthRoleDeleteResponse
        |context, store, request| store.delete_role(&request.role)?;
    role_grant_permission(AuthRoleGrantPermissionRequest) -> AuthRoleGrantPermissionResponse
        |context, store, request| store.grant_permission(&request.name, permission(request.perm)?)?;
    role_revoke_permission(AuthRoleRevokePermissionRequest) -> AuthRoleRevokePermissionResponse
        |context, store, request| {
            store.revoke_permission(&request.role, &request.key, &request.range_end)?;
        };
}

pub(crate) fn user_list(context: &Context, message: Bytes) -> Result<Progress, Status> {
    administrate(
        context,
        message,
        |store, _: pb::AuthUserListRequest| Ok(store.users().map(str::to_owned).collect()),
        |header, users| Progress::answer(&pb::AuthUserListResponse { header, users }),
    )
}

pub(crate) fn role_list(context: &Context, message: Bytes) -> Result<Progress, Status> {
    administrate(
        context,
        message,
        |store, _: pb::AuthRoleListRequest| Ok(store.roles().map(str::to_owned).collect()),
        |header, roles| Progress::answer(&pb::AuthRoleListResponse { header, roles }),
    )
}

/// Answers with the roles of a user, whom the user may ask for, too.
pub(crate) fn user_get(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let request: pb::AuthUserGetRequest = decode(message)?;
    let node = context.node();
    let store = node.store();
    let caller = context.caller(&store)?;
    let is_self = caller.as_ref().is_some_and(|one| one.user == request.name);
    if !is_self {
        store.check_admin(caller.as_ref())?;
    }
    Progress::answer(&pb::AuthUserGetResponse {
        header: node.header(store.revision()),
        roles: store
            .user_roles(&request.name)?
            .map(str::to_owned)
            .collect(),
    })
}

/// Answers with the permissions of a role. A user may ask for the own roles.
pub(crate) fn role_get(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let request: pb::AuthRoleGetRequest = decode(message)?;
    let node = context.node();
    let store = node.store();
    let caller = context.caller(&store)?;
    let is_own = caller.as_ref().is_some_and(|one| {
        let mut roles = store.user_roles(&one.user).into_iter().flatten();
        roles.any(|role| role == request.role)
    });
    if !is_own {
        store.check_admin(caller.as_ref())?;
    }
    let permissions = store.role_permissions(&request.role)?;
    Progress::answer(&pb::AuthRoleGetResponse {
        header: node.header(store.revision()),
        perm: permissions.into_iter().map(wire_permission).collect(),
    })
}

pub(crate) fn status(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let _: pb::AuthStatusRequest = decode(message)?;
    let node = context.node();
    let store = node.store();
    context.caller(&store)?;
    Progress::answer(&pb::AuthStatusResponse {
        header: node.header(store.revision()),
        enabled: store.is_auth_enabled(),
        auth_revision: store.auth_revision(),
    })
}

/// Gives a token to a user who has the right password.
pub(crate) fn authenticate(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let request: pb::AuthenticateRequest = decode(message)?;
    let node = context.node();
    let store = node.store();
    let Some(password) = store.password(&request.name)? else {
        let text = "auth: authentication failed, password was given for no password user";
        return Err(Status::new(Code::Unknown, text));
    };
    if !is_password(password, &request.password) {
        return Err(StoreError::AuthFailed.into());
    }
    let token = node.tokens().assign(request.name, node.now());
    Progress::answer(&pb::AuthenticateResponse {
        header: node.header(store.revision()),
        token: token.map_err(no_random_bytes)?,
    })
}

fn no_random_bytes(error: getrandom::Error) -> Status {
    let text = format!("etcdex-server: the system gives no random bytes: {error}");
    Status::new(Code::Internal, text)
}

fn hash(password: &str) -> Result<PasswordHash, Status> {
    let mut salt = [0; SALT];
    getrandom::fill(&mut salt).map_err(no_random_bytes)?;
    Ok(salted_hash(&salt, password))
}

fn salted_hash(salt: &[u8], password: &str) -> PasswordHash {
    let digest = Sha256::new().chain_update(salt).chain_update(password);
    PasswordHash([salt, &digest.finalize()].concat().into())
}

fn is_password(hash: &PasswordHash, password: &str) -> bool {
    let salt = hash.0.get(..SALT);
    salt.is_some_and(|salt| salted_hash(salt, password) == *hash)
}

fn permission(wire: Option<authpb::Permission>) -> Result<Permission, Status> {
    let missing = || Status::new(Code::InvalidArgument, "etcdserver: permission not given");
    let wire = wire.ok_or_else(missing)?;
    Ok(Permission {
        kind: match wire.perm_type() {
            authpb::permission::Type::Read => PermissionKind::Read,
            authpb::permission::Type::Write => PermissionKind::Write,
            authpb::permission::Type::Readwrite => PermissionKind::ReadWrite,
        },
        key: wire.key,
        range_end: wire.range_end,
    })
}

fn wire_permission(permission: Permission) -> authpb::Permission {
    let kind = match permission.kind {
        PermissionKind::Read => authpb::permission::Type::Read,
        PermissionKind::Write => authpb::permission::Type::Write,
        PermissionKind::ReadWrite => authpb::permission::Type::Readwrite,
    };
    authpb::Permission {
        perm_type: kind.into(),
        key: permission.key,
        range_end: permission.range_end,
    }
}
