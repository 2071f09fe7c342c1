//! The service Cluster: the answers of a node that is alone.

use bytes::Bytes;
use etcdex_proto::etcdserverpb as pb;

use crate::context::Context;
use crate::grpc::{Code, Status, decode};
use crate::service::Progress;

pub(crate) fn member_list(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let _: pb::MemberListRequest = decode(message)?;
    let node = context.node();
    context.require_user(&node.store())?;
    Progress::answer(&pb::MemberListResponse {
        header: node.member_header(),
        members: vec![node.member()],
    })
}

/// Replaces the URLs for other members, of which there are none.
pub(crate) fn member_update(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let request: pb::MemberUpdateRequest = decode(message)?;
    let node = context.node();
    context.require_admin(&node.store())?;
    check_member(context, request.id)?;
    node.set_peer_urls(request.peer_ur_ls);
    Progress::answer(&pb::MemberUpdateResponse {
        header: node.member_header(),
        members: vec![node.member()],
    })
}

/// Refuses: etcd would wait for the new member from now on.
pub(crate) fn member_add(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let _: pb::MemberAddRequest = decode(message)?;
    context.require_admin(&context.node().store())?;
    let text = "etcdex-server: a cluster has one member; use etcd for more";
    Err(Status::new(Code::FailedPrecondition, text))
}

/// Refuses: a cluster needs its last member.
pub(crate) fn member_remove(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let request: pb::MemberRemoveRequest = decode(message)?;
    context.require_admin(&context.node().store())?;
    check_member(context, request.id)?;
    let text = "etcdserver: re-configuration failed due to not enough started members";
    Err(Status::new(Code::FailedPrecondition, text))
}

/// Refuses: the only member is no learner.
pub(crate) fn member_promote(context: &Context, message: Bytes) -> Result<Progress, Status> {
    let request: pb::MemberPromoteRequest = decode(message)?;
    context.require_admin(&context.node().store())?;
    check_member(context, request.id)?;
    let text = "etcdserver: can only promote a learner member";
    Err(Status::new(Code::FailedPrecondition, text))
}

fn check_member(context: &Context, id: u64) -> Result<(), Status> {
    match id == context.node().member_id() {
        true => Ok(()),
        false => Err(Status::new(Code::NotFound, "etcdserver: member not found")),
    }
}
