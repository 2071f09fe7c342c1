//! Moving the leadership to another member.

use etcdex_proto::etcdserverpb as pb;

use super::MaintenanceResponse;
use crate::kv::{plain_request, refuse};
use crate::transport::Failure;

/// Makes another member the leader, and answers when it is.
///
/// The present leader has to be asked; another member answers
/// [`NotLeader`](crate::ErrorKind::NotLeader). [`Status`](super::Status) tells who leads.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct MoveLeader {
    wire: pb::MoveLeaderRequest,
}

impl MoveLeader {
    /// The member with this ID is to lead. That it does so already is no error.
    pub fn new(target_id: u64) -> Self {
        Self {
            wire: pb::MoveLeaderRequest { target_id },
        }
    }

    fn check(&self) -> Result<(), Failure> {
        if self.wire.target_id == 0 {
            return Err(refuse("no member has the ID 0"));
        }
        Ok(())
    }
}

// Sent again after it has worked, it would ask one that leads no more, and fail for no reason.
plain_request! {
    MoveLeader: MoveLeader, repeatable: false, check: Self::check,
    |answer: pb::MoveLeaderResponse| -> MaintenanceResponse {
        MaintenanceResponse::of(answer.header)
    }
}
