//! How a member is.

use etcdex_proto::etcdserverpb as pb;

use crate::kv::{ResponseHeader, count, header, plain_request};

/// Asks a member how it is: its version, its sizes, and where it stands in raft.
///
/// It answers also without a leader. A member is chosen by
/// [`Client::member`](crate::Client::member).
#[derive(Clone, Debug, Default)]
#[must_use = "a request does nothing until it is sent"]
pub struct Status {
    wire: pb::StatusRequest,
}

impl Status {
    /// Asks.
    pub fn new() -> Self {
        Self::default()
    }
}

/// The reply to a [`Status`].
///
/// Source: <https://etcd.io/docs/v3.6/dev-guide/api_reference_v3/> (message `StatusResponse`).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct StatusResponse {
    /// Who answered: the member that all of this is about.
    pub header: ResponseHeader,
    /// The version of the server, as in `3.6.1`.
    pub version: String,
    /// How large the database file is, in bytes.
    pub db_size: u64,
    /// How much of it is in use, in bytes; the rest is free for reuse, and
    /// [defragmenting](super::Defragment) gives it back.
    pub db_size_in_use: u64,
    /// How large the database may become (`--quota-backend-bytes`), in bytes; told by etcd 3.6
    /// and later.
    pub db_size_quota: Option<u64>,
    /// The ID of the leader as this member sees it; 0 when it sees none.
    pub leader: u64,
    /// The last index of raft's log that is committed.
    pub raft_index: u64,
    /// The term of raft.
    pub raft_term: u64,
    /// The last index of raft's log that is applied; it follows `raft_index`.
    pub raft_applied_index: u64,
    /// What is wrong, in etcd's words: alarms, or that there is no leader.
    pub errors: Vec<String>,
    /// Whether the member is a learner.
    pub is_learner: bool,
    /// The version of the format that the data is in, as in `3.6.0`; told by etcd 3.6 and later.
    pub storage_version: Option<String>,
    /// Whether a downgrade is under way; told by etcd 3.6 and later.
    pub downgrade_info: Option<DowngradeInfo>,
}

/// A [downgrade](super::Downgrade), as a member sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DowngradeInfo {
    /// Whether one is under way.
    pub enabled: bool,
    /// To which version, as in `3.5.0`; empty when none is.
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

plain_request! {
    Status: Status, repeatable: true,
    |answer: pb::StatusResponse| -> StatusResponse { StatusResponse::of(answer) }
}
