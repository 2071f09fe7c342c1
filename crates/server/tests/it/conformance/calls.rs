//! The calls of the list.

use bytes::Bytes;
use etcdex_proto::etcdserverpb as pb;
use etcdex_proto::etcdserverpb::request_op::Request as Operation;
use etcdex_proto::method::{auth, cluster, kv, lease, maintenance};
use etcdex_proto::{authpb, mvccpb};
use h2::client::SendRequest;
use prost::Message;

use crate::raw::{call, connect};

/// Sends calls one after the other, and writes their replies down.
struct List {
    sender: SendRequest<Bytes>,
    replies: Vec<(&'static str, String)>,
}

impl List {
    /// Sends a call. `show` writes what the servers have in common of a good reply.
    async fn add<M: Message + Default>(
        &mut self,
        name: &'static str,
        path: &str,
        request: &impl Message,
        show: fn(M) -> String,
    ) {
        let reply = match call::<M>(&self.sender, path, request).await {
            Ok(reply) => show(reply),
            Err((code, text)) => format!("error {code}, {text}"),
        };
        self.replies.push((name, reply));
    }

    async fn put(&mut self, name: &'static str, request: pb::PutRequest) {
        let show = |reply: pb::PutResponse| {
            let before = reply.prev_kv.as_ref().map(pair);
            format!("revision {}, before {before:?}", revision(reply.header))
        };
        self.add(name, kv::PUT, &request, show).await;
    }

    async fn range(&mut self, name: &'static str, request: pb::RangeRequest) {
        self.add(name, kv::RANGE, &request, range).await;
    }

    async fn delete(&mut self, name: &'static str, request: pb::DeleteRangeRequest) {
        let show = |reply: pb::DeleteRangeResponse| {
            let before: Vec<String> = reply.prev_kvs.iter().map(pair).collect();
            let revision = revision(reply.header);
            format!("revision {revision}, deleted {} {before:?}", reply.deleted)
        };
        self.add(name, kv::DELETE_RANGE, &request, show).await;
    }

    async fn txn(&mut self, name: &'static str, request: pb::TxnRequest) {
        let show = |reply: pb::TxnResponse| {
            let replies = reply.responses.len();
            let revision = revision(reply.header);
            format!(
                "revision {revision}, {}, {replies} replies",
                reply.succeeded
            )
        };
        self.add(name, kv::TXN, &request, show).await;
    }

    async fn compact(&mut self, name: &'static str, revision: i64) {
        let request = pb::CompactionRequest {
            revision,
            physical: true,
        };
        let show = |_: pb::CompactionResponse| "good".to_owned();
        self.add(name, kv::COMPACT, &request, show).await;
    }

    async fn grant(&mut self, name: &'static str, id: i64, ttl: i64) {
        let request = pb::LeaseGrantRequest { id, ttl };
        let show = |reply: pb::LeaseGrantResponse| {
            format!(
                "id {}, ttl {}, error {:?}",
                reply.id, reply.ttl, reply.error
            )
        };
        self.add(name, lease::LEASE_GRANT, &request, show).await;
    }
}

fn revision(header: Option<pb::ResponseHeader>) -> i64 {
    header.map_or(-1, |header| header.revision)
}

fn pair(kv: &mvccpb::KeyValue) -> String {
    format!(
        "{}={} created {} changed {} version {} lease {}",
        String::from_utf8_lossy(&kv.key),
        String::from_utf8_lossy(&kv.value),
        kv.create_revision,
        kv.mod_revision,
        kv.version,
        kv.lease
    )
}

fn range(reply: pb::RangeResponse) -> String {
    let kvs: Vec<String> = reply.kvs.iter().map(pair).collect();
    let (count, more) = (reply.count, reply.more);
    format!("count {count}, more {more}, {kvs:?}")
}

fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        ..pb::PutRequest::default()
    }
}

