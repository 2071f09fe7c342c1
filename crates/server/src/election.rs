//! The service Election.

use bytes::Bytes;
use etcdex_proto::v3electionpb as pb;

use crate::context::Context;
use crate::grpc::{Code, Status, decode};
use crate::kv::pair;
use crate::queue::{self, Changes, Place};
use crate::reply::Reply;
use crate::request::{Ended, Request};
use crate::service::Progress;
use crate::store::{KeyRange, KeyValue, OperationReply};

/// Waits until the caller leads. A client that goes away leaves the queue.
///
/// As in etcd, the key is not looked for again before the answer: a caller whose lease has ended
/// meanwhile is told that it leads.
pub(crate) async fn campaign(
    context: &Context,
    mut request: Request,
    reply: &mut Reply,
) -> Result<(), Ended> {
    let request: pb::CampaignRequest = decode(request.only().await?)?;
    let won = tokio::select! {
        won = win(context, request) => won,
        () = reply.given_up() => return Err(Ended::ByClient),
    };
    reply.send(&won.map_err(Status::of_a_client)?).await
}

async fn win(
    context: &Context,
    request: pb::CampaignRequest,
) -> Result<pb::CampaignResponse, Status> {
    let lease = queue::lease(context, request.lease)?;
    let prefix = queue::prefix(&request.name);
    let key = queue::key(&prefix, lease);
    let put = vec![queue::put(&key, request.value.clone(), lease)];
    let entered = queue::if_created_at(context, &key, 0, put, vec![queue::get(&key)])?;
    let own = match &entered.replies[..] {
        [OperationReply::Range(own)] if !entered.succeeded => own.kvs.first(),
        _ => None,
    };
    let rev = own.map_or(entered.revision, KeyValue::create_revision);
    let place = Place::new(context, prefix, key.clone(), rev);
    if own.is_some_and(|own| own.value() != request.value) {
        let put = vec![queue::put(&key, request.value, lease)];
        check_leader(queue::if_created_at(context, &key, rev, put, Vec::new())?.succeeded)?;
    }
    place.first().await?;
    Ok(pb::CampaignResponse {
        header: context.node().header(entered.revision),
        leader: Some(pb::LeaderKey {
            name: request.name,
            key: place.keep(),
            rev,
            lease,
        }),
    })
}

pub(crate) fn proclaim(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let request: pb::ProclaimRequest = decode(message)?;
    let leader = named_leader(request.leader)?;
    let put = vec![queue::put(&leader.key, request.value, leader.lease)];
    let reply = queue::if_created_at(context, &leader.key, leader.rev, put, Vec::new());
    let reply = reply.map_err(Status::of_a_client)?;
    check_leader(reply.succeeded)?;
    Progress::answer(&pb::ProclaimResponse {
        header: context.node().header(reply.revision),
    })
}

pub(crate) fn resign(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let request: pb::ResignRequest = decode(message)?;
    let leader = named_leader(request.leader)?;
    let delete = vec![queue::delete(&leader.key)];
    let reply = queue::if_created_at(context, &leader.key, leader.rev, delete, Vec::new());
    let reply = reply.map_err(Status::of_a_client)?;
    Progress::answer(&pb::ResignResponse {
        header: context.node().header(reply.revision),
    })
}

pub(crate) fn leader(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let request: pb::LeaderRequest = decode(message)?;
    let (revision, leader) = read_leader(context, &queue::prefix(&request.name))?;
    let none = || Status::new(Code::Unknown, "election: no leader");
    Progress::answer(&pb::LeaderResponse {
        header: context.node().header(revision),
        kv: Some(pair(&leader.ok_or_else(none)?)),
    })
}

/// Tells the client of the leader, and of each change.
pub(crate) async fn observe(
    context: &Context,
    mut request: Request,
    reply: &mut Reply,
) -> Result<(), Ended> {
    let request: pb::LeaderRequest = decode(request.only().await?)?;
    let prefix = queue::prefix(&request.name);
    loop {
        let (revision, leader) = read_leader(context, &prefix)?;
        let (at, leader) = match leader {
            Some(leader) => (revision, leader),
            None => {
                let put = first_put(context, &prefix, revision, reply).await?;
                (put.revision().main, put)
            }
        };
        tell(context, at, &leader, reply).await?;
        let key = KeyRange::single(Bytes::copy_from_slice(leader.key()));
        let mut changes = Changes::new(context.node(), key, leader.revision().main + 1);
        let mut leads = true;
        while leads {
            for event in wait(&mut changes, reply).await? {
                if event.is_tombstone() {
                    leads = false;
                    break;
                }
                tell(context, event.revision().main, &event, reply).await?;
            }
        }
    }
}

/// Waits for the first key of an election.
async fn first_put(
    context: &Context,
    prefix: &Bytes,
    revision: i64,
    reply: &mut Reply,
) -> Result<KeyValue, Ended> {
    let mut changes = Changes::new(context.node(), queue::range(prefix), revision + 1);
    loop {
        let events = wait(&mut changes, reply).await?;
        if let Some(put) = events.into_iter().find(|one| !one.is_tombstone()) {
            return Ok(put);
        }
    }
}

async fn wait(changes: &mut Changes, reply: &mut Reply) -> Result<Vec<KeyValue>, Ended> {
    tokio::select! {
        events = changes.next() => Ok(events?.into_iter().map(|event| event.change).collect()),
        () = reply.given_up() => Err(Ended::ByClient),
    }
}

async fn tell(
    context: &Context,
    revision: i64,
    leader: &KeyValue,
    reply: &mut Reply,
) -> Result<(), Ended> {
    let response = pb::LeaderResponse {
        header: context.node().header(revision),
        kv: Some(pair(leader)),
    };
    reply.send(&response).await
}

/// Returns the revision of the store, and the leader at it.
fn read_leader(context: &Context, prefix: &Bytes) -> Result<(i64, Option<KeyValue>), Status> {
    let store = context.node().store();
    let caller = context.caller(&store).map_err(Status::of_a_client)?;
    let allowed = store.authorize_read(caller.as_ref(), &queue::range(prefix));
    let first = allowed.and_then(|()| queue::first(&store, prefix));
    let first = first.map_err(|error| Status::from(error).of_a_client())?;
    Ok((store.revision(), first))
}

fn named_leader(leader: Option<pb::LeaderKey>) -> Result<pb::LeaderKey, Status> {
    leader.ok_or_else(|| Status::new(Code::Unknown, "\"leader\" field must be provided"))
}

fn check_leader(is_leader: bool) -> Result<(), Status> {
    match is_leader {
        true => Ok(()),
        false => Err(Status::new(Code::Unknown, "election: not leader")),
    }
}
