//! PURE: what the end of an attempt says about the endpoint that it went to.
//!
//! A connection that is up proves little. A member that is cut off from its peers answers HTTP/2
//! pings, and answers no call that needs its quorum. So the ends of calls and streams count: each
//! of them is a [`Report`] about its endpoint. The words are those of gRPC's health protocol.
//!
//! | end of the attempt | report |
//! |---|---|
//! | a reply for which the member has asked its quorum, or a refusal that comes after that | serving |
//! | a reply or refusal that a member gives by itself | unknown |
//! | the member says that it cannot serve: no leader, learner, stopped | not serving |
//! | a gateway says so: Unavailable, HTTP 502, 503 and 504 | not serving |
//! | no gRPC server answers there, or the stream is refused on a connection that is up | not serving |
//! | given up without an answer, or the server itself has waited in vain: request timed out | silent |
//! | the connection was lost (its driver knows), or anything else | unknown |
//!
//! A report against the endpoint counts only if no report of "serving" has come since the attempt
//! began: see [`report`].
//!
//! Sources: `server/etcdserver/v3_server.go` of etcd 3.5.35, 3.6.16 and 3.7.3 for the order of the
//! quorum read and the checks of the user; `server/etcdserver/server.go` there for "unhealthy
//! cluster", which only changes of the membership are refused with, by every member that has lost
//! one of its peers; <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>.

use super::failure::Failure;
use crate::error::{ErrorKind, Outcome, Retry};

/// The conclusion about an endpoint from the end of an attempt there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// The member serves calls that need its quorum.
    Serving,
    /// The member says that it does not serve, or no member is reached there.
    NotServing,
    /// The member gave no answer. A probe has to find out whether it serves.
    Silent,
    /// The end says nothing about the endpoint.
    Unknown,
}

/// How an attempt has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End<'a> {
    /// A reply or a message of a stream came.
    Reply,
    /// The attempt failed.
    Failed(&'a Failure),
    /// The attempt was given up without an answer: the call went to another endpoint, its time-out is
    /// over, or the caller has dropped it. Why a caller drops a call is not known; many callers have
    /// a time-out of their own.
    NoAnswer,
}

/// Facts about the attempt besides its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// The member answers such a request without asking its quorum.
    pub(crate) local: bool,
    /// A report of "serving" came over the connection since the attempt began.
    pub(crate) served_since: bool,
    /// The connection takes further requests.
    pub(crate) connected: bool,
}

/// Returns the report that follows from the end of an attempt.
///
/// INVARIANT: a reply that came since the attempt began outweighs its bad end. A thousand calls
/// that were under way while the leader changed say nothing once the first of them is answered.
pub(crate) fn report(end: End<'_>, attempt: Attempt) -> Report {
    let report = match end {
        End::Reply if attempt.local => Report::Unknown,
        End::Reply => Report::Serving,
        End::Failed(failure) if failure.error.code().is_some() => refusal(failure, attempt.local),
        End::Failed(failure) if attempt.connected => breach(failure),
        End::NoAnswer => Report::Silent,
        End::Failed(_) => Report::Unknown,
    };
    match report {
        Report::NotServing | Report::Silent if attempt.served_since => Report::Unknown,
        report => report,
    }
}

/// The report for an answer with the status of an error.
fn refusal(failure: &Failure, local: bool) -> Report {
    use ErrorKind as Kind;
    match failure.error.kind() {
        Kind::NoLeader | Kind::Learner | Kind::Stopped | Kind::Unavailable => Report::NotServing,
        Kind::Timeout => Report::Silent,
        // The member has asked its quorum before it said so.
        Kind::KeyNotFound
        | Kind::Compacted
        | Kind::FutureRevision
        | Kind::LeaseNotFound
        | Kind::LeaseExists
        | Kind::MemberNotFound
        | Kind::MemberExists
        | Kind::PermissionDenied
        | Kind::AuthenticationFailed
        | Kind::AuthenticationDisabled
        | Kind::TokenMissing
        | Kind::UserNotFound
        | Kind::UserExists
        | Kind::RoleNotFound
        | Kind::RoleExists
            if !local =>
        {
            Report::Serving
        }
        _ => Report::Unknown,
    }
}

