//! The table of etcd's error texts: kind, outcome and retry of each.
//!
//! etcd's servers distinguish their errors by text; the gRPC code is too coarse. The texts are
//! those of `api/v3rpc/rpctypes/error.go`. The outcome of a write follows from the place where the
//! server raises the error. Before the proposal to raft, and in the apply step, which refuses a
//! request as a whole, it is `Rejected`. While the server waits for the proposal to be applied, it
//! is `Unknown`.

use super::{Code, ErrorKind, Outcome};

/// Where a repeatable request is sent again after an error, if anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// Nowhere: the request would fail in the same way.
    Never,
    /// At the same or another member, after a pause.
    Later,
    /// At another member if there is one, otherwise as `Later`.
    Elsewhere,
    /// At another member, and nowhere if there is none: this member would refuse the request again.
    OtherMember,
    /// Over another connection, to another member if there is one: this connection accepts no more
    /// calls.
    Reconnect,
}

/// The meaning of an error of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    pub(crate) kind: ErrorKind,
    pub(crate) outcome: Outcome,
    pub(crate) retry: Retry,
}

/// Returns the meaning of a server's status: by its text if etcd has such a text, otherwise by its
/// code.
///
/// The code of a text is not compared. It differs between versions ("rpc not supported for
/// learner" is `Unavailable` up to etcd 3.5 and `FailedPrecondition` from 3.6 on), and the lock
/// service and `etcd grpc-proxy`, which are clients of an etcd themselves, pass on the text alone.
pub(crate) fn classify(code: Code, message: &str) -> Class {
    match row(message) {
        Some(&(_, kind, outcome, retry)) => Class {
            kind,
            outcome,
            retry,
        },
        None => by_code(code, message),
    }
}

/// Returns the kind of an error of which only the text is known, such as the reason of a watch.
pub(crate) fn kind_of(text: &str) -> Option<ErrorKind> {
    row(text).map(|row| row.1)
}

fn row(text: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.0 == text)
}

/// Returns the meaning of a status of gRPC's own library or of a proxy, whose texts are not in
/// etcd's list.
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
        // The server's gRPC library refuses a request with this text before etcd sees the request.
        // For a reply that is too large, the text is "trying to send", and the request was carried
        // out.
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

