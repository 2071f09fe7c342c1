//! One table from every error text of etcd to what it means for the caller.
//!
//! etcd's servers tell their errors apart by text; the gRPC code is too coarse. The texts and
//! codes are those of `api/v3rpc/rpctypes/error.go`. Whether a write may have been applied
//! follows from where the server raises the error: before the proposal to raft or in the apply
//! step, which refuses as a whole (`Rejected`), or while it waited for the proposal to be
//! applied (`Unknown`).

use super::{Code, ErrorKind, Outcome};

/// Whether and where a request that may be sent again is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// It would fail the same way.
    Never,
    /// On the same or another member, after a pause.
    Later,
    /// At another member if there is one, else as `Later`.
    Elsewhere,
}

/// What an error of a server means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    pub(crate) kind: ErrorKind,
    pub(crate) outcome: Outcome,
    pub(crate) retry: Retry,
}

/// What a status of a server means: by its text where etcd has one, else by its code.
pub(crate) fn classify(code: Code, message: &str) -> Class {
    let listed = TABLE
        .iter()
        .find(|(text, listed, ..)| *listed == code && message == *text);
    match listed {
        Some(&(_, _, kind, outcome, retry)) => Class {
            kind,
            outcome,
            retry,
        },
        None if code == Code::Unknown => by_text(message).unwrap_or_else(|| by_code(code, message)),
        None => by_code(code, message),
    }
}

/// The kind of an error that came as a text alone, in a watch's reason say.
pub(crate) fn kind_of(text: &str) -> Option<ErrorKind> {
    let listed = TABLE.iter().find(|(listed, ..)| *listed == text)?;
    Some(listed.2)
}

/// What the lock and election services say: they are clients of their own server, whose errors
/// they pass on by the text alone. How far they had got is not told.
fn by_text(message: &str) -> Option<Class> {
    let kind = match message {
        "context deadline exceeded" => ErrorKind::Timeout,
        "context canceled" => ErrorKind::Cancelled,
        _ => TABLE.iter().find(|(text, ..)| *text == message)?.2,
    };
    Some(Class {
        kind,
        outcome: Outcome::Unknown,
        retry: Retry::Never,
    })
}

/// What gRPC's own library or a proxy says has no place in etcd's list.
fn by_code(code: Code, message: &str) -> Class {
    use Outcome::{Rejected, Unknown};
    let (kind, outcome, retry) = match code {
        Code::InvalidArgument | Code::OutOfRange => {
            (ErrorKind::InvalidArgument, Rejected, Retry::Never)
        }
        Code::NotFound | Code::AlreadyExists | Code::FailedPrecondition => {
            (ErrorKind::FailedPrecondition, Rejected, Retry::Never)
        }
        Code::PermissionDenied => (ErrorKind::PermissionDenied, Rejected, Retry::Never),
        Code::Unauthenticated => (ErrorKind::InvalidToken, Rejected, Retry::Never),
        Code::Unimplemented => (ErrorKind::Unimplemented, Rejected, Retry::Never),
        // The server's gRPC library says this of a request before etcd sees it; of a reply
        // that is too large it says "trying to send", and then the request was carried out.
        Code::ResourceExhausted
            if message.starts_with("grpc: received message larger than max") =>
        {
            (ErrorKind::RequestTooLarge, Rejected, Retry::Never)
        }
        Code::ResourceExhausted => (ErrorKind::Server, Unknown, Retry::Never),
        Code::DeadlineExceeded => (ErrorKind::Timeout, Unknown, Retry::Never),
        Code::Cancelled => (ErrorKind::Cancelled, Unknown, Retry::Never),
        Code::Unavailable => (ErrorKind::Unavailable, Unknown, Retry::Elsewhere),
        Code::DataLoss | Code::Aborted | Code::Internal | Code::Unknown => {
            (ErrorKind::Server, Unknown, Retry::Never)
        }
    };
    Class {
        kind,
        outcome,
        retry,
    }
}

