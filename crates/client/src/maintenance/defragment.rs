//! The request that defragments a database.

use etcdex_proto::etcdserverpb as pb;

use super::MaintenanceResponse;
use crate::kv::plain_request;

/// Returns the free space in a member's database to the file system.
///
/// The member serves neither reads nor writes until it has finished, which can take minutes.
/// Defragment one member at a time, the leader last. The client's default time-out does not apply.
///
/// Source: <https://etcd.io/docs/v3.6/op-guide/maintenance/#defragmentation>.
#[derive(Clone, Debug, Default)]
#[must_use = "a request does nothing until it is sent"]
pub struct Defragment {
    wire: pb::DefragmentRequest,
}

impl Defragment {
    /// Returns the request.
    pub fn new() -> Self {
        Self::default()
    }
}

plain_request! {
    Defragment: Defragment, repeatable: false, long: true,
    |answer: pb::DefragmentResponse| -> MaintenanceResponse {
        MaintenanceResponse::of(answer.header)
    }
}
