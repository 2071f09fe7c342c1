use super::*;

#[test]
fn each_text_has_one_row() {
    for (index, row) in TABLE.iter().enumerate() {
        assert!(
            TABLE[..index].iter().all(|other| other.0 != row.0),
            "{}",
            row.0
        );
    }
}

/// The texts of `rpctypes/error.go` with their codes in etcd 3.4.23, 3.5.35, 3.6.16 and 3.7.3.
#[rustfmt::skip]
const ETCD: &[(&str, [Option<Code>; 4])] = &[
    ("etcdserver: key is not provided", [Some(Code::InvalidArgument); 4]),
    ("etcdserver: key not found", [Some(Code::InvalidArgument); 4]),
    ("etcdserver: value is provided", [Some(Code::InvalidArgument); 4]),
    ("etcdserver: lease is provided", [Some(Code::InvalidArgument); 4]),
    ("etcdserver: too many operations in txn request", [Some(Code::InvalidArgument); 4]),
    ("etcdserver: duplicate key given in txn request", [Some(Code::InvalidArgument); 4]),
    ("etcdserver: mvcc: required revision has been compacted", [Some(Code::OutOfRange); 4]),
    ("etcdserver: mvcc: required revision is a future revision", [Some(Code::OutOfRange); 4]),
    ("etcdserver: mvcc: database space exceeded", [Some(Code::ResourceExhausted); 4]),
    ("etcdserver: requested lease not found", [Some(Code::NotFound); 4]),
    ("etcdserver: lease already exists", [Some(Code::FailedPrecondition); 4]),
    ("etcdserver: too large lease TTL", [Some(Code::OutOfRange); 4]),
    ("etcdserver: watch canceled", [Some(Code::Cancelled); 4]),
    ("etcdserver: member ID already exist", [Some(Code::FailedPrecondition); 4]),
    ("etcdserver: Peer URLs already exists", [Some(Code::FailedPrecondition); 4]),
    ("etcdserver: re-configuration failed due to not enough started members", [Some(Code::FailedPrecondition); 4]),
    ("etcdserver: given member URLs are invalid", [Some(Code::InvalidArgument); 4]),
    ("etcdserver: member not found", [Some(Code::NotFound); 4]),
    ("etcdserver: can only promote a learner member", [Some(Code::FailedPrecondition); 4]),
    ("etcdserver: can only promote a learner member which is in sync with leader", [Some(Code::FailedPrecondition); 4]),
    ("etcdserver: too many learner members in cluster", [Some(Code::FailedPrecondition); 4]),
    ("etcdserver: cluster ID mismatch", [None, Some(Code::FailedPrecondition), Some(Code::FailedPrecondition), Some(Code::FailedPrecondition)]),
    ("etcdserver: request is too large", [Some(Code::InvalidArgument); 4]),
    ("etcdserver: too many requests", [Some(Code::ResourceExhausted); 4]),
    ("etcdserver: root user does not exist", [Some(Code::FailedPrecondition); 4]),
    ("etcdserver: root user does not have root role", [Some(Code::FailedPrecondition); 4]),
    ("etcdserver: user name already exists", [Some(Code::FailedPrecondition); 4]),
    ("etcdserver: user name is empty", [Some(Code::InvalidArgument); 4]),
    ("etcdserver: user name not found", [Some(Code::FailedPrecondition); 4]),
    ("etcdserver: role name already exists", [Some(Code::FailedPrecondition); 4]),
    ("etcdserver: role name not found", [Some(Code::FailedPrecondition); 4]),
    ("etcdserver: role name is empty", [Some(Code::InvalidArgument); 4]),
    ("etcdserver: authentication failed, invalid user ID or password", [Some(Code::InvalidArgument); 4]),
    ("etcdserver: permission not given", [None, Some(Code::InvalidArgument), Some(Code::InvalidArgument), Some(Code::InvalidArgument)]),
    ("etcdserver: permission denied", [Some(Code::PermissionDenied); 4]),
    ("etcdserver: role is not granted to the user", [Some(Code::FailedPrecondition); 4]),
    ("etcdserver: permission is not granted to the role", [Some(Code::FailedPrecondition); 4]),
    ("etcdserver: authentication is not enabled", [Some(Code::FailedPrecondition); 4]),
    ("etcdserver: invalid auth token", [Some(Code::Unauthenticated); 4]),
    ("etcdserver: invalid auth management", [Some(Code::InvalidArgument); 4]),
    ("etcdserver: revision of auth store is old", [Some(Code::InvalidArgument); 4]),
    ("etcdserver: no leader", [Some(Code::Unavailable); 4]),
    ("etcdserver: not leader", [Some(Code::FailedPrecondition); 4]),
    ("etcdserver: leader changed", [Some(Code::Unavailable); 4]),
    ("etcdserver: not capable", [Some(Code::Unavailable), Some(Code::Unavailable), Some(Code::FailedPrecondition), Some(Code::FailedPrecondition)]),
    ("etcdserver: server stopped", [Some(Code::Unavailable); 4]),
    ("etcdserver: request timed out", [Some(Code::Unavailable); 4]),
    ("etcdserver: request timed out, possibly due to previous leader failure", [Some(Code::Unavailable); 4]),
    ("etcdserver: request timed out, possibly due to connection lost", [Some(Code::Unavailable); 4]),
    ("etcdserver: request timed out, waiting for the applied index took too long", [Some(Code::Unavailable); 4]),
    ("etcdserver: unhealthy cluster", [Some(Code::Unavailable); 4]),
    ("etcdserver: corrupt cluster", [Some(Code::DataLoss); 4]),
    ("etcdserver: rpc not supported for learner", [Some(Code::Unavailable), Some(Code::Unavailable), Some(Code::FailedPrecondition), Some(Code::FailedPrecondition)]),
    ("etcdserver: bad leader transferee", [Some(Code::FailedPrecondition); 4]),
    ("etcdserver: cluster version not found during downgrade", [None, Some(Code::Unavailable), Some(Code::FailedPrecondition), Some(Code::FailedPrecondition)]),
    ("etcdserver: wrong downgrade target version format", [None, Some(Code::InvalidArgument), Some(Code::InvalidArgument), Some(Code::InvalidArgument)]),
    ("etcdserver: invalid downgrade target version", [None, Some(Code::InvalidArgument), Some(Code::InvalidArgument), Some(Code::InvalidArgument)]),
    ("etcdserver: cluster has a downgrade job in progress", [None, Some(Code::FailedPrecondition), Some(Code::FailedPrecondition), Some(Code::FailedPrecondition)]),
    ("etcdserver: no inflight downgrade job", [None, Some(Code::FailedPrecondition), Some(Code::FailedPrecondition), Some(Code::FailedPrecondition)]),
    ("etcdserver: request canceled", [None, Some(Code::Cancelled), Some(Code::Cancelled), Some(Code::Cancelled)]),
    ("etcdserver: context deadline exceeded", [None, Some(Code::DeadlineExceeded), Some(Code::DeadlineExceeded), Some(Code::DeadlineExceeded)]),
    ("etcdserver: invalid client api version", [None, None, Some(Code::InvalidArgument), Some(Code::InvalidArgument)]),
    ("etcdserver: invalid sort option", [None, None, Some(Code::InvalidArgument), Some(Code::InvalidArgument)]),
];