type Row = (&'static str, Code, ErrorKind, Outcome, Retry);

#[rustfmt::skip]
const TABLE: &[Row] = &[
    ("etcdserver: key is not provided", Code::InvalidArgument, ErrorKind::InvalidArgument, Outcome::Rejected, Retry::Never),
    ("etcdserver: key not found", Code::InvalidArgument, ErrorKind::KeyNotFound, Outcome::Rejected, Retry::Never),
    ("etcdserver: value is provided", Code::InvalidArgument, ErrorKind::InvalidArgument, Outcome::Rejected, Retry::Never),
    ("etcdserver: lease is provided", Code::InvalidArgument, ErrorKind::InvalidArgument, Outcome::Rejected, Retry::Never),
    ("etcdserver: too many operations in txn request", Code::InvalidArgument, ErrorKind::TooManyOperations, Outcome::Rejected, Retry::Never),
    ("etcdserver: duplicate key given in txn request", Code::InvalidArgument, ErrorKind::DuplicateKey, Outcome::Rejected, Retry::Never),
    ("etcdserver: invalid client api version", Code::InvalidArgument, ErrorKind::InvalidArgument, Outcome::Rejected, Retry::Never),
    ("etcdserver: invalid sort option", Code::InvalidArgument, ErrorKind::InvalidArgument, Outcome::Rejected, Retry::Never),
    ("etcdserver: mvcc: required revision has been compacted", Code::OutOfRange, ErrorKind::Compacted, Outcome::Rejected, Retry::Never),
    ("etcdserver: mvcc: required revision is a future revision", Code::OutOfRange, ErrorKind::FutureRevision, Outcome::Rejected, Retry::Never),
    ("etcdserver: mvcc: database space exceeded", Code::ResourceExhausted, ErrorKind::NoSpace, Outcome::Rejected, Retry::Never),
    ("etcdserver: requested lease not found", Code::NotFound, ErrorKind::LeaseNotFound, Outcome::Rejected, Retry::Never),
    ("etcdserver: lease already exists", Code::FailedPrecondition, ErrorKind::LeaseExists, Outcome::Rejected, Retry::Never),
    ("etcdserver: too large lease TTL", Code::OutOfRange, ErrorKind::LeaseTtlTooLarge, Outcome::Rejected, Retry::Never),
    ("etcdserver: watch canceled", Code::Cancelled, ErrorKind::Cancelled, Outcome::Unknown, Retry::Never),
    ("etcdserver: member ID already exist", Code::FailedPrecondition, ErrorKind::MemberExists, Outcome::Rejected, Retry::Never),
    ("etcdserver: Peer URLs already exists", Code::FailedPrecondition, ErrorKind::MemberExists, Outcome::Rejected, Retry::Never),
    ("etcdserver: re-configuration failed due to not enough started members", Code::FailedPrecondition, ErrorKind::MembershipRefused, Outcome::Rejected, Retry::Never),
    ("etcdserver: given member URLs are invalid", Code::InvalidArgument, ErrorKind::InvalidArgument, Outcome::Rejected, Retry::Never),
    ("etcdserver: member not found", Code::NotFound, ErrorKind::MemberNotFound, Outcome::Rejected, Retry::Never),
    ("etcdserver: can only promote a learner member", Code::FailedPrecondition, ErrorKind::MembershipRefused, Outcome::Rejected, Retry::Never),
    ("etcdserver: can only promote a learner member which is in sync with leader", Code::FailedPrecondition, ErrorKind::MembershipRefused, Outcome::Rejected, Retry::Never),
    ("etcdserver: too many learner members in cluster", Code::FailedPrecondition, ErrorKind::MembershipRefused, Outcome::Rejected, Retry::Never),
    ("etcdserver: cluster ID mismatch", Code::FailedPrecondition, ErrorKind::ClusterMismatch, Outcome::Rejected, Retry::Never),
    ("etcdserver: request is too large", Code::InvalidArgument, ErrorKind::RequestTooLarge, Outcome::Rejected, Retry::Never),
    ("etcdserver: too many requests", Code::ResourceExhausted, ErrorKind::TooManyRequests, Outcome::Rejected, Retry::Later),
    ("etcdserver: root user does not exist", Code::FailedPrecondition, ErrorKind::AuthRefused, Outcome::Rejected, Retry::Never),
    ("etcdserver: root user does not have root role", Code::FailedPrecondition, ErrorKind::AuthRefused, Outcome::Rejected, Retry::Never),
    ("etcdserver: user name already exists", Code::FailedPrecondition, ErrorKind::UserExists, Outcome::Rejected, Retry::Never),
    ("etcdserver: user name is empty", Code::InvalidArgument, ErrorKind::TokenMissing, Outcome::Rejected, Retry::Never),
    ("etcdserver: user name not found", Code::FailedPrecondition, ErrorKind::UserNotFound, Outcome::Rejected, Retry::Never),
    ("etcdserver: role name already exists", Code::FailedPrecondition, ErrorKind::RoleExists, Outcome::Rejected, Retry::Never),
    ("etcdserver: role name not found", Code::FailedPrecondition, ErrorKind::RoleNotFound, Outcome::Rejected, Retry::Never),
    ("etcdserver: role name is empty", Code::InvalidArgument, ErrorKind::InvalidArgument, Outcome::Rejected, Retry::Never),
    ("etcdserver: authentication failed, invalid user ID or password", Code::InvalidArgument, ErrorKind::AuthenticationFailed, Outcome::Rejected, Retry::Never),
    ("etcdserver: permission not given", Code::InvalidArgument, ErrorKind::InvalidArgument, Outcome::Rejected, Retry::Never),
    ("etcdserver: permission denied", Code::PermissionDenied, ErrorKind::PermissionDenied, Outcome::Rejected, Retry::Never),
    ("etcdserver: role is not granted to the user", Code::FailedPrecondition, ErrorKind::AuthRefused, Outcome::Rejected, Retry::Never),
    ("etcdserver: permission is not granted to the role", Code::FailedPrecondition, ErrorKind::AuthRefused, Outcome::Rejected, Retry::Never),
    ("etcdserver: authentication is not enabled", Code::FailedPrecondition, ErrorKind::AuthenticationDisabled, Outcome::Rejected, Retry::Never),
    ("etcdserver: invalid auth token", Code::Unauthenticated, ErrorKind::InvalidToken, Outcome::Rejected, Retry::Never),
    ("etcdserver: invalid auth management", Code::InvalidArgument, ErrorKind::AuthRefused, Outcome::Rejected, Retry::Never),
    ("etcdserver: revision of auth store is old", Code::InvalidArgument, ErrorKind::StaleToken, Outcome::Rejected, Retry::Never),
    ("etcdserver: no leader", Code::Unavailable, ErrorKind::NoLeader, Outcome::Rejected, Retry::Elsewhere),
    ("etcdserver: not leader", Code::FailedPrecondition, ErrorKind::NotLeader, Outcome::Rejected, Retry::Never),
    ("etcdserver: leader changed", Code::Unavailable, ErrorKind::LeaderChanged, Outcome::Unknown, Retry::Elsewhere),
    ("etcdserver: not capable", Code::FailedPrecondition, ErrorKind::Unimplemented, Outcome::Rejected, Retry::Never),
    ("etcdserver: server stopped", Code::Unavailable, ErrorKind::Stopped, Outcome::Unknown, Retry::Elsewhere),
    ("etcdserver: request timed out", Code::Unavailable, ErrorKind::Timeout, Outcome::Unknown, Retry::Elsewhere),
    ("etcdserver: request timed out, possibly due to previous leader failure", Code::Unavailable, ErrorKind::Timeout, Outcome::Unknown, Retry::Elsewhere),
    ("etcdserver: request timed out, possibly due to connection lost", Code::Unavailable, ErrorKind::Timeout, Outcome::Unknown, Retry::Elsewhere),
    ("etcdserver: request timed out, waiting for the applied index took too long", Code::Unavailable, ErrorKind::Timeout, Outcome::Unknown, Retry::Elsewhere),
    ("etcdserver: unhealthy cluster", Code::Unavailable, ErrorKind::Unhealthy, Outcome::Rejected, Retry::Elsewhere),
    ("etcdserver: corrupt cluster", Code::DataLoss, ErrorKind::Corrupt, Outcome::Rejected, Retry::Never),
    ("etcdserver: rpc not supported for learner", Code::FailedPrecondition, ErrorKind::Learner, Outcome::Rejected, Retry::Elsewhere),
    ("etcdserver: bad leader transferee", Code::FailedPrecondition, ErrorKind::FailedPrecondition, Outcome::Rejected, Retry::Never),
    ("etcdserver: wrong downgrade target version format", Code::InvalidArgument, ErrorKind::InvalidArgument, Outcome::Rejected, Retry::Never),
    ("etcdserver: invalid downgrade target version", Code::InvalidArgument, ErrorKind::InvalidArgument, Outcome::Rejected, Retry::Never),
    ("etcdserver: cluster version not found during downgrade", Code::FailedPrecondition, ErrorKind::DowngradeRefused, Outcome::Rejected, Retry::Never),
    ("etcdserver: cluster has a downgrade job in progress", Code::FailedPrecondition, ErrorKind::DowngradeRefused, Outcome::Rejected, Retry::Never),
    ("etcdserver: no inflight downgrade job", Code::FailedPrecondition, ErrorKind::DowngradeRefused, Outcome::Rejected, Retry::Never),
    // Some methods of maintenance pass on what the store of users says, as it is.
    ("auth: permission denied", Code::Unknown, ErrorKind::PermissionDenied, Outcome::Rejected, Retry::Never),
    ("auth: user name is empty", Code::Unknown, ErrorKind::TokenMissing, Outcome::Rejected, Retry::Never),
    ("auth: invalid auth token", Code::Unknown, ErrorKind::InvalidToken, Outcome::Rejected, Retry::Never),
    ("auth: revision in header is old", Code::Unknown, ErrorKind::StaleToken, Outcome::Rejected, Retry::Never),
    ("etcdserver: request canceled", Code::Cancelled, ErrorKind::Cancelled, Outcome::Unknown, Retry::Never),
    ("etcdserver: context deadline exceeded", Code::DeadlineExceeded, ErrorKind::Timeout, Outcome::Unknown, Retry::Never),
    // Not in the list, and yet said: 3.4 passes on what its own contexts end with.
    ("context deadline exceeded", Code::Unknown, ErrorKind::Timeout, Outcome::Unknown, Retry::Never),
    ("context canceled", Code::Unknown, ErrorKind::Cancelled, Outcome::Unknown, Retry::Never),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_stands_twice() {
        for (index, row) in TABLE.iter().enumerate() {
            assert!(
                TABLE[..index].iter().all(|other| other.0 != row.0),
                "{}",
                row.0
            );
        }
    }

    #[test]
    fn a_text_counts_only_with_its_own_code() {
        let text = "etcdserver: key is not provided";
        assert_eq!(
            classify(Code::InvalidArgument, text).outcome,
            Outcome::Rejected
        );
        assert_eq!(classify(Code::Internal, text).outcome, Outcome::Unknown);
    }

    #[test]
    fn the_services_that_are_clients_themselves_lose_the_code() {
        let class = classify(Code::Unknown, "etcdserver: requested lease not found");
        assert_eq!(class.kind, ErrorKind::LeaseNotFound);
        assert_eq!(
            (class.outcome, class.retry),
            (Outcome::Unknown, Retry::Never)
        );
        let class = classify(Code::Unknown, "context deadline exceeded");
        assert_eq!(class.kind, ErrorKind::Timeout);
        assert_eq!(classify(Code::Unknown, "?").kind, ErrorKind::Server);
    }

    #[test]
    fn what_a_write_may_have_done() {
        let outcome = |code, text| classify(code, text).outcome;
        for text in [
            "etcdserver: request timed out",
            "etcdserver: request timed out, possibly due to previous leader failure",
            "etcdserver: request timed out, possibly due to connection lost",
            "etcdserver: leader changed",
            "etcdserver: server stopped",
            "transport is closing",
        ] {
            assert_eq!(outcome(Code::Unavailable, text), Outcome::Unknown, "{text}");
        }
        assert_eq!(
            outcome(Code::Unavailable, "etcdserver: no leader"),
            Outcome::Rejected
        );
        assert_eq!(
            outcome(Code::ResourceExhausted, "etcdserver: too many requests"),
            Outcome::Rejected
        );
        assert_eq!(
            outcome(
                Code::ResourceExhausted,
                "grpc: received message larger than max (3 vs. 2)"
            ),
            Outcome::Rejected
        );
        assert_eq!(
            outcome(
                Code::ResourceExhausted,
                "trying to send message larger than max (3 vs. 2)"
            ),
            Outcome::Unknown
        );
    }

    /// A write is sent again only when it was not sent: nothing in the table may say so.
    #[test]
    fn no_answer_of_a_server_counts_as_not_sent() {
        assert!(TABLE.iter().all(|row| row.3 != Outcome::NotSent));
    }
}
