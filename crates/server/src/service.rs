//! The methods of the server, by their paths.

use std::pin::Pin;

use bytes::Bytes;
use etcdex_proto::method::{
    auth as auth_method, cluster as cluster_method, election as election_method,
    health as health_method, kv as kv_method, lease as lease_method, lock as lock_method,
    maintenance as maintenance_method, watch as watch_method,
};

use crate::context::Context;
use crate::grpc::{self, Code, Status};
use crate::node::Node;
use crate::reply::Reply;
use crate::request::{Ended, Request};
use crate::store::{RangeReply, RangeScan};
use crate::wire::Encode;
use crate::{auth, cluster, election, health, kv, lease, lock, maintenance, watch};

/// Number of keys that one step of a range visits, of versions that one step of a compaction removes,
/// and of changes that one step of a watcher visits: some 100 us of work.
pub(crate) const STEP: usize = 500;

/// Begins a call with the message of its request.
pub(crate) type Unary = fn(&Context, Bytes) -> Result<Progress, Status>;

/// Answers a call with a range that was read.
pub(crate) type AnswerRange = fn(&Node, RangeReply) -> Result<Progress, Status>;

/// A method.
#[derive(Clone, Copy)]
pub(crate) enum Method {
    /// It has one message in each direction.
    Unary(Unary),
    /// It waits, or has many messages: it gets a task.
    Task(Task),
}

/// The task of a call.
pub(crate) type Task = for<'a> fn(&'a Context, Request, &'a mut Reply) -> Served<'a>;

/// The end of a call that is served.
pub(crate) type Served<'a> = Pin<Box<dyn Future<Output = Result<(), Ended>> + Send + 'a>>;

macro_rules! task {
    ($serve:path) => {
        Self::Task(|context, request, reply| Box::pin($serve(context, request, reply)))
    };
}

/// The state of a call after a step.
pub(crate) enum Progress {
    /// The call is answered.
    Answered(Bytes),
    /// There is more to do.
    Working(Work),
}

/// The work that is left of a call.
pub(crate) enum Work {
    /// A range is read, and answered by the function.
    Scan(Box<RangeScan>, AnswerRange),
    /// The reply, once a compaction is done.
    Sweep(Bytes),
}

impl Progress {
    /// Answers a call with this message.
    pub(crate) fn answer(message: &impl Encode) -> Result<Self, Status> {
        grpc::frame(message).map(Self::Answered)
    }
}

impl Method {
    /// Finds the method of a path.
    pub(crate) fn of(path: &str) -> Result<Self, Status> {
        let unary: Unary = match path {
            kv_method::RANGE => kv::range,
            kv_method::PUT => kv::put,
            kv_method::DELETE_RANGE => kv::delete_range,
            kv_method::TXN => kv::txn,
            kv_method::COMPACT => kv::compact,
            lease_method::LEASE_GRANT => lease::grant,
            lease_method::LEASE_REVOKE => lease::revoke,
            lease_method::LEASE_TIME_TO_LIVE => lease::time_to_live,
            lease_method::LEASE_LEASES => lease::leases,
            auth_method::AUTH_ENABLE => auth::enable,
            auth_method::AUTH_DISABLE => auth::disable,
            auth_method::AUTH_STATUS => auth::status,
            auth_method::AUTHENTICATE => auth::authenticate,
            auth_method::USER_ADD => auth::user_add,
            auth_method::USER_GET => auth::user_get,
            auth_method::USER_LIST => auth::user_list,
            auth_method::USER_DELETE => auth::user_delete,
            auth_method::USER_CHANGE_PASSWORD => auth::user_change_password,
            auth_method::USER_GRANT_ROLE => auth::user_grant_role,
            auth_method::USER_REVOKE_ROLE => auth::user_revoke_role,
            auth_method::ROLE_ADD => auth::role_add,
            auth_method::ROLE_GET => auth::role_get,
            auth_method::ROLE_LIST => auth::role_list,
            auth_method::ROLE_DELETE => auth::role_delete,
            auth_method::ROLE_GRANT_PERMISSION => auth::role_grant_permission,
            auth_method::ROLE_REVOKE_PERMISSION => auth::role_revoke_permission,
            cluster_method::MEMBER_ADD => cluster::member_add,
            cluster_method::MEMBER_REMOVE => cluster::member_remove,
            cluster_method::MEMBER_UPDATE => cluster::member_update,
            cluster_method::MEMBER_LIST => cluster::member_list,
            cluster_method::MEMBER_PROMOTE => cluster::member_promote,
            maintenance_method::ALARM => maintenance::alarm,
            maintenance_method::STATUS => maintenance::status,
            maintenance_method::DEFRAGMENT => maintenance::defragment,
            maintenance_method::HASH => maintenance::hash,
            maintenance_method::HASH_KV => maintenance::hash_kv,
            maintenance_method::MOVE_LEADER => maintenance::move_leader,
            maintenance_method::DOWNGRADE => maintenance::downgrade,
            lock_method::UNLOCK => lock::unlock,
            election_method::PROCLAIM => election::proclaim,
            election_method::LEADER => election::leader,
            election_method::RESIGN => election::resign,
            health_method::CHECK => health::check,
            kv_method::RANGE_STREAM => return Ok(task!(kv::range_stream)),
            lease_method::LEASE_KEEP_ALIVE => return Ok(task!(lease::keep_alive)),
            watch_method::WATCH => return Ok(task!(watch::serve)),
            lock_method::LOCK => return Ok(task!(lock::lock)),
            election_method::CAMPAIGN => return Ok(task!(election::campaign)),
            election_method::OBSERVE => return Ok(task!(election::observe)),
            health_method::WATCH => return Ok(task!(health::watch)),
            _ => return Err(unknown(path)),
        };
        Ok(Self::Unary(unary))
    }
}

/// Begins the work of a request, and does it, if it is short.
pub(crate) fn begin(
    context: &Context,
    method: Unary,
    request: Option<Bytes>,
) -> Result<Progress, Status> {
    let message = request.ok_or_else(|| Status::new(Code::Unknown, "EOF"))?;
    method(context, message)
}

/// Does a step of the work.
pub(crate) fn step(node: &Node, work: Work) -> Result<Progress, Status> {
    match work {
        Work::Scan(mut scan, answer) => {
            if node.store().continue_range(&mut scan, STEP) {
                answer(node, scan.finish())
            } else {
                Ok(Progress::Working(Work::Scan(scan, answer)))
            }
        }
        Work::Sweep(reply) if node.store().sweep(STEP) => Ok(Progress::Working(Work::Sweep(reply))),
        Work::Sweep(reply) => Ok(Progress::Answered(reply)),
    }
}

/// Returns the answer of grpc-go to a method that there is not.
fn unknown(path: &str) -> Status {
    let name = path.strip_prefix('/').unwrap_or(path);
    let text = match name.rsplit_once('/') {
        None => format!("malformed method name: {path:?}"),
        Some((service, method)) if SERVICES.contains(&service) => {
            format!("unknown method {method} for service {service}")
        }
        Some((service, _)) => format!("unknown service {service}"),
    };
    Status::new(Code::Unimplemented, text)
}

const SERVICES: [&str; 9] = [
    "etcdserverpb.Auth",
    "etcdserverpb.Cluster",
    "etcdserverpb.KV",
    "etcdserverpb.Lease",
    "etcdserverpb.Maintenance",
    "etcdserverpb.Watch",
    "grpc.health.v1.Health",
    "v3electionpb.Election",
    "v3lockpb.Lock",
];
