//! The request that renews a lease once.

use std::time::Duration;

use bytes::Bytes;
use etcdex_proto::etcdserverpb::{LeaseKeepAliveRequest, LeaseKeepAliveResponse as Reply};

use super::seconds;
use crate::call::Request;
use crate::error::{Error, ErrorKind, Outcome};
use crate::key::Namespace;
use crate::kv::{LeaseId, ResponseHeader, broken, decode, header};
use crate::method::Method;
use crate::transport::{Failure, frame};

/// Renews a lease once: the lease then lives for its whole time-to-live.
///
/// The call opens a stream, sends one renewal, and ends the stream after the answer. To keep a lease
/// for long, use [`Client::keep`](crate::Client::keep).
///
/// Source: <https://etcd.io/docs/v3.6/learning/api/#keep-alives>.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct KeepAliveOnce {
    id: LeaseId,
}

impl KeepAliveOnce {
    /// Returns a request that renews this lease.
    pub fn new(id: LeaseId) -> Self {
        Self { id }
    }
}

/// The reply to a [`KeepAliveOnce`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct KeepAliveResponse {
    /// The member that answered, and the revision of its store.
    pub header: ResponseHeader,
    /// The ID of the lease.
    pub id: LeaseId,
    /// The time-to-live, in whole seconds, from the moment at which the server received the request.
    /// For a safe bound, count from the moment at which the call was made.
    pub ttl: Duration,
}

impl KeepAliveResponse {
    /// Returns a reply with an empty header, for programs that fake a client.
    #[must_use]
    pub fn new(id: LeaseId, ttl: Duration) -> Self {
        Self {
            header: ResponseHeader::default(),
            id,
            ttl,
        }
    }
}

impl Request for KeepAliveOnce {
    type Reply = KeepAliveResponse;

    fn method(&self) -> Method {
        Method::LeaseKeepAliveOnce
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    fn is_read(&self) -> bool {
        false
    }

    fn encode(&self, _: Option<&Namespace>, limit: usize) -> Result<Bytes, Failure> {
        let id = self.id.as_i64();
        frame(&LeaseKeepAliveRequest { id }, limit)
    }

    fn decode(&self, reply: Bytes, _: Option<&Namespace>) -> Result<KeepAliveResponse, Error> {
        let reply: Reply = decode(reply)?;
        if reply.id != self.id.as_i64() {
            return Err(broken("the answer to a renewal is about another lease"));
        }
        if reply.ttl <= 0 {
            // A server answers without an error when the lease is gone.
            let error = Error::new(ErrorKind::LeaseNotFound, "the lease is gone");
            return Err(error.with_outcome(Outcome::Rejected));
        }
        Ok(KeepAliveResponse {
            header: header(reply.header),
            id: self.id,
            ttl: seconds(reply.ttl),
        })
    }
}
