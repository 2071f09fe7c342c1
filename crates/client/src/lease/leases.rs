//! All leases.

use bytes::Bytes;
use etcdex_proto::etcdserverpb::{LeaseLeasesRequest, LeaseLeasesResponse};

use crate::call::Request;
use crate::error::Error;
use crate::key::Namespace;
use crate::kv::{LeaseId, ResponseHeader, decode, header};
use crate::method::Method;
use crate::transport::{Failure, frame};

/// Asks for all leases of the cluster, whatever the namespace.
///
/// Source: <https://etcd.io/docs/v3.6/dev-guide/api_reference_v3/> (`LeaseLeases`).
#[derive(Clone, Debug, Default)]
#[must_use = "a request does nothing until it is sent"]
pub struct Leases {}

impl Leases {
    /// Asks for all leases.
    pub fn new() -> Self {
        Self {}
    }
}

/// The reply to a [`Leases`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LeasesResponse {
    /// Who answered.
    pub header: ResponseHeader,
    /// The leases. The cluster's leader puts the one that expires first in front; other members
    /// do not renew leases and list them in no useful order.
    pub leases: Vec<LeaseId>,
}

impl Request for Leases {
    type Reply = LeasesResponse;

    fn method(&self) -> Method {
        Method::LeaseLeases
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    fn encode(&self, _: Option<&Namespace>, limit: usize) -> Result<Bytes, Failure> {
        frame(&LeaseLeasesRequest {}, limit)
    }

    fn decode(&self, reply: Bytes, _: Option<&Namespace>) -> Result<LeasesResponse, Error> {
        let reply: LeaseLeasesResponse = decode(reply)?;
        Ok(LeasesResponse {
            header: header(reply.header),
            leases: reply
                .leases
                .iter()
                .filter_map(|lease| LeaseId::new(lease.id))
                .collect(),
        })
    }
}
