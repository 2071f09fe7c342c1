//! The methods of the server, by their paths.

use bytes::Bytes;
use etcdex_proto::method::{kv as kv_method, lease as lease_method};

use crate::grpc::{Code, Status};
use crate::node::Node;
use crate::store::RangeScan;
use crate::{kv, lease};

/// Number of keys that one step of a range visits, and of versions that one step of a compaction
/// removes: some 100 us of work.
pub(crate) const STEP: usize = 500;

/// The state of a call after a step.
pub(crate) enum Progress {
    /// The call is answered.
    Answered(Bytes),
    /// There is more to do.
    Working(Work),
}

/// The work that is left of a call.
pub(crate) enum Work {
    /// A range is read.
    Scan(Box<RangeScan>),
    /// The reply, once a compaction is done.
    Sweep(Bytes),
}

/// Begins the work of a request.
pub(crate) fn begin(node: &Node, path: &str, message: Bytes) -> Result<Progress, Status> {
    Ok(Progress::Answered(match path {
        kv_method::RANGE => return kv::range(node, message),
        kv_method::COMPACT => return kv::compact(node, message),
        kv_method::PUT => kv::put(node, message)?,
        kv_method::DELETE_RANGE => kv::delete_range(node, message)?,
        kv_method::TXN => kv::txn(node, message)?,
        lease_method::LEASE_GRANT => lease::grant(node, message)?,
        lease_method::LEASE_REVOKE => lease::revoke(node, message)?,
        lease_method::LEASE_TIME_TO_LIVE => lease::time_to_live(node, message)?,
        lease_method::LEASE_LEASES => lease::leases(node, message)?,
        _ => return Err(unknown(path)),
    }))
}

/// Does a step of the work.
pub(crate) fn step(node: &Node, work: Work) -> Result<Progress, Status> {
    Ok(match work {
        Work::Scan(mut scan) => {
            if node.store().continue_range(&mut scan, STEP) {
                Progress::Answered(kv::range_read(node, scan.finish())?)
            } else {
                Progress::Working(Work::Scan(scan))
            }
        }
        Work::Sweep(reply) if node.store().sweep(STEP) => Progress::Working(Work::Sweep(reply)),
        Work::Sweep(reply) => Progress::Answered(reply),
    })
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

const SERVICES: [&str; 2] = ["etcdserverpb.KV", "etcdserverpb.Lease"];
