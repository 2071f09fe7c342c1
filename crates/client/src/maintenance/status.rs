//! The request for the status of a member.

use etcdex_proto::etcdserverpb as pb;

use crate::kv::{ResponseHeader, count, header, plain_request};

plain_request! {
    /// Asks a member for its version, the sizes of its database and its state in raft.
    ///
    /// A member answers even when it sees no leader.
    /// [`Client::with_endpoint`](crate::Client::with_endpoint) chooses the member.
    pub struct Status(pb::StatusRequest, empty): Status, repeatable: true,
    |answer: pb::StatusResponse| -> StatusResponse { StatusResponse::of(answer) }
}

/// The reply to a [`Status`].
///
/// Source: <https://etcd.io/docs/v3.6/dev-guide/api_reference_v3/> (message `StatusResponse`).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct StatusResponse {
    /// Member that answered, whose status this is.
    pub header: ResponseHeader,
    /// Version of the server (`3.6.1`).
    pub version: String,
    /// Size of the database file, in bytes.
    pub db_size: u64,
    /// Size of the used part of the database, in bytes. The rest is free for reuse, and
    /// [defragmenting](super::Defragment) returns it to the file system.
    pub db_size_in_use: u64,
    /// Limit of the size of the database (`--quota-backend-bytes`), in bytes; `None` before etcd
    /// 3.6.
    pub db_size_quota: Option<u64>,
    /// ID of the leader that the member sees; 0 when it sees none.
    pub leader: u64,
    /// Last committed index of the raft log.
    pub raft_index: u64,
    /// Raft term.
    pub raft_term: u64,
    /// Last applied index of the raft log; at most `raft_index`.
    pub raft_applied_index: u64,
    /// Problems in etcd's own words: alarms, or a missing leader.
    pub errors: Vec<String>,
    /// Whether the member is a learner.
    pub is_learner: bool,
    /// Version of the data format (`3.6.0`); `None` before etcd 3.6.
    pub storage_version: Option<String>,
    /// State of a downgrade; `None` before etcd 3.6.
    pub downgrade_info: Option<DowngradeInfo>,
}

/// The state of a [downgrade](super::Downgrade).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DowngradeInfo {
    /// Whether a downgrade is enabled.
    pub enabled: bool,
    /// Version to which the cluster goes back (`3.5.0`); empty if no downgrade is enabled.
    pub target_version: String,
}

impl StatusResponse {
    fn of(answer: pb::StatusResponse) -> Self {
        let downgrade_info = |info: pb::DowngradeInfo| DowngradeInfo {
            enabled: info.enabled,
            target_version: info.target_version,
        };
        Self {
            header: header(answer.header),
            version: answer.version,
            db_size: count(answer.db_size),
            db_size_in_use: count(answer.db_size_in_use),
            db_size_quota: Some(count(answer.db_size_quota)).filter(|quota| *quota > 0),
            leader: answer.leader,
            raft_index: answer.raft_index,
            raft_term: answer.raft_term,
            raft_applied_index: answer.raft_applied_index,
            errors: answer.errors,
            is_learner: answer.is_learner,
            storage_version: Some(answer.storage_version).filter(|version| !version.is_empty()),
            downgrade_info: answer.downgrade_info.map(downgrade_info),
        }
    }
}
