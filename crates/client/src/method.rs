//! The calls that the client makes, with what is fixed about each.

use etcdex_proto::method as path;

/// Which connections a call travels on.
///
/// Calls that answer soon, streams that stay open, and calls that wait for somebody else never
/// share the last streams of a connection: a TLS etcd 3.5 allows 250 of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Unary,
    Stream,
    Wait,
}

/// A method of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Range,
    RangeStream,
    Put,
    DeleteRange,
    Txn,
    Compact,
    LeaseGrant,
    LeaseRevoke,
    /// The stream that many leases share.
    LeaseKeepAlive,
    /// One renewal, which is answered soon.
    LeaseKeepAliveOnce,
    LeaseTimeToLive,
    LeaseLeases,
    Lock,
    Unlock,
}

struct Row {
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "a test checks the places by it")
    )]
    method: Method,
    path: &'static str,
    name: &'static str,
    lane: Lane,
}

const fn row(method: Method, path: &'static str, name: &'static str, lane: Lane) -> Row {
    Row {
        method,
        path,
        name,
        lane,
    }
}

/// INVARIANT: each method stands at the place of its number (a test checks it).
const TABLE: [Row; 14] = [
    row(Method::Range, path::kv::RANGE, "get", Lane::Unary),
    row(
        Method::RangeStream,
        path::kv::RANGE_STREAM,
        "get",
        Lane::Stream,
    ),
    row(Method::Put, path::kv::PUT, "put", Lane::Unary),
    row(
        Method::DeleteRange,
        path::kv::DELETE_RANGE,
        "delete",
        Lane::Unary,
    ),
    row(Method::Txn, path::kv::TXN, "txn", Lane::Unary),
    row(Method::Compact, path::kv::COMPACT, "compact", Lane::Unary),
    row(
        Method::LeaseGrant,
        path::lease::LEASE_GRANT,
        "grant",
        Lane::Unary,
    ),
    row(
        Method::LeaseRevoke,
        path::lease::LEASE_REVOKE,
        "revoke",
        Lane::Unary,
    ),
    row(
        Method::LeaseKeepAlive,
        path::lease::LEASE_KEEP_ALIVE,
        "keep",
        Lane::Stream,
    ),
    row(
        Method::LeaseKeepAliveOnce,
        path::lease::LEASE_KEEP_ALIVE,
        "keep_alive",
        Lane::Unary,
    ),
    row(
        Method::LeaseTimeToLive,
        path::lease::LEASE_TIME_TO_LIVE,
        "ttl",
        Lane::Unary,
    ),
    row(
        Method::LeaseLeases,
        path::lease::LEASE_LEASES,
        "leases",
        Lane::Unary,
    ),
    row(Method::Lock, path::lock::LOCK, "lock", Lane::Wait),
    row(Method::Unlock, path::lock::UNLOCK, "unlock", Lane::Unary),
];

impl Method {
    /// The paths of all methods, each at the place of its method's number.
    pub(crate) fn paths() -> impl Iterator<Item = &'static str> {
        TABLE.iter().map(|row| row.path)
    }

    /// What the call is named in errors and spans.
    pub(crate) const fn name(self) -> &'static str {
        TABLE[self as usize].name
    }

    pub(crate) const fn lane(self) -> Lane {
        TABLE[self as usize].lane
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_stands_at_its_place() {
        for (place, row) in TABLE.iter().enumerate() {
            assert_eq!(row.method as usize, place, "{}", row.name);
        }
    }
}
