//! The service Auth: users, roles, and logins.
//!
//! A password is kept as a salted SHA-256. etcd's bcrypt protects hashes that are stolen from a disk; these
//! are only in the memory of the process, and a hash that takes 50 ms would slow down every test that
//! logs in.

use std::sync::Arc;

use bytes::Bytes;
use etcdex_proto::authpb;
use etcdex_proto::etcdserverpb as pb;
use sha2::{Digest, Sha256};

use crate::context::Context;
use crate::grpc::{Code, Status, decode};
use crate::node::StoreGuard;
use crate::service::Progress;
use crate::store::{PasswordHash, Permission, PermissionKind, StoreError};

/// Length of the salt in front of a hash, in bytes.
const SALT: usize = 16;

/// The most bytes of a password: bcrypt takes no notice of more.
const LONGEST_PASSWORD: usize = 72;

/// Does what only a user with the role `root` may do.
fn administrate<R>(
    context: &Context,
    change: impl FnOnce(&mut StoreGuard<'_>) -> Result<R, Status>,
    reply: impl FnOnce(Option<pb::ResponseHeader>, R) -> Result<Progress, Status>,
) -> Result<Progress, Status> {
    let node = Arc::clone(context.node());
    let mut store = node.store();
    context.require_admin(&store)?;
    let result = change(&mut store)?;
    reply(node.header(store.revision()), result)
}

/// Defines methods of administrators, whose reply is only a header.
macro_rules! changes {
    ($($name:ident($request:ident) -> $reply:ident |$context:ident, $store:ident, $message:ident| $change:expr;)*) => {
        $(pub(crate) fn $name($context: &Context, message: Bytes) -> Result<Progress, Status> {
            let $message: pb::$request = decode(message)?;
            administrate(
                $context,
                |$store| Ok($change),
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
    user_delete(AuthUserDeleteRequest) -> AuthUserDeleteResponse |context, store, request| {
        store.delete_user(&request.name)?;
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

/// Adds a user. As in etcd, a password that is too long is refused before the caller is.
pub(crate) fn user_add(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let request: pb::AuthUserAddRequest = decode(message)?;
    let has_password = !request.options.is_some_and(|options| options.no_password);
    let password = has_password.then(|| hash(&request.password)).transpose()?;
    administrate(
        context,
        |store| Ok(store.add_user(&request.name, password)?),
        |header, ()| Progress::answer(&pb::AuthUserAddResponse { header }),
    )
}

/// Changes a password. As in etcd, nobody can log in by an empty one from then on, and one that is too
/// long is refused before the caller is. A hash in place of a password is taken, but it is one of bcrypt:
/// nobody can log in by it here.
pub(crate) fn user_change_password(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let request: pb::AuthUserChangePasswordRequest = decode(message)?;
    let password = match request.password.as_str() {
        "" => PasswordHash(Bytes::new()),
        password => hash(password)?,
    };
    let is_refused = request.password.is_empty() && !is_base64(&request.hashed_password);
    administrate(
        context,
        |store| {
            if is_refused && store.has_password(&request.name)? {
                return Err(no_password());
            }
            store.change_password(&request.name, password)?;
            context.node().tokens().remove_user(&request.name);
            Ok(())
        },
        |header, ()| Progress::answer(&pb::AuthUserChangePasswordResponse { header }),
    )
}

pub(crate) fn user_list(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let _: pb::AuthUserListRequest = decode(message)?;
    administrate(
        context,
        |store| Ok(store.users().map(str::to_owned).collect()),
        |header, users| Progress::answer(&pb::AuthUserListResponse { header, users }),
    )
}

pub(crate) fn role_list(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let _: pb::AuthRoleListRequest = decode(message)?;
    administrate(
        context,
        |store| Ok(store.roles().map(str::to_owned).collect()),
        |header, roles| Progress::answer(&pb::AuthRoleListResponse { header, roles }),
    )
}

/// Answers with the roles of a user, whom the user may ask for, too.
pub(crate) fn user_get(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let request: pb::AuthUserGetRequest = decode(message)?;
    let node = context.node();
    let store = node.store();
    let caller = context.caller(&store)?;
    // As in etcd, a caller without a token has the empty name.
    let own_name = caller.as_ref().map_or("", |one| &one.user);
    let is_self = own_name == request.name;
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
        return Err(no_password());
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

/// Returns etcd's answer where a user has no password, or one that cannot be read.
fn no_password() -> Status {
    let text = "auth: authentication failed, password was given for no password user";
    Status::new(Code::Unknown, text)
}

/// Whether a text is base64, as Go reads it.
fn is_base64(text: &str) -> bool {
    let text = text.replace(['\r', '\n'], "");
    let digits = text.trim_end_matches('=');
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    text.len() % 4 == 0 && text.len() - digits.len() <= 2 && digits.bytes().all(is_digit)
}

fn hash(password: &str) -> Result<PasswordHash, Status> {
    if password.len() > LONGEST_PASSWORD {
        let text = "bcrypt: password length exceeds 72 bytes";
        return Err(Status::new(Code::Unknown, text));
    }
    let mut salt = [0; SALT];
    getrandom::fill(&mut salt).map_err(no_random_bytes)?;
    Ok(salted_hash(&salt, password.as_bytes()))
}

fn salted_hash(salt: &[u8], password: &[u8]) -> PasswordHash {
    let digest = Sha256::new().chain_update(salt).chain_update(password);
    PasswordHash([salt, &digest.finalize()].concat().into())
}

fn is_password(hash: &PasswordHash, password: &str) -> bool {
    let salt = hash.0.get(..SALT);
    let password = &password.as_bytes()[..password.len().min(LONGEST_PASSWORD)];
    salt.is_some_and(|salt| salted_hash(salt, password) == *hash)
}

fn permission(wire: Option<authpb::Permission>) -> Result<Permission, Status> {
    let missing = || Status::new(Code::InvalidArgument, "etcdserver: permission not given");
    let wire = wire.ok_or_else(missing)?;
    Ok(Permission {
        kind: match authpb::permission::Type::try_from(wire.perm_type) {
            Ok(authpb::permission::Type::Read) => PermissionKind::Read,
            Ok(authpb::permission::Type::Write) => PermissionKind::Write,
            Ok(authpb::permission::Type::Readwrite) => PermissionKind::ReadWrite,
            Err(_) => PermissionKind::Unknown(wire.perm_type),
        },
        key: wire.key,
        range_end: wire.range_end,
    })
}

fn wire_permission(permission: Permission) -> authpb::Permission {
    authpb::Permission {
        perm_type: match permission.kind {
            PermissionKind::Read => authpb::permission::Type::Read.into(),
            PermissionKind::Write => authpb::permission::Type::Write.into(),
            PermissionKind::ReadWrite => authpb::permission::Type::Readwrite.into(),
            PermissionKind::Unknown(kind) => kind,
        },
        key: permission.key,
        range_end: permission.range_end,
    }
}
