//! Going back to the version before.

use etcdex_proto::etcdserverpb as pb;
use etcdex_proto::etcdserverpb::downgrade_request::DowngradeAction;

use crate::kv::{ResponseHeader, header, plain_request, refuse};
use crate::transport::Failure;

/// Prepares the cluster for servers of the version before.
///
/// etcd can go back by one minor version. Servers before 3.5 answer
/// [`Unimplemented`](crate::ErrorKind::Unimplemented). What etcd refuses otherwise has the kind
/// [`DowngradeRefused`](crate::ErrorKind::DowngradeRefused), or
/// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a version that it cannot go to.
///
/// Source: <https://etcd.io/docs/v3.6/downgrades/downgrading-etcd/>.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct Downgrade {
    wire: pb::DowngradeRequest,
}

impl Downgrade {
    /// Asks whether the cluster could go back to this version, as in `3.5` or `3.5.0`. Nothing
    /// is changed.
    pub fn validate(version: impl Into<String>) -> Self {
        Self::new(DowngradeAction::Validate, version.into())
    }

    /// Brings the data into the form of this version, as in `3.5` or `3.5.0`, so that its
    /// servers can take the members' places one by one.
    pub fn enable(version: impl Into<String>) -> Self {
        Self::new(DowngradeAction::Enable, version.into())
    }

    /// Gives a downgrade up that was enabled.
    pub fn cancel() -> Self {
        Self::new(DowngradeAction::Cancel, String::new())
    }

    fn new(action: DowngradeAction, version: String) -> Self {
        Self {
            wire: pb::DowngradeRequest {
                action: action as i32,
                version,
            },
        }
    }

    fn check(&self) -> Result<(), Failure> {
        if self.wire.version.is_empty() && self.wire.action != DowngradeAction::Cancel as i32 {
            return Err(refuse("the version to go back to is empty"));
        }
        Ok(())
    }
}

/// The reply to a [`Downgrade`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DowngradeResponse {
    /// Who answered.
    pub header: ResponseHeader,
    /// The version of the cluster now, as in `3.6`.
    pub version: String,
}

plain_request! {
    Downgrade: Downgrade, repeatable: false, check: Self::check,
    |answer: pb::DowngradeResponse| -> DowngradeResponse {
        DowngradeResponse { header: header(answer.header), version: answer.version }
    }
}
