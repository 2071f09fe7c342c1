//! The service Maintenance: the answers of a node that is alone.

use bytes::Bytes;
use etcdex_proto::etcdserverpb as pb;
use etcdex_proto::etcdserverpb::alarm_request::AlarmAction;
use etcdex_proto::etcdserverpb::downgrade_request::DowngradeAction;

use crate::context::Context;
use crate::grpc::{Code, Status, decode};
use crate::node::Node;
use crate::service::{Progress, Work};
use crate::store::{Alarm, AlarmKind, KeyRange, RangeQuery, RangeReply};

/// The version of etcd whose answers the server gives.
pub(crate) const VERSION: &str = "3.7.3";

/// The version of the cluster: without the patch.
const CLUSTER_VERSION: &str = "3.7";

/// The version of the storage.
pub(crate) const STORAGE_VERSION: &str = "3.7.0";

/// The version before it.
const PREVIOUS_VERSION: &str = "3.6";

/// Bytes that an empty store of etcd has on the disk: the size is never 0.
const EMPTY_SIZE: usize = 20 << 10;

pub(crate) fn status(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let _: pb::StatusRequest = decode(message)?;
    let node = context.node();
    let store = node.store();
    context.require_user(&store)?;
    let size = signed(EMPTY_SIZE + store.size());
    let header = node.header(store.revision());
    let member_id = node.member_id();
    // There is no log: the index of the last entry is that of the last change.
    let index = u64::try_from(store.revision()).unwrap_or_default();
    Progress::answer(&pb::StatusResponse {
        raft_term: header.map_or(0, |header| header.raft_term),
        header,
        version: VERSION.to_owned(),
        db_size: size,
        leader: member_id,
        raft_index: index,
        raft_applied_index: index,
        errors: store.alarms().map(in_words).collect(),
        db_size_in_use: size,
        is_learner: false,
        storage_version: STORAGE_VERSION.to_owned(),
        db_size_quota: signed(node.options().quota_backend_bytes),
        downgrade_info: Some(pb::DowngradeInfo::default()),
    })
}

pub(crate) fn alarm(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let request: pb::AlarmRequest = decode(message)?;
    let node = context.node();
    let mut store = node.store();
    let kind = match request.alarm() {
        pb::AlarmType::None => None,
        pb::AlarmType::Nospace => Some(AlarmKind::NoSpace),
        pb::AlarmType::Corrupt => Some(AlarmKind::Corrupt),
    };
    let named = kind.map(|kind| Alarm {
        member: request.member_id,
        kind,
    });
    let alarms: Vec<Alarm> = match request.action() {
        AlarmAction::Get => {
            context.require_user(&store)?;
            let is_named = |alarm: &Alarm| kind.is_none_or(|kind| alarm.kind == kind);
            store.alarms().filter(is_named).collect()
        }
        AlarmAction::Activate => {
            context.require_admin(&store)?;
            named
                .into_iter()
                .inspect(|alarm| store.raise_alarm(*alarm))
                .collect()
        }
        AlarmAction::Deactivate => {
            context.require_admin(&store)?;
            named
                .into_iter()
                .filter(|alarm| store.lift_alarm(*alarm))
                .collect()
        }
    };
    Progress::answer(&pb::AlarmResponse {
        header: node.header(store.revision()),
        alarms: alarms.into_iter().map(alarm_member).collect(),
    })
}

/// Answers. There is nothing to do: the store has no file.
pub(crate) fn defragment(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let _: pb::DefragmentRequest = decode(message)?;
    context.require_admin(&context.node().store())?;
    Progress::answer(&pb::DefragmentResponse::default())
}

/// Answers with a hash of all pairs. It differs from that of etcd, which hashes its file.
pub(crate) fn hash(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let _: pb::HashRequest = decode(message)?;
    hash_pairs(context, 0, |node, reply| {
        Progress::answer(&pb::HashResponse {
            header: node.header(reply.revision),
            hash: fnv(&reply),
        })
    })
}

