//! PURE: the reason why a server cancels a watch, or does not create it.

use etcdex_proto::etcdserverpb::WatchResponse;

use crate::error::{ErrorKind, kind_of};

/// Why a server refuses a watch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The history before this revision is compacted, and the watch needs older revisions.
    Compacted(i64),
    /// The server calls the watch compacted, but the watch needs no compacted revision. It is to be
    /// created again.
    Behind,
    /// The token has expired or was revoked, maybe just after it was issued.
    Token,
    /// The user lacks the permission, or the token is invalid: older servers do not distinguish the
    /// two.
    Permission,
    /// The server has a watch with this ID on the stream.
    DuplicateId,
    /// Another reason, in the server's words.
    Other(String),
}

impl Refusal {
    /// Returns why the server refuses a watch that resumes from revision `next`.
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
            Some(ErrorKind::InvalidToken | ErrorKind::StaleToken) => Self::Token,
            Some(ErrorKind::PermissionDenied | ErrorKind::TokenMissing) => Self::Permission,
            _ => Self::Other(reason.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reasons are copied from responses of etcd 3.5.35 and 3.7.3.
    #[test]
    fn an_invalid_token_is_not_a_lack_of_permission() {
        let refusal = |reason: &str| {
            let message = WatchResponse {
                created: true,
                canceled: true,
                cancel_reason: reason.to_owned(),
                ..WatchResponse::default()
            };
            Refusal::of(&message, 1)
        };
        let token = "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token";
        assert_eq!(refusal(token), Refusal::Token);
        let denied = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
        assert_eq!(refusal(denied), Refusal::Permission);
    }
}
