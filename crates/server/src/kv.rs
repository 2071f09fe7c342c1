//! The service KV: conversions between etcd's messages and the store.
//!
//! Source: etcd, `server/etcdserver/api/v3rpc/key.go` for the checks of requests.

mod txn;

use bytes::Bytes;
use etcdex_proto::etcdserverpb as pb;
use etcdex_proto::etcdserverpb::range_request::{SortOrder as WireOrder, SortTarget as WireTarget};
use etcdex_proto::etcdserverpb::response_op::Response;
use etcdex_proto::mvccpb;
use prost::Message;

use crate::context::Context;
use crate::grpc::{self, Code, Status, decode};
use crate::node::Node;
use crate::reply::Reply;
use crate::request::{Ended, Request};
use crate::service::{Progress, STEP, Work};
use crate::store::{self, KeyRange, KeyValue, RangeQuery, SortOrder, SortTarget, StoreError};
use crate::wire;

/// The length of a message of a streamed range, in bytes, without its last pair.
const STREAMED: usize = 1 << 20;

pub(crate) fn range(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let node = context.node();
    let request: pb::RangeRequest = decode(message)?;
    let is_single = request.range_end.is_empty();
    let query = query(request)?;
    let mut store = node.store();
    let caller = context.caller(&store)?;
    store.authorize_read(caller.as_ref(), &query.range)?;
    if is_single {
        let reply = store.range(query)?;
        drop(store);
        return answer_range(node, reply);
    }
    let scan = store.begin_range(query)?;
    Ok(Progress::Working(Work::Scan(Box::new(scan), answer_range)))
}

/// Answers with a range that was read.
fn answer_range(node: &Node, reply: store::RangeReply) -> Result<Progress, Status> {
    Progress::answer(&wire::RangeResponse {
        rest: pb::RangeResponse {
            header: node.header(reply.revision),
            more: reply.more,
            count: reply.count,
            ..pb::RangeResponse::default()
        },
        kvs: reply.kvs,
    })
}

/// Reads a range, and sends the pairs in several messages, all at one revision. The last one has the
/// header and the count.
pub(crate) async fn range_stream(
    context: &Context,
    mut request: Request,
    reply: &mut Reply,
) -> Result<(), Ended> {
    let request: pb::RangeRequest = decode(request.only().await?)?;
    let is_streamed = check_streamed(&request);
    let query = query(request)?;
    is_streamed?;
    let node = context.node();
    let mut scan = {
        let mut store = node.store();
        let caller = context.caller(&store)?;
        store.authorize_read(caller.as_ref(), &query.range)?;
        store.begin_range(query)?
    };
    while !node.store().continue_range(&mut scan, STEP) {
        tokio::task::yield_now().await;
    }
    let mut pairs = scan.finish();
    let kvs = std::mem::take(&mut pairs.kvs);
    let mut kvs = kvs.iter().map(pair).peekable();
    loop {
        let mut chunk = pb::RangeResponse::default();
        let mut length = 0;
        while length < STREAMED && kvs.peek().is_some() {
            if let Some(kv) = kvs.next() {
                length += kv.encoded_len();
                chunk.kvs.push(kv);
            }
        }
        let is_last = kvs.peek().is_none();
        if is_last {
            chunk.header = node.header(pairs.revision);
            chunk.more = pairs.more;
            chunk.count = pairs.count;
        }
        let range_response = Some(chunk);
        reply
            .send(&pb::RangeStreamResponse { range_response })
            .await?;
        if is_last {
            return Ok(());
        }
    }
}

/// Refuses what etcd does not stream.
fn check_streamed(request: &pb::RangeRequest) -> Result<(), Status> {
    let is_in_key_order = match request.sort_order() {
        WireOrder::None => true,
        WireOrder::Ascend => request.sort_target() == WireTarget::Key,
        WireOrder::Descend => false,
    };
    let filters = [
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    ];
    let text = match filters {
        _ if !is_in_key_order => "RangeStream does not support custom sort orders",
        [0, 0, 0, 0] => return Ok(()),
        _ => "RangeStream does not support revision filters",
    };
    Err(Status::new(Code::Unimplemented, text))
}

pub(crate) fn put(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let node = context.node();
    let length = message.len();
    let request = change(decode(message)?);
    request.validate()?;
    let mut store = node.store();
    let caller = context.caller(&store)?;
    check_size(node, length)?;
    store.authorize_put(caller.as_ref(), &request)?;
    let reply = store.put(&request)?;
    drop(store);
    Progress::answer(&put_reply(node.header(reply.revision), reply))
}

pub(crate) fn delete_range(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let node = context.node();
    let length = message.len();
    let request = deletion(decode(message)?);
    request.validate()?;
    let mut store = node.store();
    let caller = context.caller(&store)?;
    check_size(node, length)?;
    store.authorize_delete(caller.as_ref(), &request)?;
    let reply = store.delete(&request)?;
    drop(store);
    Progress::answer(&delete_reply(node.header(reply.revision), reply))
}

