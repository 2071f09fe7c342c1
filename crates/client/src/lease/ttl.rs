//! The request for the remaining time-to-live of a lease.

use std::time::Duration;

use bytes::Bytes;
use etcdex_proto::etcdserverpb::{LeaseTimeToLiveRequest, LeaseTimeToLiveResponse};

use super::seconds;
use crate::call::{Request, options};
use crate::debug::debug_fields;
use crate::error::Error;
use crate::key::Namespace;
use crate::kv::{LeaseId, ResponseHeader, decode, header};
use crate::method::Method;
use crate::transport::{Failure, frame};

/// Asks for the remaining time-to-live of a lease, and for its keys.
///
/// Source: <https://etcd.io/docs/v3.6/dev-guide/api_reference_v3/> (`LeaseTimeToLive`).
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct Ttl {
    wire: LeaseTimeToLiveRequest,
}

impl Ttl {
    /// Returns a request about this lease.
    pub fn new(id: LeaseId) -> Self {
        Self {
            wire: LeaseTimeToLiveRequest {
                id: id.as_i64(),
                keys: false,
            },
        }
    }
}

options! { Ttl {
    /// Asks for the keys of the lease as well.
    fn keys(mut self) {
        self.wire.keys = true;
    }
} }

/// The reply to a [`Ttl`]. `Debug` shows the number of keys, not the keys.
#[derive(Clone)]
#[non_exhaustive]
pub struct TtlResponse {
    /// The member that answered, and the revision of its store.
    pub header: ResponseHeader,
    /// The ID of the lease.
    pub id: LeaseId,
    /// Remaining time-to-live, in whole seconds; `None` when there is no such lease.
    pub ttl: Option<Duration>,
    /// The time-to-live after each renewal, in whole seconds; zero when there is no such lease.
    pub granted_ttl: Duration,
    /// The keys of the lease, if the request asked for them. In a namespace, only the keys inside
    /// of it, without the prefix.
    pub keys: Vec<Bytes>,
}

impl TtlResponse {
    /// Returns a reply with an empty header and no keys, for programs that fake a client.
    #[must_use]
    pub fn new(id: LeaseId, ttl: Option<Duration>, granted_ttl: Duration) -> Self {
        Self {
            header: ResponseHeader::default(),
            id,
            ttl,
            granted_ttl,
            keys: Vec::new(),
        }
    }
}

debug_fields! { TtlResponse |response| {
    header: response.header, id: response.id, ttl: response.ttl, granted_ttl: response.granted_ttl,
    keys: response.keys.len(),
} }

impl Request for Ttl {
    type Reply = TtlResponse;

    fn method(&self) -> Method {
        Method::LeaseTimeToLive
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    fn encode(&self, _: Option<&Namespace>, limit: usize) -> Result<Bytes, Failure> {
        frame(&self.wire, limit)
    }

    fn decode(&self, reply: Bytes, namespace: Option<&Namespace>) -> Result<TtlResponse, Error> {
        let reply: LeaseTimeToLiveResponse = decode(reply)?;
        let id = LeaseId::new(self.wire.id)
            .ok_or_else(|| crate::kv::broken("a lease without an ID was asked for"))?;
        let keys = match namespace {
            None => reply.keys,
            // A lease belongs to no namespace, and may have keys outside of this one.
            Some(namespace) => reply
                .keys
                .iter()
                .filter_map(|key| namespace.strip(key))
                .collect(),
        };
        Ok(TtlResponse {
            header: header(reply.header),
            id,
            ttl: (reply.ttl >= 0).then(|| seconds(reply.ttl)),
            granted_ttl: seconds(reply.granted_ttl),
            keys,
        })
    }
}
