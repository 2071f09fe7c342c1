//! PURE: what a server means by cancelling a watch, or not creating it.

use etcdex_proto::etcdserverpb::WatchResponse;

use crate::error::{ErrorKind, kind_of};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The store begins at this revision, and the watch needs older ones.
    Compacted(i64),
    /// The same is said of a watch that needs none: it is to be created again.
    Behind,
    /// For what the user may do, or for the token; older servers do not tell these apart.
    Permission,
    DuplicateId,
    Other(String),
}

impl Refusal {
    /// What is said of a watch that goes on with revision `next`.
    pub(super) fn of(message: &WatchResponse, next: i64) -> Self {
        match message.compact_revision {
            compacted if compacted > next => return Self::Compacted(compacted),
            compacted if compacted > 0 => return Self::Behind,
            _ => {}
        }
        let reason = &message.cancel_reason;
        if reason.contains("duplicate watch ID") {
            return Self::DuplicateId;
        }
        // "rpc error: code = PermissionDenied desc = etcdserver: permission denied"
        let text = reason.split(" desc = ").last().unwrap_or(reason);
        match kind_of(text) {
            Some(
                ErrorKind::PermissionDenied
                | ErrorKind::InvalidToken
                | ErrorKind::StaleToken
                | ErrorKind::TokenMissing,
            ) => Self::Permission,
            _ => Self::Other(reason.clone()),
        }
    }
}