pub(crate) fn txn(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let node = context.node();
    let length = message.len();
    let request = txn::transaction(decode(message)?, node.options().max_txn_ops)?;
    let mut store = node.store();
    let is_sized = !request.is_read_only();
    if store.is_auth_enabled() || (is_sized && check_size(node, length).is_err()) {
        // The store would refuse it, too, but etcd does so before it looks at the caller and the size.
        store.validate_txn(&request)?;
    }
    let caller = context.caller(&store)?;
    if is_sized {
        check_size(node, length)?;
    }
    store.authorize_txn(caller.as_ref(), &request)?;
    let reply = store.txn(&request)?;
    drop(store);
    Progress::answer(&txn_reply(node.header(reply.revision), reply))
}

pub(crate) fn compact(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let node = context.node();
    let request: pb::CompactionRequest = decode(message)?;
    let mut store = node.store();
    context.require_admin(&store)?;
    store.compact(request.revision)?;
    let header = node.header(store.revision());
    drop(store);
    let reply = grpc::frame(&pb::CompactionResponse { header })?;
    if request.physical {
        return Ok(Progress::Working(Work::Sweep(reply)));
    }
    node.compacted().notify_one();
    Ok(Progress::Answered(reply))
}

/// Refuses a request that changes the store and is too large. As in etcd, this comes after the checks of the
/// request and of the token.
fn check_size(node: &Node, length: usize) -> Result<(), Status> {
    if length > node.options().max_request_bytes {
        return Err(Status::new(
            Code::InvalidArgument,
            "etcdserver: request is too large",
        ));
    }
    Ok(())
}

fn query(request: pb::RangeRequest) -> Result<RangeQuery, Status> {
    if request.key.is_empty() {
        return Err(StoreError::EmptyKey.into());
    }
    let unknown = |_| Status::new(Code::InvalidArgument, "etcdserver: invalid sort option");
    let order = WireOrder::try_from(request.sort_order).map_err(unknown)?;
    let target = WireTarget::try_from(request.sort_target).map_err(unknown)?;
    Ok(RangeQuery {
        range: KeyRange::new(request.key, request.range_end),
        revision: request.revision,
        limit: request.limit,
        sort_target: match target {
            WireTarget::Key => SortTarget::Key,
            WireTarget::Version => SortTarget::Version,
            WireTarget::Create => SortTarget::Create,
            WireTarget::Mod => SortTarget::Mod,
            WireTarget::Value => SortTarget::Value,
        },
        sort_order: match order {
            WireOrder::None => SortOrder::None,
            WireOrder::Ascend => SortOrder::Ascend,
            WireOrder::Descend => SortOrder::Descend,
        },
        keys_only: request.keys_only,
        count_only: request.count_only,
        min_mod_revision: request.min_mod_revision,
        max_mod_revision: request.max_mod_revision,
        min_create_revision: request.min_create_revision,
        max_create_revision: request.max_create_revision,
    })
}

fn change(request: pb::PutRequest) -> store::Put {
    store::Put {
        key: request.key,
        value: request.value,
        lease: request.lease,
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    }
}

fn deletion(request: pb::DeleteRangeRequest) -> store::Delete {
    store::Delete {
        range: KeyRange::new(request.key, request.range_end),
        prev_kv: request.prev_kv,
    }
}

pub(crate) fn pair(kv: &KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: Bytes::copy_from_slice(kv.key()),
        value: Bytes::copy_from_slice(kv.value()),
        create_revision: kv.create_revision(),
        mod_revision: kv.revision().main,
        version: kv.version(),
        lease: kv.lease(),
    }
}

fn range_reply(header: Option<pb::ResponseHeader>, reply: store::RangeReply) -> pb::RangeResponse {
    pb::RangeResponse {
        header,
        kvs: reply.kvs.iter().map(pair).collect(),
        more: reply.more,
        count: reply.count,
    }
}

fn put_reply(header: Option<pb::ResponseHeader>, reply: store::PutReply) -> pb::PutResponse {
    pb::PutResponse {
        header,
        prev_kv: reply.prev_kv.as_ref().map(pair),
    }
}

fn delete_reply(
    header: Option<pb::ResponseHeader>,
    reply: store::DeleteReply,
) -> pb::DeleteRangeResponse {
    pb::DeleteRangeResponse {
        header,
        deleted: reply.deleted,
        prev_kvs: reply.prev_kvs.iter().map(pair).collect(),
    }
}

fn txn_reply(header: Option<pb::ResponseHeader>, reply: store::TxnReply) -> pb::TxnResponse {
    pb::TxnResponse {
        header,
        succeeded: reply.succeeded,
        responses: reply.replies.into_iter().map(operation_reply).collect(),
    }
}

fn operation_reply(reply: store::OperationReply) -> pb::ResponseOp {
    // Only the reply to the whole transaction names the member.
    let header = |revision| {
        Some(pb::ResponseHeader {
            revision,
            ..pb::ResponseHeader::default()
        })
    };
    let response = match reply {
        store::OperationReply::Range(reply) => {
            Response::ResponseRange(range_reply(header(reply.revision), reply))
        }
        store::OperationReply::Put(reply) => {
            Response::ResponsePut(put_reply(header(reply.revision), reply))
        }
        store::OperationReply::Delete(reply) => {
            Response::ResponseDeleteRange(delete_reply(header(reply.revision), reply))
        }
        store::OperationReply::Txn(reply) => {
            Response::ResponseTxn(txn_reply(header(reply.revision), reply))
        }
    };
    pb::ResponseOp {
        response: Some(response),
    }
}
