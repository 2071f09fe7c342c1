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

/// A row of the table of methods.
struct Row {
    path: &'static str,
    name: &'static str,
    lane: Lane,
}

/// Makes [`Method`] and the table of its properties from the same lines, so that the row of a method
/// stands at the index of its number.
macro_rules! methods {
    ($($(#[$doc:meta])* $method:ident: $path:path, $name:literal, $lane:ident;)*) => {
        /// A method of a service.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        // Public for the hidden methods of `Request`.
        #[allow(unnameable_types)]
        pub enum Method {
            $($(#[$doc])* $method,)*
        }

        const TABLE: &[Row] = &[$(Row { path: $path, name: $name, lane: Lane::$lane }),*];
    };
}

// The name is that of the call in errors, traces and metrics.
methods! {
    Range: path::kv::RANGE, "get", Unary;
    RangeStream: path::kv::RANGE_STREAM, "get", Stream;
    Put: path::kv::PUT, "put", Unary;
    DeleteRange: path::kv::DELETE_RANGE, "delete", Unary;
    Txn: path::kv::TXN, "txn", Unary;
    Compact: path::kv::COMPACT, "compact", Unary;
    LeaseGrant: path::lease::LEASE_GRANT, "grant", Unary;
    LeaseRevoke: path::lease::LEASE_REVOKE, "revoke", Unary;
    /// The stream that renews all kept leases.
    LeaseKeepAlive: path::lease::LEASE_KEEP_ALIVE, "keep", Stream;
    /// A stream for one renewal.
    LeaseKeepAliveOnce: path::lease::LEASE_KEEP_ALIVE, "keep_alive_once", Unary;
    LeaseTimeToLive: path::lease::LEASE_TIME_TO_LIVE, "ttl", Unary;
    LeaseLeases: path::lease::LEASE_LEASES, "leases", Unary;
    Lock: path::lock::LOCK, "lock", Wait;
    Watch: path::watch::WATCH, "watch", Stream;
    MemberList: path::cluster::MEMBER_LIST, "list_members", Unary;
    MemberAdd: path::cluster::MEMBER_ADD, "add_member", Unary;
    MemberRemove: path::cluster::MEMBER_REMOVE, "remove_member", Unary;
    MemberUpdate: path::cluster::MEMBER_UPDATE, "update_member", Unary;
    MemberPromote: path::cluster::MEMBER_PROMOTE, "promote_member", Unary;
    AuthEnable: path::auth::AUTH_ENABLE, "enable_auth", Unary;
    AuthDisable: path::auth::AUTH_DISABLE, "disable_auth", Unary;
    AuthStatus: path::auth::AUTH_STATUS, "auth_status", Unary;
    Authenticate: path::auth::AUTHENTICATE, "authenticate", Unary;
    UserAdd: path::auth::USER_ADD, "add_user", Unary;
    UserDelete: path::auth::USER_DELETE, "delete_user", Unary;
    UserGet: path::auth::USER_GET, "get_user", Unary;
    UserList: path::auth::USER_LIST, "list_users", Unary;
    UserChangePassword: path::auth::USER_CHANGE_PASSWORD, "change_password", Unary;
    UserGrantRole: path::auth::USER_GRANT_ROLE, "grant_role", Unary;
    UserRevokeRole: path::auth::USER_REVOKE_ROLE, "revoke_role", Unary;
    RoleAdd: path::auth::ROLE_ADD, "add_role", Unary;
    RoleDelete: path::auth::ROLE_DELETE, "delete_role", Unary;
    RoleGet: path::auth::ROLE_GET, "get_role", Unary;
    RoleList: path::auth::ROLE_LIST, "list_roles", Unary;
    RoleGrantPermission: path::auth::ROLE_GRANT_PERMISSION, "grant_permission", Unary;
    RoleRevokePermission: path::auth::ROLE_REVOKE_PERMISSION, "revoke_permission", Unary;
    Alarm: path::maintenance::ALARM, "alarm", Unary;
    Status: path::maintenance::STATUS, "status", Unary;
    Defragment: path::maintenance::DEFRAGMENT, "defragment", Unary;
    Hash: path::maintenance::HASH, "hash", Unary;
    HashKv: path::maintenance::HASH_KV, "hash_kv", Unary;
    MoveLeader: path::maintenance::MOVE_LEADER, "move_leader", Unary;
    Downgrade: path::maintenance::DOWNGRADE, "downgrade", Unary;
    Snapshot: path::maintenance::SNAPSHOT, "snapshot", Stream;
    Unlock: path::lock::UNLOCK, "unlock", Unary;
}

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