#[test]
fn every_text_of_every_version_is_known_whatever_its_code() {
    for (text, codes) in ETCD {
        let row = row(text).unwrap_or_else(|| panic!("{text} is not in the table"));
        for code in codes.iter().flatten() {
            let class = classify(*code, text);
            assert_eq!(
                (class.kind, class.outcome, class.retry),
                (row.1, row.2, row.3),
                "{text} as {code}"
            );
        }
    }
}

#[test]
fn a_refusal_of_a_learner_was_not_applied_on_any_version() {
    for code in [Code::Unavailable, Code::FailedPrecondition] {
        let class = classify(code, "etcdserver: rpc not supported for learner");
        assert_eq!(class.kind, ErrorKind::Learner);
        assert_eq!(class.outcome, Outcome::Rejected);
        assert_eq!(class.retry, Retry::OtherMember);
    }
}

#[test]
fn a_text_counts_without_its_code() {
    let class = classify(Code::Unknown, "etcdserver: requested lease not found");
    assert_eq!(class.kind, ErrorKind::LeaseNotFound);
    assert_eq!(
        (class.outcome, class.retry),
        (Outcome::Rejected, Retry::Never)
    );
    let class = classify(Code::Unknown, "context deadline exceeded");
    assert_eq!(class.kind, ErrorKind::Timeout);
    assert_eq!(classify(Code::Unknown, "?").kind, ErrorKind::Server);
}

#[test]
fn the_outcome_of_a_write_follows_from_the_text() {
    let outcome = |code, text| classify(code, text).outcome;
    for text in [
        "etcdserver: request timed out",
        "etcdserver: request timed out, possibly due to previous leader failure",
        "etcdserver: request timed out, possibly due to connection lost",
        "etcdserver: leader changed",
        "etcdserver: server stopped",
        "raft: stopped",
        "transport is closing",
    ] {
        assert_eq!(outcome(Code::Unavailable, text), Outcome::Unknown, "{text}");
    }
    for text in ["etcdserver: no leader", "raft proposal dropped"] {
        assert_eq!(outcome(Code::Unknown, text), Outcome::Rejected, "{text}");
    }
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

/// A write is sent again only when no server has seen it, and a server that answers has seen it.
#[test]
fn no_answer_of_a_server_counts_as_not_sent() {
    assert!(TABLE.iter().all(|row| row.2 != Outcome::NotSent));
}
