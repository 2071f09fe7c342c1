//! The calls of a history: etcd's requests, with revisions relative to the store's.

use bytes::Bytes;
use etcdex_proto::etcdserverpb as pb;
use etcdex_proto::etcdserverpb::compare::TargetUnion;
use etcdex_proto::etcdserverpb::request_op::Request as Operation;
use etcdex_proto::method::{auth, cluster, kv, lease, maintenance};
use prost::Message;

use super::fields;
use super::identity::Identity;
use super::reply::Reply;

/// Stands for the revision of the store. A revision that is not farther away than [`NEAR`] is relative to
/// it, so that a history that lacks some calls still means the same.
pub(crate) const NOW: i64 = 1 << 40;
/// Stands for the compacted revision.
pub(crate) const COMPACTED: i64 = 1 << 41;
const NEAR: i64 = 1_000;

/// Stands for the password that a user has.
pub(crate) const CURRENT: &str = "the current password";

/// A call of a history, and its caller.
#[derive(Clone)]
pub(crate) struct Step {
    pub(crate) identity: Identity,
    pub(crate) call: Call,
}

#[derive(Clone)]
pub(crate) enum Call {
    Unary(Unary),
    /// A call on a stream of watches. The identity counts when the stream is opened.
    Watch(usize, WatchCall),
}

#[derive(Clone)]
pub(crate) enum WatchCall {
    /// Opens the stream, and ends the one before.
    Open,
    Create(pb::WatchCreateRequest),
    Cancel(i64),
    /// Compares what both servers have told since the last time.
    Compare,
}

/// The revisions that relative ones are relative to.
#[derive(Clone, Copy)]
pub(crate) struct Revisions {
    pub(crate) now: i64,
    pub(crate) compacted: i64,
}

impl Revisions {
    /// Makes a relative revision absolute.
    pub(crate) fn resolve(self, revision: &mut i64) {
        for (mark, base) in [(NOW, self.now), (COMPACTED, self.compacted)] {
            let distance = *revision - mark;
            if distance.abs() <= NEAR {
                *revision = (base + distance).max(1);
            }
        }
    }
}

/// Defines the calls with one request message. The reply of a stream counts as its messages merged.
macro_rules! unary {
    ($($name:ident($request:ident) -> $reply:ident $path:path;)*) => {
        #[derive(Clone)]
        pub(crate) enum Unary {
            $($name(pb::$request),)*
        }

        impl Unary {
            pub(crate) fn path(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => $path,)*
                }
            }

            pub(crate) fn encode(&self) -> Vec<u8> {
                match self {
                    $(Self::$name(request) => request.encode_to_vec(),)*
                }
            }

            /// Returns a call of the same method with another request.
            fn with(&self, bytes: &[u8]) -> Option<Self> {
                match self {
                    $(Self::$name(_) => pb::$request::decode(bytes).ok().map(Self::$name),)*
                }
            }

            fn names(&self) -> String {
                match self {
                    $(Self::$name(request) => format!("{request:?}"),)*
                }
            }

            /// Replaces what differs on each server. Returns the reply, and the revision of its header.
            pub(crate) fn normalise(&self, reply: Bytes) -> (Vec<u8>, i64) {
                match self {
                    $(Self::$name(_) => {
                        let mut reply = pb::$reply::decode(reply).expect("a message of etcd");
                        reply.normalise();
                        (reply.encode_to_vec(), reply.revision())
                    })*
                }
            }

            /// Writes a reply: the names of its fields, and all its data.
            pub(crate) fn show_reply(&self, reply: &[u8]) -> String {
                let names = match self {
                    $(Self::$name(_) => format!("{:?}", pb::$reply::decode(reply)),)*
                };
                format!("{names}\n    = {}", fields::show(reply))
            }
        }
    };
}

