//! Defragmenting, and moving the leadership.

use etcdex_proto::etcdserverpb as pb;

use crate::kv::{ResponseHeader, header, plain_request, refuse};
use crate::transport::Failure;

/// The reply to a [`Defragment`] and a [`MoveLeader`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct MaintenanceResponse {
    /// Who answered. etcd leaves it out of these replies: all of it is 0.
    pub header: ResponseHeader,
}

/// Gives free space in a member's database back to the file system.
///
/// The member reads and writes nothing meanwhile, which can take minutes: do one member at a
/// time, the leader last. The client's default time-out does not count.
///
/// Source: <https://etcd.io/docs/v3.6/op-guide/maintenance/#defragmentation>.
#[derive(Clone, Debug, Default)]
#[must_use = "a request does nothing until it is sent"]
pub struct Defragment {
    wire: pb::DefragmentRequest,
}

impl Defragment {
    /// Defragments the database of the member that is asked.
    pub fn new() -> Self {
        Self::default()
    }
}

plain_request! {
    Defragment: Defragment, repeatable: false, long: true,
    |answer: pb::DefragmentResponse| -> MaintenanceResponse {
        MaintenanceResponse { header: header(answer.header) }
    }
}

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
        MaintenanceResponse { header: header(answer.header) }
    }
}
