//! The request that revokes a lease.

use bytes::Bytes;
use etcdex_proto::etcdserverpb::{LeaseRevokeRequest, LeaseRevokeResponse};

use crate::call::{Core, Request};
use crate::error::{Error, ErrorKind};
use crate::key::Namespace;
use crate::kv::{LeaseId, ResponseHeader, decode, header};
use crate::method::Method;
use crate::transport::{Failure, frame};

/// Revokes a lease and deletes its keys, all in one revision.
///
/// Source: <https://etcd.io/docs/v3.6/learning/api/#obtaining-leases>.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct Revoke {
    id: LeaseId,
}

impl Revoke {
    /// Returns a request that revokes this lease.
    pub fn new(id: LeaseId) -> Self {
        Self { id }
    }
}

/// The reply to a [`Revoke`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct RevokeResponse {
    /// The member that answered, and the revision of its store: that of the deletion, if the lease
    /// had keys.
    pub header: ResponseHeader,
}

impl Request for Revoke {
    type Reply = RevokeResponse;

    fn method(&self) -> Method {
        Method::LeaseRevoke
    }

    fn is_repeatable(&self) -> bool {
        // Another client may have granted a lease of the same ID in between.
        false
    }

    fn encode(&self, _: Option<&Namespace>, limit: usize) -> Result<Bytes, Failure> {
        let id = self.id.as_i64();
        frame(&LeaseRevokeRequest { id }, limit)
    }

    fn decode(&self, reply: Bytes, _: Option<&Namespace>) -> Result<RevokeResponse, Error> {
        let reply: LeaseRevokeResponse = decode(reply)?;
        Ok(RevokeResponse {
            header: header(reply.header),
        })
    }

    fn sends(&self, core: &Core) {
        core.leases.revoking(self.id.as_i64());
    }

    fn ended(&self, core: &Core, outcome: Result<&RevokeResponse, &Error>) {
        let gone = match outcome {
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::LeaseNotFound,
        };
        if gone {
            core.leases.revoked(self.id.as_i64());
        }
    }
}