unary! {
    Range(RangeRequest) -> RangeResponse kv::RANGE;
    RangeStream(RangeRequest) -> RangeStreamResponse kv::RANGE_STREAM;
    Put(PutRequest) -> PutResponse kv::PUT;
    Delete(DeleteRangeRequest) -> DeleteRangeResponse kv::DELETE_RANGE;
    Txn(TxnRequest) -> TxnResponse kv::TXN;
    Compact(CompactionRequest) -> CompactionResponse kv::COMPACT;
    Grant(LeaseGrantRequest) -> LeaseGrantResponse lease::LEASE_GRANT;
    Revoke(LeaseRevokeRequest) -> LeaseRevokeResponse lease::LEASE_REVOKE;
    TimeToLive(LeaseTimeToLiveRequest) -> LeaseTimeToLiveResponse lease::LEASE_TIME_TO_LIVE;
    Leases(LeaseLeasesRequest) -> LeaseLeasesResponse lease::LEASE_LEASES;
    KeepAlive(LeaseKeepAliveRequest) -> LeaseKeepAliveResponse lease::LEASE_KEEP_ALIVE;
    Enable(AuthEnableRequest) -> AuthEnableResponse auth::AUTH_ENABLE;
    Disable(AuthDisableRequest) -> AuthDisableResponse auth::AUTH_DISABLE;
    AuthStatus(AuthStatusRequest) -> AuthStatusResponse auth::AUTH_STATUS;
    Authenticate(AuthenticateRequest) -> AuthenticateResponse auth::AUTHENTICATE;
    UserAdd(AuthUserAddRequest) -> AuthUserAddResponse auth::USER_ADD;
    UserGet(AuthUserGetRequest) -> AuthUserGetResponse auth::USER_GET;
    UserList(AuthUserListRequest) -> AuthUserListResponse auth::USER_LIST;
    UserDelete(AuthUserDeleteRequest) -> AuthUserDeleteResponse auth::USER_DELETE;
    ChangePassword(AuthUserChangePasswordRequest) -> AuthUserChangePasswordResponse
        auth::USER_CHANGE_PASSWORD;
    GrantRole(AuthUserGrantRoleRequest) -> AuthUserGrantRoleResponse auth::USER_GRANT_ROLE;
    RevokeRole(AuthUserRevokeRoleRequest) -> AuthUserRevokeRoleResponse auth::USER_REVOKE_ROLE;
    RoleAdd(AuthRoleAddRequest) -> AuthRoleAddResponse auth::ROLE_ADD;
    RoleGet(AuthRoleGetRequest) -> AuthRoleGetResponse auth::ROLE_GET;
    RoleList(AuthRoleListRequest) -> AuthRoleListResponse auth::ROLE_LIST;
    RoleDelete(AuthRoleDeleteRequest) -> AuthRoleDeleteResponse auth::ROLE_DELETE;
    GrantPermission(AuthRoleGrantPermissionRequest) -> AuthRoleGrantPermissionResponse
        auth::ROLE_GRANT_PERMISSION;
    RevokePermission(AuthRoleRevokePermissionRequest) -> AuthRoleRevokePermissionResponse
        auth::ROLE_REVOKE_PERMISSION;
    Alarm(AlarmRequest) -> AlarmResponse maintenance::ALARM;
    Status(StatusRequest) -> StatusResponse maintenance::STATUS;
    Hash(HashRequest) -> HashResponse maintenance::HASH;
    HashKv(HashKvRequest) -> HashKvResponse maintenance::HASH_KV;
    MoveLeader(MoveLeaderRequest) -> MoveLeaderResponse maintenance::MOVE_LEADER;
    MemberList(MemberListRequest) -> MemberListResponse cluster::MEMBER_LIST;
    MemberUpdate(MemberUpdateRequest) -> MemberUpdateResponse cluster::MEMBER_UPDATE;
    MemberRemove(MemberRemoveRequest) -> MemberRemoveResponse cluster::MEMBER_REMOVE;
    MemberPromote(MemberPromoteRequest) -> MemberPromoteResponse cluster::MEMBER_PROMOTE;
}

impl Unary {
    /// Returns the call with absolute revisions.
    pub(crate) fn resolve(&self, revisions: Revisions) -> Self {
        let mut call = self.clone();
        match &mut call {
            Self::Range(range) | Self::RangeStream(range) => resolve_range(range, revisions),
            Self::Txn(txn) => resolve_txn(txn, revisions),
            Self::Compact(compact) => revisions.resolve(&mut compact.revision),
            Self::HashKv(hash) => revisions.resolve(&mut hash.revision),
            _ => {}
        }
        call
    }

    /// Returns calls that are simpler by one field of the request.
    pub(crate) fn simpler(&self) -> Vec<Self> {
        let smaller = fields::without_one(&self.encode());
        let calls = smaller.iter().filter_map(|bytes| self.with(bytes));
        // A lease that ends during the history ends at a time that is not the same on both servers.
        calls.filter(Self::lasts).collect()
    }

    fn lasts(&self) -> bool {
        !matches!(self, Self::Grant(grant) if grant.ttl == 0)
    }

    /// Writes the call: the names of its fields, and all its data.
    pub(crate) fn show(&self) -> String {
        let (path, data) = (self.path(), fields::show(&self.encode()));
        format!("{path} {}\n    = {data}", self.names())
    }
}

fn resolve_range(range: &mut pb::RangeRequest, revisions: Revisions) {
    for revision in [
        &mut range.revision,
        &mut range.min_mod_revision,
        &mut range.max_mod_revision,
        &mut range.min_create_revision,
        &mut range.max_create_revision,
    ] {
        revisions.resolve(revision);
    }
}

fn resolve_txn(txn: &mut pb::TxnRequest, revisions: Revisions) {
    for compare in &mut txn.compare {
        let given = &mut compare.target_union;
        if let Some(TargetUnion::CreateRevision(revision) | TargetUnion::ModRevision(revision)) =
            given
        {
            revisions.resolve(revision);
        }
    }
    for operation in txn.success.iter_mut().chain(&mut txn.failure) {
        match &mut operation.request {
            Some(Operation::RequestRange(range)) => resolve_range(range, revisions),
            Some(Operation::RequestTxn(inner)) => resolve_txn(inner, revisions),
            _ => {}
        }
    }
}

impl Step {
    /// Returns steps that are simpler: another identity, or one field less.
    pub(crate) fn simpler(&self) -> Vec<Self> {
        let identities = [Identity::Nobody, Identity::User("root")];
        let is_plain = identities.contains(&self.identity);
        let identities = identities.into_iter().filter(|_| !is_plain);
        let mut all: Vec<Self> = identities
            .map(|identity| Self {
                identity,
                call: self.call.clone(),
            })
            .collect();
        let calls: Vec<Call> = match &self.call {
            Call::Unary(call) => call.simpler().into_iter().map(Call::Unary).collect(),
            Call::Watch(slot, WatchCall::Create(create)) => {
                let smaller = fields::without_one(&create.encode_to_vec());
                let creates = smaller
                    .iter()
                    .filter_map(|bytes| pb::WatchCreateRequest::decode(&bytes[..]).ok());
                creates
                    .map(|create| Call::Watch(*slot, WatchCall::Create(create)))
                    .collect()
            }
            Call::Watch(..) => Vec::new(),
        };
        all.extend(calls.into_iter().map(|call| Self {
            identity: self.identity,
            call,
        }));
        all
    }
}