type Row = (&'static str, ErrorKind, Outcome, Retry);

#[rustfmt::skip]
const TABLE: &[Row] = &[
    ("etcdserver: key is not provided", ErrorKind::InvalidArgument, Outcome::Rejected, Retry::Never),
    ("etcdserver: key not found", ErrorKind::KeyNotFound, Outcome::Rejected, Retry::Never),
    ("etcdserver: value is provided", ErrorKind::InvalidArgument, Outcome::Rejected, Retry::Never),
    ("etcdserver: lease is provided", ErrorKind::InvalidArgument, Outcome::Rejected, Retry::Never),
    ("etcdserver: too many operations in txn request", ErrorKind::TooManyOperations, Outcome::Rejected, Retry::Never),
    ("etcdserver: duplicate key given in txn request", ErrorKind::DuplicateKey, Outcome::Rejected, Retry::Never),
    ("etcdserver: invalid client api version", ErrorKind::InvalidArgument, Outcome::Rejected, Retry::Never),
    ("etcdserver: invalid sort option", ErrorKind::InvalidArgument, Outcome::Rejected, Retry::Never),
    ("etcdserver: mvcc: required revision has been compacted", ErrorKind::Compacted, Outcome::Rejected, Retry::Never),
    ("etcdserver: mvcc: required revision is a future revision", ErrorKind::FutureRevision, Outcome::Rejected, Retry::Never),
    ("etcdserver: mvcc: database space exceeded", ErrorKind::NoSpace, Outcome::Rejected, Retry::Never),
    ("etcdserver: requested lease not found", ErrorKind::LeaseNotFound, Outcome::Rejected, Retry::Never),
    ("etcdserver: lease already exists", ErrorKind::LeaseExists, Outcome::Rejected, Retry::Never),
    ("etcdserver: too large lease TTL", ErrorKind::LeaseTtlTooLarge, Outcome::Rejected, Retry::Never),
    ("etcdserver: watch canceled", ErrorKind::Cancelled, Outcome::Unknown, Retry::Never),
    ("etcdserver: member ID already exist", ErrorKind::MemberExists, Outcome::Rejected, Retry::Never),
    ("etcdserver: Peer URLs already exists", ErrorKind::MemberExists, Outcome::Rejected, Retry::Never),
    ("etcdserver: re-configuration failed due to not enough started members", ErrorKind::MembershipRefused, Outcome::Rejected, Retry::Never),
    ("etcdserver: given member URLs are invalid", ErrorKind::InvalidArgument, Outcome::Rejected, Retry::Never),
    ("etcdserver: member not found", ErrorKind::MemberNotFound, Outcome::Rejected, Retry::Never),
    ("etcdserver: can only promote a learner member", ErrorKind::MembershipRefused, Outcome::Rejected, Retry::Never),
    ("etcdserver: can only promote a learner member which is in sync with leader", ErrorKind::MembershipRefused, Outcome::Rejected, Retry::Never),
    ("etcdserver: too many learner members in cluster", ErrorKind::MembershipRefused, Outcome::Rejected, Retry::Never),
    ("etcdserver: cluster ID mismatch", ErrorKind::ClusterMismatch, Outcome::Rejected, Retry::Never),
    ("etcdserver: request is too large", ErrorKind::RequestTooLarge, Outcome::Rejected, Retry::Never),
    // The applied index of this member is far behind its committed index; other members may be
    // ahead.
    ("etcdserver: too many requests", ErrorKind::TooManyRequests, Outcome::Rejected, Retry::Elsewhere),
    ("etcdserver: root user does not exist", ErrorKind::AuthRefused, Outcome::Rejected, Retry::Never),
    ("etcdserver: root user does not have root role", ErrorKind::AuthRefused, Outcome::Rejected, Retry::Never),
    ("etcdserver: user name already exists", ErrorKind::UserExists, Outcome::Rejected, Retry::Never),
    ("etcdserver: user name is empty", ErrorKind::TokenMissing, Outcome::Rejected, Retry::Never),
    ("etcdserver: user name not found", ErrorKind::UserNotFound, Outcome::Rejected, Retry::Never),
    ("etcdserver: role name already exists", ErrorKind::RoleExists, Outcome::Rejected, Retry::Never),
    ("etcdserver: role name not found", ErrorKind::RoleNotFound, Outcome::Rejected, Retry::Never),
    ("etcdserver: role name is empty", ErrorKind::InvalidArgument, Outcome::Rejected, Retry::Never),
    ("etcdserver: authentication failed, invalid user ID or password", ErrorKind::AuthenticationFailed, Outcome::Rejected, Retry::Never),
    ("etcdserver: permission not given", ErrorKind::InvalidArgument, Outcome::Rejected, Retry::Never),
    ("etcdserver: permission denied", ErrorKind::PermissionDenied, Outcome::Rejected, Retry::Never),
    ("etcdserver: role is not granted to the user", ErrorKind::AuthRefused, Outcome::Rejected, Retry::Never),
    ("etcdserver: permission is not granted to the role", ErrorKind::AuthRefused, Outcome::Rejected, Retry::Never),
    ("etcdserver: authentication is not enabled", ErrorKind::AuthenticationDisabled, Outcome::Rejected, Retry::Never),
    ("etcdserver: invalid auth token", ErrorKind::InvalidToken, Outcome::Rejected, Retry::Never),
    ("etcdserver: invalid auth management", ErrorKind::AuthRefused, Outcome::Rejected, Retry::Never),
    ("etcdserver: revision of auth store is old", ErrorKind::StaleToken, Outcome::Rejected, Retry::Never),
    ("etcdserver: no leader", ErrorKind::NoLeader, Outcome::Rejected, Retry::Elsewhere),
    ("etcdserver: not leader", ErrorKind::NotLeader, Outcome::Rejected, Retry::OtherMember),
    ("etcdserver: leader changed", ErrorKind::LeaderChanged, Outcome::Unknown, Retry::Elsewhere),
    // The member does not know the version of its cluster yet.
    ("etcdserver: not capable", ErrorKind::Unimplemented, Outcome::Rejected, Retry::Elsewhere),
    ("etcdserver: server stopped", ErrorKind::Stopped, Outcome::Unknown, Retry::Elsewhere),
    ("etcdserver: request timed out", ErrorKind::Timeout, Outcome::Unknown, Retry::Elsewhere),
    ("etcdserver: request timed out, possibly due to previous leader failure", ErrorKind::Timeout, Outcome::Unknown, Retry::Elsewhere),
    ("etcdserver: request timed out, possibly due to connection lost", ErrorKind::Timeout, Outcome::Unknown, Retry::Elsewhere),
    ("etcdserver: request timed out, waiting for the applied index took too long", ErrorKind::Timeout, Outcome::Unknown, Retry::Elsewhere),
    ("etcdserver: unhealthy cluster", ErrorKind::Unhealthy, Outcome::Rejected, Retry::OtherMember),
    ("etcdserver: corrupt cluster", ErrorKind::Corrupt, Outcome::Rejected, Retry::Never),
    ("etcdserver: rpc not supported for learner", ErrorKind::Learner, Outcome::Rejected, Retry::OtherMember),
    ("etcdserver: bad leader transferee", ErrorKind::FailedPrecondition, Outcome::Rejected, Retry::Never),
    ("etcdserver: wrong downgrade target version format", ErrorKind::InvalidArgument, Outcome::Rejected, Retry::Never),
    ("etcdserver: invalid downgrade target version", ErrorKind::InvalidArgument, Outcome::Rejected, Retry::Never),
    ("etcdserver: cluster version not found during downgrade", ErrorKind::DowngradeRefused, Outcome::Rejected, Retry::Never),
    ("etcdserver: cluster has a downgrade job in progress", ErrorKind::DowngradeRefused, Outcome::Rejected, Retry::Never),
    ("etcdserver: no inflight downgrade job", ErrorKind::DowngradeRefused, Outcome::Rejected, Retry::Never),
    // Some methods of maintenance pass on errors of the store of users without a change.
    ("auth: permission denied", ErrorKind::PermissionDenied, Outcome::Rejected, Retry::Never),
    ("auth: user name is empty", ErrorKind::TokenMissing, Outcome::Rejected, Retry::Never),
    ("auth: invalid auth token", ErrorKind::InvalidToken, Outcome::Rejected, Retry::Never),
    ("auth: revision in header is old", ErrorKind::StaleToken, Outcome::Rejected, Retry::Never),
    ("etcdserver: request canceled", ErrorKind::Cancelled, Outcome::Unknown, Retry::Never),
    ("etcdserver: context deadline exceeded", ErrorKind::Timeout, Outcome::Unknown, Retry::Never),
    // These texts are not in etcd's list, and etcd passes them on with the code Unknown.
    ("etcdserver: request cancelled", ErrorKind::Cancelled, Outcome::Unknown, Retry::Never),
    ("etcdserver: request timed out, leader transfer took too long", ErrorKind::Timeout, Outcome::Unknown, Retry::Never),
    ("auth: authentication failed, password was given for no password user", ErrorKind::AuthenticationFailed, Outcome::Rejected, Retry::Never),
    // Only renewals and questions about leases have this error: the member is no longer the leader.
    ("not a primary lessor", ErrorKind::NotLeader, Outcome::Rejected, Retry::Elsewhere),
    // The raft node of this member did not take the proposal: its leadership is being moved, it
    // was removed, or it holds too many bytes that are not committed.
    ("raft proposal dropped", ErrorKind::Unavailable, Outcome::Rejected, Retry::Elsewhere),
    // The node can stop after it has taken the proposal.
    ("raft: stopped", ErrorKind::Stopped, Outcome::Unknown, Retry::Elsewhere),
    // Not in the list: etcd 3.4 passes on the errors of its own contexts.
    ("context deadline exceeded", ErrorKind::Timeout, Outcome::Unknown, Retry::Never),
    ("context canceled", ErrorKind::Cancelled, Outcome::Unknown, Retry::Never),
];

#[cfg(test)]
mod tests;
