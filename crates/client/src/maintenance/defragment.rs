//! Giving the free space of a database back to the file system.

use etcdex_proto::etcdserverpb as pb;

use super::MaintenanceResponse;
use crate::kv::plain_request;

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
        MaintenanceResponse::of(answer.header)
    }
}
