//! PURE: what a server means by cancelling a watch, or not creating it.

use etcdex_proto::etcdserverpb::WatchResponse;

use crate::error::{ErrorKind, kind_of};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The store begins at this revision, and the watch needs older ones.
    Compacted(i64),
    /// The same is said of a watch that needs none: it is to be created again.
    Behind,
    /// For the token: it has expired or was taken back, maybe just after it was given.
    Token,
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
            Some(ErrorKind::InvalidToken | ErrorKind::StaleToken) => Self::Token,
            Some(ErrorKind::PermissionDenied | ErrorKind::TokenMissing) => Self::Permission,
            _ => Self::Other(reason.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reasons are those of etcd 3.5.35 and 3.7.3, as they stand in what they send.
    #[test]
    fn a_token_that_is_not_taken_is_not_a_permission_that_is_not_there() {
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
