//! The requests that prepare a downgrade.

use etcdex_proto::etcdserverpb as pb;
use etcdex_proto::etcdserverpb::downgrade_request::DowngradeAction;

use crate::kv::{ResponseHeader, header, plain_request, refuse};

plain_request! {
    /// Prepares the cluster for servers of the previous minor version.
    ///
    /// A refused downgrade has the kind [`DowngradeRefused`](crate::ErrorKind::DowngradeRefused), or
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a version that is not the previous
    /// minor version.
    ///
    /// Use the request with etcd 3.6 and later. Servers before 3.5 answer
    /// [`Unimplemented`](crate::ErrorKind::Unimplemented). Servers of 3.5 validate, but they answer
    /// `enable` and `cancel` with [`Timeout`](crate::ErrorKind::Timeout) after seven seconds, although
    /// they carry them out (seen on 3.5.1).
    ///
    /// Source: <https://etcd.io/docs/v3.6/downgrades/downgrading-etcd/>.
    pub struct Downgrade(pb::DowngradeRequest): Downgrade, repeatable: false,
    check: |wire| {
        if wire.version.is_empty() && wire.action != DowngradeAction::Cancel as i32 {
            return Err(refuse("the version to go back to is empty"));
        }
        Ok(())
    },
    |answer: pb::DowngradeResponse| -> DowngradeResponse {
        DowngradeResponse { header: header(answer.header), version: answer.version }
    }
}

impl Downgrade {
    /// Returns a request that checks whether the cluster can go back to a version (`3.5` or
    /// `3.5.0`). The server changes nothing.
    pub fn validate(version: impl Into<String>) -> Self {
        Self::new(DowngradeAction::Validate, version.into())
    }

    /// Returns a request that converts the data to the format of a version (`3.5` or `3.5.0`), so
    /// that servers of that version can replace the members one by one.
    pub fn enable(version: impl Into<String>) -> Self {
        Self::new(DowngradeAction::Enable, version.into())
    }

    /// Returns a request that cancels an enabled downgrade. With etcd 3.6 and later it is not an
    /// error if no downgrade is enabled.
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
}

/// The reply to a [`Downgrade`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DowngradeResponse {
    /// Member and cluster that answered.
    pub header: ResponseHeader,
    /// Present version of the cluster (`3.6`).
    pub version: String,
}