fn get(key: &str, end: &str) -> pb::RangeRequest {
    pb::RangeRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        range_end: Bytes::copy_from_slice(end.as_bytes()),
        ..pb::RangeRequest::default()
    }
}

fn delete(key: &str, end: &str) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        range_end: Bytes::copy_from_slice(end.as_bytes()),
        prev_kv: true,
    }
}

fn operation(request: Operation) -> pb::RequestOp {
    pb::RequestOp {
        request: Some(request),
    }
}

/// Returns the replies to all calls, with the names of the calls. The server is fresh.
pub(super) async fn replies(url: &str) -> Vec<(&'static str, String)> {
    let mut list = List {
        sender: connect(url).await,
        replies: Vec::new(),
    };
    pairs(&mut list).await;
    ranges(&mut list).await;
    transactions(&mut list).await;
    leases(&mut list).await;
    history(&mut list).await;
    others(&mut list).await;
    users(&mut list).await;
    list.replies
}

async fn pairs(list: &mut List) {
    list.put("a first put", put("a", "1")).await;
    let prev_kv = pb::PutRequest {
        prev_kv: true,
        ..put("a", "2")
    };
    list.put("a put that replaces", prev_kv).await;
    list.put("a put without a key", put("", "1")).await;
    let ignore_value = pb::PutRequest {
        ignore_value: true,
        ..put("b", "")
    };
    list.put("no value for a key that is not there", ignore_value.clone())
        .await;
    let both = pb::PutRequest {
        ignore_value: true,
        ..put("a", "3")
    };
    list.put("a value that is to be ignored", both).await;
    let ignore_lease = pb::PutRequest {
        ignore_lease: true,
        lease: 7,
        ..put("a", "3")
    };
    list.put("a lease that is to be ignored", ignore_lease)
        .await;
    let unknown = pb::PutRequest {
        lease: 7,
        ..put("a", "3")
    };
    list.put("a put with an unknown lease", unknown).await;
    list.delete("a deletion of nothing", delete("none", ""))
        .await;
    list.delete("a deletion without a key", delete("", ""))
        .await;
    list.delete("a deletion", delete("a", "")).await;
    list.range("a key that was deleted", get("a", "")).await;
}

async fn ranges(list: &mut List) {
    for (name, key) in [
        ("a put of x", "x"),
        ("a put of y", "y"),
        ("a put of z", "z"),
    ] {
        list.put(name, put(key, key)).await;
    }
    list.range("a range without a key", get("", "")).await;
    list.range("a range", get("x", "z")).await;
    list.range("an empty range", get("z", "x")).await;
    list.range("a range from a key", get("y", "\0")).await;
    list.range("all keys", get("\0", "\0")).await;
    let limited = pb::RangeRequest {
        limit: 1,
        ..get("x", "\0")
    };
    list.range("a limit", limited.clone()).await;
    let keys_only = pb::RangeRequest {
        keys_only: true,
        ..limited.clone()
    };
    list.range("keys only", keys_only).await;
    let count_only = pb::RangeRequest {
        count_only: true,
        ..get("x", "\0")
    };
    list.range("a count", count_only).await;
    let falling = pb::RangeRequest {
        sort_order: 2,
        sort_target: 3,
        ..get("x", "\0")
    };
    list.range("falling by change", falling).await;
    let future = pb::RangeRequest {
        revision: 1_000,
        ..get("x", "")
    };
    list.range("a revision of the future", future).await;
    let filtered = pb::RangeRequest {
        min_mod_revision: 6,
        ..get("x", "\0")
    };
    list.range("changed since", filtered).await;
    let serializable = pb::RangeRequest {
        serializable: true,
        ..get("x", "")
    };
    list.range("a serializable read", serializable).await;
}

