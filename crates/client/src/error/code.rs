//! gRPC's status codes.

use std::fmt;

/// A gRPC status code other than OK.
///
/// Source: <https://grpc.io/docs/guides/status-codes/>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// 1: the call was cancelled.
    Cancelled,
    /// 2: the cause is not known; also every number outside of the list.
    Unknown,
    /// 3: the request is invalid.
    InvalidArgument,
    /// 4: the deadline passed.
    DeadlineExceeded,
    /// 5: the requested object does not exist.
    NotFound,
    /// 6: the object to create exists already.
    AlreadyExists,
    /// 7: the user has no permission.
    PermissionDenied,
    /// 8: a quota or limit is exhausted.
    ResourceExhausted,
    /// 9: the system is not in the state that the call needs.
    FailedPrecondition,
    /// 10: a conflict with a concurrent call.
    Aborted,
    /// 11: a value is outside of the valid range.
    OutOfRange,
    /// 12: the server does not implement the call.
    Unimplemented,
    /// 13: an invariant of the server or the connection is broken.
    Internal,
    /// 14: the service is not available at present.
    Unavailable,
    /// 15: data is lost or corrupt.
    DataLoss,
    /// 16: the call has no valid credentials.
    Unauthenticated,
}

impl Code {
    /// Returns the code with a number other than 0; [`Code::Unknown`] for a number that gRPC does
    /// not list.
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