/// Answers with a hash of all pairs at a revision. It differs from that of etcd.
pub(crate) fn hash_kv(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let request: pb::HashKvRequest = decode(message)?;
    hash_pairs(context, request.revision, |node, reply| {
        Progress::answer(&pb::HashKvResponse {
            header: node.header(reply.revision),
            hash: fnv(&reply),
            compact_revision: node.store().compacted(),
            hash_revision: reply.at,
        })
    })
}

fn hash_pairs(
    context: &Context,
    revision: i64,
    answer: fn(&Node, RangeReply) -> Result<Progress, Status>,
) -> Result<Progress, Status> {
    let mut store = context.node().store();
    context.require_admin(&store)?;
    let all = KeyRange::new(b"\0"[..].into(), b"\0"[..].into());
    let query = RangeQuery {
        revision,
        ..RangeQuery::new(all)
    };
    let scan = store.begin_range(query)?;
    Ok(Progress::Working(Work::Scan(Box::new(scan), answer)))
}

/// FNV-1a of all pairs: <https://datatracker.ietf.org/doc/html/draft-eastlake-fnv>.
fn fnv(reply: &RangeReply) -> u32 {
    let bytes = reply.kvs.iter().flat_map(|kv| {
        let revision = kv.revision().main.to_be_bytes();
        let bytes = kv.key().iter().chain(kv.value()).copied();
        revision.into_iter().chain(bytes)
    });
    bytes.fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// Moves the lead of a cluster, which the only member has.
pub(crate) fn move_leader(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let request: pb::MoveLeaderRequest = decode(message)?;
    let node = context.node();
    context.require_admin(&node.store())?;
    if request.target_id != node.member_id() {
        let text = "etcdserver: bad leader transferee";
        return Err(Status::new(Code::FailedPrecondition, text));
    }
    Progress::answer(&pb::MoveLeaderResponse::default())
}

/// Says whether a downgrade is possible. The server carries out none.
pub(crate) fn downgrade(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let request: pb::DowngradeRequest = decode(message)?;
    let node = context.node();
    let store = node.store();
    context.require_admin(&store)?;
    let refused = |code, text| Err(Status::new(code, text));
    match request.action() {
        DowngradeAction::Validate => check_downgrade(&request.version)?,
        DowngradeAction::Enable => {
            check_downgrade(&request.version)?;
            let text = "etcdex-server: a store in memory cannot be downgraded";
            return refused(Code::FailedPrecondition, text);
        }
        // As in etcd, it is no error that there is none to cancel.
        DowngradeAction::Cancel => {}
    }
    Progress::answer(&pb::DowngradeResponse {
        header: node.header(store.revision()),
        version: CLUSTER_VERSION.to_owned(),
    })
}

fn check_downgrade(version: &str) -> Result<(), Status> {
    let numbers: Vec<Option<u64>> = version.split('.').map(|part| part.parse().ok()).collect();
    if !matches!(
        numbers[..],
        [Some(_), Some(_)] | [Some(_), Some(_), Some(_)]
    ) {
        let text = "etcdserver: wrong downgrade target version format";
        return Err(Status::new(Code::InvalidArgument, text));
    }
    let is_previous = version.strip_prefix(PREVIOUS_VERSION);
    if is_previous.is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) {
        return Ok(());
    }
    let text = "etcdserver: invalid downgrade target version";
    Err(Status::new(Code::InvalidArgument, text))
}

fn alarm_member(alarm: Alarm) -> pb::AlarmMember {
    let kind = match alarm.kind {
        AlarmKind::NoSpace => pb::AlarmType::Nospace,
        AlarmKind::Corrupt => pb::AlarmType::Corrupt,
    };
    pb::AlarmMember {
        member_id: alarm.member,
        alarm: kind.into(),
    }
}

/// Writes an alarm as Go writes etcd's message: a member 0 is left out.
fn in_words(alarm: Alarm) -> String {
    let member = alarm_member(alarm);
    let kind = member.alarm().as_str_name();
    match member.member_id {
        0 => format!("alarm:{kind}"),
        id => format!("memberID:{id} alarm:{kind}"),
    }
}

fn signed(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