/// The report for a failure without a gRPC status, over a connection that is still up.
fn breach(failure: &Failure) -> Report {
    let error = &failure.error;
    match (error.kind(), error.outcome(), failure.retry) {
        // The stream was refused (REFUSED_STREAM), or a gateway answers for a server that is away.
        (ErrorKind::Unavailable, Outcome::NotSent | Outcome::Unknown, _) => Report::NotServing,
        // The answer is not one of gRPC. A violation of HTTP/2 ends the connection, and has the retry
        // `Elsewhere`.
        (ErrorKind::Protocol, _, Retry::Never) => Report::NotServing,
        _ => Report::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Code, classify};

    const CALL: Attempt = Attempt {
        local: false,
        served_since: false,
        connected: true,
    };

    fn status(code: Code, text: &'static str) -> Failure {
        Failure::status(classify(code, text), code, text.into())
    }

    fn of(code: Code, text: &'static str, attempt: Attempt) -> Report {
        report(End::Failed(&status(code, text)), attempt)
    }

    #[test]
    fn replies_and_refusals_behind_the_quorum_read_say_serving() {
        assert_eq!(report(End::Reply, CALL), Report::Serving);
        for (code, text) in [
            (Code::PermissionDenied, "etcdserver: permission denied"),
            (Code::InvalidArgument, "etcdserver: user name is empty"),
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision has been compacted",
            ),
            (Code::InvalidArgument, "etcdserver: key not found"),
            (Code::NotFound, "etcdserver: requested lease not found"),
        ] {
            assert_eq!(of(code, text, CALL), Report::Serving, "{text}");
            let local = Attempt {
                local: true,
                ..CALL
            };
            assert_eq!(of(code, text, local), Report::Unknown, "{text}");
        }
    }

    #[test]
    fn what_a_member_says_by_itself_says_nothing() {
        let local = Attempt {
            local: true,
            ..CALL
        };
        assert_eq!(report(End::Reply, local), Report::Unknown);
        for (code, text) in [
            (Code::InvalidArgument, "etcdserver: key is not provided"),
            (Code::InvalidArgument, "etcdserver: request is too large"),
            (Code::Unauthenticated, "etcdserver: invalid auth token"),
            (Code::ResourceExhausted, "etcdserver: too many requests"),
            (
                Code::ResourceExhausted,
                "etcdserver: mvcc: database space exceeded",
            ),
            (Code::Unavailable, "etcdserver: leader changed"),
            (Code::Unavailable, "etcdserver: unhealthy cluster"),
            (Code::DataLoss, "etcdserver: corrupt cluster"),
            (Code::Unimplemented, "unknown method"),
            (Code::Unknown, "anything"),
        ] {
            assert_eq!(of(code, text, CALL), Report::Unknown, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_served_there_says_not_serving() {
        for (code, text) in [
            (Code::Unavailable, "etcdserver: no leader"),
            (Code::Unavailable, "etcdserver: server stopped"),
            (
                Code::FailedPrecondition,
                "etcdserver: rpc not supported for learner",
            ),
            (Code::Unavailable, "no healthy upstream"),
        ] {
            assert_eq!(of(code, text, CALL), Report::NotServing, "{text}");
            // Also where the member would have answered by itself.
            let local = Attempt {
                local: true,
                ..CALL
            };
            assert_eq!(of(code, text, local), Report::NotServing, "{text}");
        }
    }

    #[test]
    fn an_attempt_without_an_answer_says_silent_also_where_the_server_waited_in_vain() {
        assert_eq!(report(End::NoAnswer, CALL), Report::Silent);
        for (code, text) in [
            (Code::Unavailable, "etcdserver: request timed out"),
            (
                Code::Unavailable,
                "etcdserver: request timed out, possibly due to previous leader failure",
            ),
            (Code::DeadlineExceeded, "context deadline exceeded"),
        ] {
            assert_eq!(of(code, text, CALL), Report::Silent, "{text}");
        }
    }

    #[test]
    fn what_came_since_outweighs_a_bad_end() {
        let outweighed = Attempt {
            served_since: true,
            ..CALL
        };
        assert_eq!(report(End::NoAnswer, outweighed), Report::Unknown);
        assert_eq!(
            of(Code::Unavailable, "etcdserver: no leader", outweighed),
            Report::Unknown
        );
        assert_eq!(report(End::Reply, outweighed), Report::Serving);
    }

    #[test]
    fn what_is_no_answer_of_grpc_counts_while_the_connection_is_up() {
        let refused = Failure::not_sent(ErrorKind::Unavailable, "REFUSED_STREAM", Retry::Later);
        let gateway = Failure::new(
            ErrorKind::Unavailable,
            Outcome::Unknown,
            "HTTP status 503",
            Retry::Elsewhere,
        );
        let nonsense = Failure::violation("this is no gRPC server");
        let cancelled = Failure::new(
            ErrorKind::Cancelled,
            Outcome::Unknown,
            "the server reset the stream",
            Retry::Never,
        );
        for (failure, expected) in [
            (&refused, Report::NotServing),
            (&gateway, Report::NotServing),
            (&nonsense, Report::NotServing),
            (&cancelled, Report::Unknown),
        ] {
            assert_eq!(
                report(End::Failed(failure), CALL),
                expected,
                "{}",
                failure.error
            );
            let lost = Attempt {
                connected: false,
                ..CALL
            };
            assert_eq!(report(End::Failed(failure), lost), Report::Unknown);
        }
    }
}
