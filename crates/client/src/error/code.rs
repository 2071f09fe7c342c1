//! gRPC's status codes.

use std::fmt;

/// A gRPC status code other than OK.
///
/// Source: <https://grpc.io/docs/guides/status-codes/>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// 1: the call was given up.
    Cancelled,
    /// 2: no more is known; also every number outside of the list.
    Unknown,
    /// 3: the request makes no sense.
    InvalidArgument,
    /// 4: the deadline passed.
    DeadlineExceeded,
    /// 5: what was asked for does not exist.
    NotFound,
    /// 6: what was to be made exists.
    AlreadyExists,
    /// 7: the user may not do it.
    PermissionDenied,
    /// 8: a quota or limit is used up.
    ResourceExhausted,
    /// 9: the system is not in the state that the call needs.
    FailedPrecondition,
    /// 10: a conflict of concurrent calls.
    Aborted,
    /// 11: past the valid range.
    OutOfRange,
    /// 12: the server does not have the call.
    Unimplemented,
    /// 13: an invariant of the server or the connection is broken.
    Internal,
    /// 14: the service is not reachable just now.
    Unavailable,
    /// 15: data is lost or corrupt.
    DataLoss,
    /// 16: no valid credentials.
    Unauthenticated,
}

impl Code {
    /// The code of a number other than 0; what gRPC does not list is [`Code::Unknown`].
    pub(crate) const fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Cancelled,
            3 => Self::InvalidArgument,
            4 => Self::DeadlineExceeded,
            5 => Self::NotFound,
            6 => Self::AlreadyExists,
            7 => Self::PermissionDenied,
            8 => Self::ResourceExhausted,
            9 => Self::FailedPrecondition,
            10 => Self::Aborted,
            11 => Self::OutOfRange,
            12 => Self::Unimplemented,
            13 => Self::Internal,
            14 => Self::Unavailable,
            15 => Self::DataLoss,
            16 => Self::Unauthenticated,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
