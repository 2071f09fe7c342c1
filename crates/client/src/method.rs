//! The gRPC methods that the client calls, with their paths, names and lanes.

use etcdex_proto::method as path;

/// The kind of connection on which a call is sent.
///
/// Unary calls, streams that stay open, and calls that wait for other clients use separate
/// connections, because the number of streams of a connection is limited: etcd 3.5 with TLS allows
/// 250.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Unary,
    Stream,
    Wait,
}

/// A method of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
// Public for the hidden methods of `Request`.
#[allow(unnameable_types)]
pub enum Method {
    Range,
    RangeStream,
    Put,
    DeleteRange,
    Txn,
    Compact,
    LeaseGrant,
    LeaseRevoke,
    /// The stream that renews all kept leases.
    LeaseKeepAlive,
    /// A stream for one renewal.
    LeaseKeepAliveOnce,
    LeaseTimeToLive,
    LeaseLeases,
    Lock,
    Watch,
    MemberList,
    MemberAdd,
    MemberRemove,
    MemberUpdate,
    MemberPromote,
    AuthEnable,
    AuthDisable,
    AuthStatus,
    Authenticate,
    UserAdd,
    UserDelete,
    UserGet,
    UserList,
    UserChangePassword,
    UserGrantRole,
    UserRevokeRole,
    RoleAdd,
    RoleDelete,
    RoleGet,
    RoleList,
    RoleGrantPermission,
    RoleRevokePermission,
    Alarm,
    Status,
    Defragment,
    Hash,
    HashKv,
    MoveLeader,
    Downgrade,
    Snapshot,
    Unlock,
}

struct Row {
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "a test checks the order of the rows by it")
    )]
    method: Method,
    path: &'static str,
    name: &'static str,
    lane: Lane,
}

const fn row(method: Method, path: &'static str, name: &'static str, lane: Lane) -> Row {
    Row {
        method,
        path,
        name,
        lane,
    }
}

/// INVARIANT: the row of a method is at the index of its number (a test checks it).
const TABLE: &[Row] = &[
    row(Method::Range, path::kv::RANGE, "get", Lane::Unary),
    row(
        Method::RangeStream,
        path::kv::RANGE_STREAM,
        "get",
        Lane::Stream,
    ),
    row(Method::Put, path::kv::PUT, "put", Lane::Unary),
    row(
        Method::DeleteRange,
        path::kv::DELETE_RANGE,
        "delete",
        Lane::Unary,
    ),
    row(Method::Txn, path::kv::TXN, "txn", Lane::Unary),
    row(Method::Compact, path::kv::COMPACT, "compact", Lane::Unary),
    row(
        Method::LeaseGrant,
        path::lease::LEASE_GRANT,
        "grant",
        Lane::Unary,
    ),
    row(
        Method::LeaseRevoke,
        path::lease::LEASE_REVOKE,
        "revoke",
        Lane::Unary,
    ),
    row(
        Method::LeaseKeepAlive,
        path::lease::LEASE_KEEP_ALIVE,
        "keep",
        Lane::Stream,
    ),
    row(
        Method::LeaseKeepAliveOnce,
        path::lease::LEASE_KEEP_ALIVE,
        "keep_alive_once",
        Lane::Unary,
    ),
    row(
        Method::LeaseTimeToLive,
        path::lease::LEASE_TIME_TO_LIVE,
        "ttl",
        Lane::Unary,
    ),
    row(
        Method::LeaseLeases,
        path::lease::LEASE_LEASES,
        "leases",
        Lane::Unary,
    ),
    row(Method::Lock, path::lock::LOCK, "lock", Lane::Wait),
    row(Method::Watch, path::watch::WATCH, "watch", Lane::Stream),
    row(
        Method::MemberList,
        path::cluster::MEMBER_LIST,
        "list_members",
        Lane::Unary,
    ),
    row(
        Method::MemberAdd,
        path::cluster::MEMBER_ADD,
        "add_member",
        Lane::Unary,
    ),
    row(
        Method::MemberRemove,
        path::cluster::MEMBER_REMOVE,
        "remove_member",
        Lane::Unary,
    ),
    row(
        Method::MemberUpdate,
        path::cluster::MEMBER_UPDATE,
        "update_member",
        Lane::Unary,
    ),
    row(
        Method::MemberPromote,
        path::cluster::MEMBER_PROMOTE,
        "promote_member",
        Lane::Unary,
    ),
    row(
        Method::AuthEnable,
        path::auth::AUTH_ENABLE,
        "enable_auth",
        Lane::Unary,
    ),
    row(
        Method::AuthDisable,
        path::auth::AUTH_DISABLE,
        "disable_auth",
        Lane::Unary,
    ),
    row(
        Method::AuthStatus,
        path::auth::AUTH_STATUS,
        "auth_status",
        Lane::Unary,
    ),
    row(
        Method::Authenticate,
        path::auth::AUTHENTICATE,
        "authenticate",
        Lane::Unary,
    ),
    row(
        Method::UserAdd,
        path::auth::USER_ADD,
        "add_user",
        Lane::Unary,
    ),
    row(
        Method::UserDelete,
        path::auth::USER_DELETE,
        "delete_user",
        Lane::Unary,
    ),
    row(
        Method::UserGet,
        path::auth::USER_GET,
        "get_user",
        Lane::Unary,
    ),
    row(
        Method::UserList,
        path::auth::USER_LIST,
        "list_users",
        Lane::Unary,
    ),
    row(
        Method::UserChangePassword,
        path::auth::USER_CHANGE_PASSWORD,
        "change_password",
        Lane::Unary,
    ),
    row(
        Method::UserGrantRole,
        path::auth::USER_GRANT_ROLE,
        "grant_role",
        Lane::Unary,
    ),
    row(
        Method::UserRevokeRole,
        path::auth::USER_REVOKE_ROLE,
        "revoke_role",
        Lane::Unary,
    ),
    row(
        Method::RoleAdd,
        path::auth::ROLE_ADD,
        "add_role",
        Lane::Unary,
    ),
    row(
        Method::RoleDelete,
        path::auth::ROLE_DELETE,
        "delete_role",
        Lane::Unary,
    ),
    row(
        Method::RoleGet,
        path::auth::ROLE_GET,
        "get_role",
        Lane::Unary,
    ),
    row(
        Method::RoleList,
        path::auth::ROLE_LIST,
        "list_roles",
        Lane::Unary,
    ),
    row(
        Method::RoleGrantPermission,
        path::auth::ROLE_GRANT_PERMISSION,
        "grant_permission",
        Lane::Unary,
    ),
    row(
        Method::RoleRevokePermission,
        path::auth::ROLE_REVOKE_PERMISSION,
        "revoke_permission",
        Lane::Unary,
    ),
    row(
        Method::Alarm,
        path::maintenance::ALARM,
        "alarm",
        Lane::Unary,
    ),
    row(
        Method::Status,
        path::maintenance::STATUS,
        "status",
        Lane::Unary,
    ),
    row(
        Method::Defragment,
        path::maintenance::DEFRAGMENT,
        "defragment",
        Lane::Unary,
    ),
    row(Method::Hash, path::maintenance::HASH, "hash", Lane::Unary),
    row(
        Method::HashKv,
        path::maintenance::HASH_KV,
        "hash_kv",
        Lane::Unary,
    ),
    row(
        Method::MoveLeader,
        path::maintenance::MOVE_LEADER,
        "move_leader",
        Lane::Unary,
    ),
    row(
        Method::Downgrade,
        path::maintenance::DOWNGRADE,
        "downgrade",
        Lane::Unary,
    ),
    row(
        Method::Snapshot,
        path::maintenance::SNAPSHOT,
        "snapshot",
        Lane::Stream,
    ),
    row(Method::Unlock, path::lock::UNLOCK, "unlock", Lane::Unary),
];

