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

/// The work of a call whose request was read.
pub(crate) enum Work {
    /// The reply is there.
    Done(Bytes),
    /// A range is read.
    Scan(Box<RangeScan>),
    /// The reply, once a compaction is done.
    Sweep(Bytes),
}

/// Begins the work of a request.
pub(crate) fn begin(node: &Node, path: &str, message: Bytes) -> Result<Work, Status> {
    Ok(Work::Done(match path {
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

/// Does a step of the work. Returns what is left of it, or the reply.
pub(crate) fn step(node: &Node, work: Work) -> Result<Work, Result<Bytes, Status>> {
    match work {
        Work::Done(reply) => Err(Ok(reply)),
        Work::Scan(mut scan) => {
            let is_done = node.store().continue_range(&mut scan, STEP);
            if is_done {
                return Err(kv::scanned(node, *scan));
            }
            Ok(Work::Scan(scan))
        }
        Work::Sweep(reply) => {
            let has_more = node.store().sweep(STEP);
            if has_more {
                Ok(Work::Sweep(reply))
            } else {
                Err(Ok(reply))
            }
        }
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

const SERVICES: [&str; 2] = ["etcdserverpb.KV", "etcdserverpb.Lease"];
