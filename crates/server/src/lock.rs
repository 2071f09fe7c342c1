//! The service Lock.

use bytes::Bytes;
use etcdex_proto::v3lockpb as pb;

use crate::context::Context;
use crate::grpc::{Code, Status, decode};
use crate::queue::{self, Place};
use crate::reply::Reply;
use crate::request::{Ended, Request};
use crate::service::Progress;
use crate::store::{Delete, KeyRange, OperationReply};

/// Waits for a lock. A client that goes away leaves the queue.
pub(crate) async fn lock(
    context: &Context,
    mut request: Request,
    reply: &mut Reply,
) -> Result<(), Ended> {
    let request: pb::LockRequest = decode(request.only().await?)?;
    let locked = tokio::select! {
        locked = acquire(context, request) => locked,
        () = reply.given_up() => return Err(Ended::ByClient),
    };
    reply.send(&locked.map_err(Status::of_a_client)?).await
}

async fn acquire(context: &Context, request: pb::LockRequest) -> Result<pb::LockResponse, Status> {
    let lease = queue::lease(context, request.lease)?;
    let prefix = queue::prefix(&request.name);
    let key = queue::key(&prefix, lease);
    let put = vec![queue::put(&key, Bytes::new(), lease)];
    let entered = queue::if_created_at(context, &key, 0, put, vec![queue::get(&key)])?;
    let create_revision = match &entered.replies[..] {
        [OperationReply::Range(own)] if !entered.succeeded => own
            .kvs
            .first()
            .map_or(0, crate::store::KeyValue::create_revision),
        _ => entered.revision,
    };
    let place = Place::new(context, prefix, key, create_revision);
    place.first().await?;
    if !place.is_there() {
        return Err(Status::new(Code::Unknown, "mutex: session is expired"));
    }
    let node = context.node();
    let revision = node.store().revision();
    Ok(pb::LockResponse {
        header: node.header(revision),
        key: place.keep(),
    })
}

pub(crate) fn unlock(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let request: pb::UnlockRequest = decode(message)?;
    let node = context.node();
    let mut store = node.store();
    let caller = context.caller(&store)?;
    let delete = Delete {
        range: KeyRange::single(request.key),
        prev_kv: false,
    };
    let deleted = store
        .authorize_delete(caller.as_ref(), &delete)
        .and_then(|()| store.delete(&delete));
    let reply = deleted.map_err(|error| Status::from(error).of_a_client())?;
    Progress::answer(&pb::UnlockResponse {
        header: node.header(reply.revision),
    })
}
