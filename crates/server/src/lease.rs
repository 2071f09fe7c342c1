//! The service Lease: conversions between etcd's messages and the store.

use bytes::Bytes;
use etcdex_proto::etcdserverpb as pb;

use crate::context::Context;
use crate::grpc::{Status, decode};
use crate::reply::Reply;
use crate::request::{Ended, Request};
use crate::service::Progress;
use crate::store::Store;

pub(crate) fn grant(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let request: pb::LeaseGrantRequest = decode(message)?;
    let node = context.node();
    let mut store = node.store();
    context.require_user(&store)?;
    let id = match request.id {
        0 => unused_id(&store),
        id => id,
    };
    let ttl = store.grant(id, request.ttl, node.now())?;
    Progress::answer(&pb::LeaseGrantResponse {
        header: node.header(store.revision()),
        id,
        ttl,
        error: String::new(),
    })
}

/// Returns an ID that no lease has.
pub(crate) fn unused_id(store: &Store) -> i64 {
    loop {
        let id = fastrand::i64(1..);
        if store.lease(id).is_none() {
            return id;
        }
    }
}

pub(crate) fn revoke(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let request: pb::LeaseRevokeRequest = decode(message)?;
    let node = context.node();
    let mut store = node.store();
    let caller = context.caller(&store)?;
    store.authorize_revoke(caller.as_ref(), request.id)?;
    store.revoke(request.id)?;
    Progress::answer(&pb::LeaseRevokeResponse {
        header: node.header(store.revision()),
    })
}

pub(crate) fn time_to_live(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let request: pb::LeaseTimeToLiveRequest = decode(message)?;
    let node = context.node();
    let store = node.store();
    context.require_user(&store)?;
    if request.keys {
        let caller = context.caller(&store)?;
        store.authorize_lease(caller.as_ref(), request.id, false)?;
    }
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
    Progress::answer(&reply)
}

pub(crate) fn leases(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let _: pb::LeaseLeasesRequest = decode(message)?;
    let node = context.node();
    let store = node.store();
    context.require_user(&store)?;
    let caller = context.caller(&store)?;
    for id in store.leases() {
        store.authorize_lease(caller.as_ref(), id, false)?;
    }
    let leases = store.leases().map(|id| pb::LeaseStatus { id });
    Progress::answer(&pb::LeaseLeasesResponse {
        header: node.header(store.revision()),
        leases: leases.collect(),
    })
}

/// Renews leases, one for each request. The reply about a lease that there is not has the
/// time-to-live 0.
pub(crate) async fn keep_alive(
    context: &Context,
    mut requests: Request,
    reply: &mut Reply,
) -> Result<(), Ended> {
    while let Some(message) = requests.next().await? {
        let request: pb::LeaseKeepAliveRequest = decode(message)?;
        let renewed = renew(context, request.id)?;
        reply.send(&renewed).await?;
    }
    Ok(())
}

fn renew(context: &Context, id: i64) -> Result<pb::LeaseKeepAliveResponse, Status> {
    let node = context.node();
    let mut store = node.store();
    context.require_user(&store)?;
    let caller = context.caller(&store)?;
    store.authorize_lease(caller.as_ref(), id, true)?;
    let ttl = store.renew(id, node.now()).unwrap_or(0);
    Ok(pb::LeaseKeepAliveResponse {
        header: node.header(store.revision()),
        id,
        ttl,
    })
}
