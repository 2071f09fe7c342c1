//! The request that defragments a database.

use etcdex_proto::etcdserverpb as pb;

use super::MaintenanceResponse;
use crate::kv::plain_request;

plain_request! {
    /// Returns the free space in a member's database to the file system.
    ///
    /// The member serves neither reads nor writes until it has finished, which can take minutes.
    /// Defragment one member at a time, the leader last. The client's default time-out does not apply.
    ///
    /// Source: <https://etcd.io/docs/v3.6/op-guide/maintenance/#defragmentation>.
    pub struct Defragment(pb::DefragmentRequest, empty): Defragment, repeatable: false, long: |_wire| true,
    |answer: pb::DefragmentResponse| -> MaintenanceResponse {
        MaintenanceResponse::of(answer.header)
    }
}
