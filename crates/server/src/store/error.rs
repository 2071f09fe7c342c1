//! PURE: the errors of the store, with etcd's texts and codes.

use std::fmt;

/// The gRPC status code of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Code {
    /// 3
    InvalidArgument,
    /// 5
    NotFound,
    /// 9
    FailedPrecondition,
    /// 8
    ResourceExhausted,
    /// 11
    OutOfRange,
    /// 15
    DataLoss,
}

/// The reason why the store has refused a request. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// A revision below the compacted one was requested.
    Compacted,
    /// A revision was requested that the store has not reached.
    FutureRevision,
    /// A put keeps the value or the lease of a key that does not exist.
    KeyNotFound,
    /// There is no lease with this ID.
    LeaseNotFound,
    /// There is a lease with this ID.
    LeaseExists,
    /// The time-to-live of a lease is over etcd's maximum.
    LeaseTtlTooLarge,
    /// A request has no key.
    EmptyKey,
    /// A put keeps the value, and has one.
    ValueProvided,
    /// A put keeps the lease, and has one.
    LeaseProvided,
    /// A transaction has more compares or operations than the limit.
    TooManyOperations,
    /// A transaction puts a key twice, or puts and deletes it.
    DuplicateKey,
    /// The store is at its quota, or was and the alarm was not lifted.
    NoSpace,
    /// The alarm says that the members differ.
    Corrupt,
}

impl StoreError {
    /// Returns the gRPC status code, as etcd answers.
    ///
    /// Source: etcd, `api/v3rpc/rpctypes/error.go`.
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            Self::Compacted | Self::FutureRevision | Self::LeaseTtlTooLarge => Code::OutOfRange,
            Self::LeaseNotFound => Code::NotFound,
            Self::NoSpace => Code::ResourceExhausted,
            Self::Corrupt => Code::DataLoss,
            Self::LeaseExists => Code::FailedPrecondition,
            Self::KeyNotFound
            | Self::EmptyKey
            | Self::ValueProvided
            | Self::LeaseProvided
            | Self::TooManyOperations
            | Self::DuplicateKey => Code::InvalidArgument,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Compacted => "etcdserver: mvcc: required revision has been compacted",
            Self::FutureRevision => "etcdserver: mvcc: required revision is a future revision",
            Self::KeyNotFound => "etcdserver: key not found",
            Self::LeaseNotFound => "etcdserver: requested lease not found",
            Self::LeaseExists => "etcdserver: lease already exists",
            Self::LeaseTtlTooLarge => "etcdserver: too large lease TTL",
            Self::EmptyKey => "etcdserver: key is not provided",
            Self::ValueProvided => "etcdserver: value is provided",
            Self::LeaseProvided => "etcdserver: lease is provided",
            Self::TooManyOperations => "etcdserver: too many operations in txn request",
            Self::DuplicateKey => "etcdserver: duplicate key given in txn request",
            Self::NoSpace => "etcdserver: mvcc: database space exceeded",
            Self::Corrupt => "etcdserver: corrupt cluster",
        })
    }
}

impl std::error::Error for StoreError {}
