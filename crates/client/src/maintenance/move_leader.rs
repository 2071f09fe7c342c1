//! The request that moves the leadership to another member.

use etcdex_proto::etcdserverpb as pb;

use super::MaintenanceResponse;
use crate::kv::{plain_request, refuse};

// Not repeatable: after a success, the second request would ask a former leader and fail.
plain_request! {
    /// Moves the leadership to another member. The server answers when that member is the leader.
    ///
    /// Only the present leader carries out the request; another member answers
    /// [`NotLeader`](crate::ErrorKind::NotLeader). [`Status`](super::Status) returns the leader's ID.
    pub struct MoveLeader(pb::MoveLeaderRequest): MoveLeader, repeatable: false,
    check: |wire| {
        if wire.target_id == 0 {
            return Err(refuse("no member has the ID 0"));
        }
        Ok(())
    },
    |answer: pb::MoveLeaderResponse| -> MaintenanceResponse {
        MaintenanceResponse::of(answer.header)
    }
}

impl MoveLeader {
    /// Returns a request that makes the member with this ID the leader. If that member is the
    /// leader already, the request succeeds.
    pub fn new(target_id: u64) -> Self {
        Self {
            wire: pb::MoveLeaderRequest { target_id },
        }
    }
}