impl Method {
    /// Returns the paths of all methods, each at the index of its method's number.
    pub(crate) fn paths() -> impl Iterator<Item = &'static str> {
        TABLE.iter().map(|row| row.path)
    }

    /// Returns the name of the call in errors, traces and metrics.
    pub(crate) const fn name(self) -> &'static str {
        TABLE[self as usize].name
    }

    pub(crate) const fn lane(self) -> Lane {
        TABLE[self as usize].lane
    }

    /// Returns whether a member answers without asking its quorum, so that a reply does not show
    /// that the member serves. `Request::is_local` decides for requests that can be either.
    ///
    /// A stream of watches is local: creations, progress and history need no quorum. A range in
    /// chunks is local, because it may be serializable.
    ///
    /// Source: `server/etcdserver/v3_server.go` and `api/v3rpc/` of etcd 3.4 to 3.7. `MemberList`
    /// asks the quorum from 3.5 on, and `LeaseTimeToLive` only on a member that is not the leader.
    pub(crate) const fn is_local(self) -> bool {
        matches!(
            self,
            Self::RangeStream
                | Self::Watch
                | Self::MemberList
                | Self::LeaseTimeToLive
                | Self::LeaseLeases
                | Self::Status
                | Self::Defragment
                | Self::Hash
                | Self::HashKv
                | Self::MoveLeader
                | Self::Downgrade
                | Self::Snapshot
        )
    }

    /// Returns whether the server answers one request by many messages.
    pub(crate) const fn answers_by_messages(self) -> bool {
        matches!(self, Self::RangeStream | Self::Snapshot)
    }

    /// Returns whether the server accepts any number of requests on the call's stream.
    ///
    /// An etcd proxy cancels such a call as soon as the client has ended its side, without the
    /// answer to the last request. The client must leave its side open until the answer is there.
    ///
    /// Source: etcd, `server/proxy/grpcproxy/lease.go` (`leaseProxyStream.recvLoop`).
    pub(crate) const fn takes_many_requests(self) -> bool {
        matches!(
            self,
            Self::LeaseKeepAlive | Self::LeaseKeepAliveOnce | Self::Watch
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_at_the_index_of_its_method() {
        for (place, row) in TABLE.iter().enumerate() {
            assert_eq!(row.method as usize, place, "{}", row.name);
        }
    }
}