async fn transactions(list: &mut List) {
    let compare = |version: i64| pb::Compare {
        result: 0,
        target: 0,
        key: "x".into(),
        target_union: Some(pb::compare::TargetUnion::Version(version)),
        ..pb::Compare::default()
    };
    let read = || operation(Operation::RequestRange(get("x", "")));
    let write = |key: &str| operation(Operation::RequestPut(put(key, "t")));
    let txn = |version, success, failure| pb::TxnRequest {
        compare: vec![compare(version)],
        success,
        failure,
    };
    list.txn(
        "a transaction that succeeds",
        txn(1, vec![write("t"), read()], vec![]),
    )
    .await;
    list.txn(
        "a transaction that fails",
        txn(9, vec![write("t")], vec![read()]),
    )
    .await;
    list.txn("an empty transaction", pb::TxnRequest::default())
        .await;
    let twice = vec![write("t"), write("t")];
    list.txn("a key that is put twice", txn(1, twice, vec![]))
        .await;
    let overlap = vec![
        write("t"),
        operation(Operation::RequestDeleteRange(delete("s", "u"))),
    ];
    list.txn("a key that is put and deleted", txn(1, overlap, vec![]))
        .await;
    let many = (0..129).map(|_| read()).collect();
    list.txn("too many operations", txn(1, many, vec![])).await;
    let nested = operation(Operation::RequestTxn(txn(1, vec![write("n")], vec![])));
    list.txn("a nested transaction", txn(1, vec![nested], vec![]))
        .await;
    let without_key = txn(1, vec![write("")], vec![]);
    list.txn("an operation without a key", without_key).await;
}

async fn leases(list: &mut List) {
    list.grant("a lease", 100, 60).await;
    list.grant("the same lease", 100, 60).await;
    list.grant("a lease that is too long", 101, 9_000_000_001)
        .await;
    list.grant("a lease without a time", 102, 0).await;
    let attached = pb::PutRequest {
        lease: 100,
        ..put("l", "1")
    };
    list.put("a put with a lease", attached).await;
    let show = |reply: pb::LeaseTimeToLiveResponse| {
        let left = if reply.ttl > 0 { "some" } else { "none" };
        format!(
            "granted {}, left {left}, keys {:?}",
            reply.granted_ttl, reply.keys
        )
    };
    for (name, id) in [("the time of a lease", 100), ("the time of no lease", 7)] {
        let request = pb::LeaseTimeToLiveRequest { id, keys: true };
        list.add(name, lease::LEASE_TIME_TO_LIVE, &request, show)
            .await;
    }
    let request = pb::LeaseLeasesRequest {};
    let show = |reply: pb::LeaseLeasesResponse| {
        let mut ids: Vec<i64> = reply.leases.iter().map(|lease| lease.id).collect();
        ids.sort_unstable();
        format!("{ids:?}")
    };
    list.add("all leases", lease::LEASE_LEASES, &request, show)
        .await;
    let show = |reply: pb::LeaseRevokeResponse| format!("revision {}", revision(reply.header));
    for (name, id) in [("a revocation", 100), ("a revocation of no lease", 100)] {
        let request = pb::LeaseRevokeRequest { id };
        list.add(name, lease::LEASE_REVOKE, &request, show).await;
    }
    list.range("a key whose lease is gone", get("l", "")).await;
}

async fn history(list: &mut List) {
    list.compact("a compaction of the future", 1_000).await;
    list.compact("a compaction", 5).await;
    list.compact("the same compaction", 5).await;
    let old = pb::RangeRequest {
        revision: 3,
        ..get("a", "")
    };
    list.range("a read of what is compacted", old).await;
}

