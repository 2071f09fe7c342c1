//! Going back to the version before.

use etcdex_proto::etcdserverpb as pb;
use etcdex_proto::etcdserverpb::downgrade_request::DowngradeAction;

use crate::kv::{ResponseHeader, header, plain_request, refuse};
use crate::transport::Failure;

/// Prepares the cluster for servers of the version before.
///
/// etcd can go back by one minor version. What it refuses has the kind
/// [`DowngradeRefused`](crate::ErrorKind::DowngradeRefused), or
/// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a version that it cannot go to.
///
/// Use it with etcd 3.6 and later. Servers before 3.5 answer
/// [`Unimplemented`](crate::ErrorKind::Unimplemented). Those of 3.5 validate, but to the others
/// they answer [`Timeout`](crate::ErrorKind::Timeout) after seven seconds, although they do
/// what they were asked (seen on 3.5.1).
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

    /// Gives a downgrade up that was enabled. That none was is no error for etcd 3.6 and later.
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
