//! PURE: the errors that end a watched list, and those that pass.

use crate::error::ErrorKind;

/// Whether reading again later may succeed. `is_known` says that a listing has come before. After
/// that the list waits for errors to pass that would end a first connection.
pub(super) fn is_mended_by_time(kind: ErrorKind, is_known: bool, has_credentials: bool) -> bool {
    use ErrorKind as Kind;
    match kind {
        Kind::Unavailable
        | Kind::Timeout
        | Kind::Protocol
        | Kind::Compacted
        | Kind::FutureRevision
        | Kind::TooManyRequests
        | Kind::NoSpace
        | Kind::NoLeader
        | Kind::NotLeader
        | Kind::LeaderChanged
        | Kind::Stopped
        | Kind::Unhealthy
        | Kind::Learner
        | Kind::Corrupt
        | Kind::ClusterMismatch
        | Kind::InvalidToken
        | Kind::StaleToken
        | Kind::Cancelled
        | Kind::FailedPrecondition
        | Kind::Server => true,
        // Certificates may be renewed: each connection reads the files again.
        Kind::Tls => is_known,
        // Authentication was enabled meanwhile. The next call has a token.
        Kind::TokenMissing => has_credentials,
        Kind::Config
        | Kind::InvalidArgument
        | Kind::MessageTooLarge
        | Kind::Closed
        | Kind::Decode
        | Kind::File
        | Kind::KeyNotFound
        | Kind::DuplicateKey
        | Kind::TooManyOperations
        | Kind::RequestTooLarge
        | Kind::LeaseNotFound
        | Kind::LeaseExists
        | Kind::LeaseTtlTooLarge
        | Kind::MemberNotFound
        | Kind::MemberExists
        | Kind::MembershipRefused
        | Kind::PermissionDenied
        | Kind::AuthenticationFailed
        | Kind::AuthenticationDisabled
        | Kind::UserNotFound
        | Kind::UserExists
        | Kind::RoleNotFound
        | Kind::RoleExists
        | Kind::AuthRefused
        | Kind::DowngradeRefused
        | Kind::Unimplemented => false,
    }
}