async fn others(list: &mut List) {
    let members = pb::MemberListRequest::default();
    let show = |reply: pb::MemberListResponse| format!("{} members", reply.members.len());
    list.add("the members", cluster::MEMBER_LIST, &members, show)
        .await;
    let remove = pb::MemberRemoveRequest { id: 1 };
    let show = |_: pb::MemberRemoveResponse| "good".to_owned();
    list.add(
        "a member that is not there",
        cluster::MEMBER_REMOVE,
        &remove,
        show,
    )
    .await;
    let alarms = pb::AlarmRequest::default();
    let show = |reply: pb::AlarmResponse| format!("{} alarms", reply.alarms.len());
    list.add("the alarms", maintenance::ALARM, &alarms, show)
        .await;
    let lead = pb::MoveLeaderRequest { target_id: 1 };
    let show = |_: pb::MoveLeaderResponse| "good".to_owned();
    list.add(
        "a leader that is not there",
        maintenance::MOVE_LEADER,
        &lead,
        show,
    )
    .await;
}

async fn users(list: &mut List) {
    let status = pb::AuthStatusRequest {};
    let show =
        |reply: pb::AuthStatusResponse| format!("{}, {}", reply.enabled, reply.auth_revision);
    list.add("whether users are needed", auth::AUTH_STATUS, &status, show)
        .await;
    let enable = pb::AuthEnableRequest {};
    let show_enabled = |_: pb::AuthEnableResponse| "good".to_owned();
    list.add(
        "users without root",
        auth::AUTH_ENABLE,
        &enable,
        show_enabled,
    )
    .await;
    let show = |_: pb::AuthUserAddResponse| "good".to_owned();
    for (name, user) in [
        ("a user", "root"),
        ("the same user", "root"),
        ("a user without a name", ""),
    ] {
        let request = pb::AuthUserAddRequest {
            name: user.into(),
            password: "secret".into(),
            ..pb::AuthUserAddRequest::default()
        };
        list.add(name, auth::USER_ADD, &request, show).await;
    }
    let show = |_: pb::AuthRoleAddResponse| "good".to_owned();
    for (name, role) in [
        ("a role", "r"),
        ("the same role", "r"),
        ("a role without a name", ""),
    ] {
        let request = pb::AuthRoleAddRequest { name: role.into() };
        list.add(name, auth::ROLE_ADD, &request, show).await;
    }
    let permission = pb::AuthRoleGrantPermissionRequest {
        name: "none".into(),
        perm: Some(authpb::Permission {
            perm_type: 0,
            key: "k".into(),
            range_end: Bytes::new(),
        }),
    };
    let show = |_: pb::AuthRoleGrantPermissionResponse| "good".to_owned();
    let path = auth::ROLE_GRANT_PERMISSION;
    list.add("a permission of no role", path, &permission, show)
        .await;
    let show = |_: pb::AuthUserGrantRoleResponse| "good".to_owned();
    for (name, role) in [
        ("a role that is not there", "none"),
        ("the role of root", "root"),
    ] {
        let request = pb::AuthUserGrantRoleRequest {
            user: "root".into(),
            role: role.into(),
        };
        list.add(name, auth::USER_GRANT_ROLE, &request, show).await;
    }
    let show = |reply: pb::AuthUserGetResponse| format!("{:?}", reply.roles);
    for (name, user) in [
        ("the roles of a user", "root"),
        ("the roles of no user", "none"),
    ] {
        let request = pb::AuthUserGetRequest { name: user.into() };
        list.add(name, auth::USER_GET, &request, show).await;
    }
    let login = |password: &str| pb::AuthenticateRequest {
        name: "root".into(),
        password: password.into(),
    };
    let show = |reply: pb::AuthenticateResponse| format!("a token: {}", !reply.token.is_empty());
    list.add(
        "a login that is not needed",
        auth::AUTHENTICATE,
        &login("secret"),
        show,
    )
    .await;
    list.add("users with root", auth::AUTH_ENABLE, &enable, show_enabled)
        .await;
    list.add("a login", auth::AUTHENTICATE, &login("secret"), show)
        .await;
    list.add(
        "a login with a wrong password",
        auth::AUTHENTICATE,
        &login("x"),
        show,
    )
    .await;
    list.put("a put without a user", put("k", "v")).await;
    list.range("a read without a user", get("k", "")).await;
}
