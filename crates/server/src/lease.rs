//! The service Lease: conversions between etcd's messages and the store.

use bytes::Bytes;
use etcdex_proto::etcdserverpb as pb;

use crate::grpc::{Status, decode, frame};
use crate::node::Node;

pub(crate) fn grant(node: &Node, message: Bytes) -> Result<Bytes, Status> {
    let request: pb::LeaseGrantRequest = decode(message)?;
    let mut store = node.store();
    let mut id = request.id;
    while id == 0 || (request.id == 0 && store.lease(id).is_some()) {
        id = fastrand::i64(1..);
    }
    let ttl = store.grant(id, request.ttl, node.now())?;
    frame(&pb::LeaseGrantResponse {
        header: node.header(store.revision()),
        id,
        ttl,
        error: String::new(),
    })
}

pub(crate) fn revoke(node: &Node, message: Bytes) -> Result<Bytes, Status> {
    let request: pb::LeaseRevokeRequest = decode(message)?;
    let mut store = node.store();
    store.revoke(request.id)?;
    frame(&pb::LeaseRevokeResponse {
        header: node.header(store.revision()),
    })
}

pub(crate) fn time_to_live(node: &Node, message: Bytes) -> Result<Bytes, Status> {
    let request: pb::LeaseTimeToLiveRequest = decode(message)?;
    let store = node.store();
    let mut reply = pb::LeaseTimeToLiveResponse {
        header: node.header(store.revision()),
        id: request.id,
        // etcd's answer for a lease that there is not.
        ttl: -1,
        ..pb::LeaseTimeToLiveResponse::default()
    };
    if let Some(lease) = store.lease(request.id) {
        let remaining = lease.remaining(node.now()).as_secs();
        reply.ttl = i64::try_from(remaining).unwrap_or(i64::MAX);
        reply.granted_ttl = lease.ttl();
        if request.keys {
            reply.keys = lease.keys().cloned().collect();
        }
    }
    frame(&reply)
}

pub(crate) fn leases(node: &Node, message: Bytes) -> Result<Bytes, Status> {
    let _: pb::LeaseLeasesRequest = decode(message)?;
    let store = node.store();
    let leases = store.leases().map(|id| pb::LeaseStatus { id });
    frame(&pb::LeaseLeasesResponse {
        header: node.header(store.revision()),
        leases: leases.collect(),
    })
}
