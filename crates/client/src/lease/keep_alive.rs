//! Renewing a lease once.

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

/// Renews a lease once: it then has its whole time-to-live before it.
///
/// The call opens a stream, sends one renewal, and ends the stream when the answer is there. To
/// keep a lease for long, use [`Client::keep`](crate::Client::keep).
///
/// Source: <https://etcd.io/docs/v3.6/learning/api/#keep-alives>.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct KeepAlive {
    id: LeaseId,
}

impl KeepAlive {
    /// Renews this lease.
    pub fn new(id: LeaseId) -> Self {
        Self { id }
    }
}

/// The reply to a [`KeepAlive`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct KeepAliveResponse {
    /// Who answered.
    pub header: ResponseHeader,
    /// The lease.
    pub id: LeaseId,
    /// How long it lives from now on, in whole seconds. The server counted from when it got the
    /// request: who needs a safe bound counts from when the call was made.
    pub ttl: Duration,
}

impl KeepAliveResponse {
    /// Makes a reply with an empty header, for a program's own fake of a client.
    #[must_use]
    pub fn new(id: LeaseId, ttl: Duration) -> Self {
        Self {
            header: ResponseHeader::default(),
            id,
            ttl,
        }
    }
}

impl Request for KeepAlive {
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
            // The server has no error for it.
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
