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
    /// 7
    PermissionDenied,
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
    /// Users are to be asked for, and there is no user `root`.
    RootUserNotFound,
    /// Users are to be asked for, and the user `root` does not have the role `root`.
    RootRoleNotGranted,
    /// There is a user with this name.
    UserExists,
    /// A request has no user, or a user to be added has no name.
    UserEmpty,
    /// There is no user with this name.
    UserNotFound,
    /// There is a role with this name.
    RoleExists,
    /// There is no role with this name.
    RoleNotFound,
    /// A role to be added has no name.
    RoleEmpty,
    /// A login by a wrong name or password.
    AuthFailed,
    /// The user may not do this.
    PermissionDenied,
    /// The user does not have the role.
    RoleNotGranted,
    /// The role does not have the permission.
    PermissionNotGranted,
    /// The store asks for no users.
    AuthNotEnabled,
    /// A change that would lock everybody out, or a permission for no keys.
    InvalidAuthManagement,
    /// Users have changed since the token was given.
    AuthOldRevision,
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
            Self::PermissionDenied => Code::PermissionDenied,
            Self::LeaseExists
            | Self::RootUserNotFound
            | Self::RootRoleNotGranted
            | Self::UserExists
            | Self::UserNotFound
            | Self::RoleExists
            | Self::RoleNotFound
            | Self::RoleNotGranted
            | Self::PermissionNotGranted
            | Self::AuthNotEnabled => Code::FailedPrecondition,
            Self::KeyNotFound
            | Self::EmptyKey
            | Self::ValueProvided
            | Self::LeaseProvided
            | Self::TooManyOperations
            | Self::DuplicateKey
            | Self::UserEmpty
            | Self::RoleEmpty
            | Self::AuthFailed
            | Self::InvalidAuthManagement
            | Self::AuthOldRevision => Code::InvalidArgument,
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
            Self::RootUserNotFound => "etcdserver: root user does not exist",
            Self::RootRoleNotGranted => "etcdserver: root user does not have root role",
            Self::UserExists => "etcdserver: user name already exists",
            Self::UserEmpty => "etcdserver: user name is empty",
            Self::UserNotFound => "etcdserver: user name not found",
            Self::RoleExists => "etcdserver: role name already exists",
            Self::RoleNotFound => "etcdserver: role name not found",
            Self::RoleEmpty => "etcdserver: role name is empty",
            Self::AuthFailed => "etcdserver: authentication failed, invalid user ID or password",
            Self::PermissionDenied => "etcdserver: permission denied",
            Self::RoleNotGranted => "etcdserver: role is not granted to the user",
            Self::PermissionNotGranted => "etcdserver: permission is not granted to the role",
            Self::AuthNotEnabled => "etcdserver: authentication is not enabled",
            Self::InvalidAuthManagement => "etcdserver: invalid auth management",
            Self::AuthOldRevision => "etcdserver: revision of auth store is old",
        })
    }
}

impl std::error::Error for StoreError {}
