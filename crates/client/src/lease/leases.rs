//! The request that lists all leases.

use bytes::Bytes;
use etcdex_proto::etcdserverpb::{LeaseLeasesRequest, LeaseLeasesResponse};

use crate::call::Request;
use crate::error::Error;
use crate::key::Namespace;
use crate::kv::{LeaseId, ResponseHeader, decode, header};
use crate::method::Method;
use crate::transport::{Failure, frame};

/// Lists all leases of the cluster, those of other namespaces too.
///
/// Source: <https://etcd.io/docs/v3.6/dev-guide/api_reference_v3/> (`LeaseLeases`).
#[derive(Clone, Debug, Default)]
#[must_use = "a request does nothing until it is sent"]
pub struct Leases {}

impl Leases {
    /// Returns a request for all leases.
    pub fn new() -> Self {
        Self {}
    }
}

/// The reply to a [`Leases`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LeasesResponse {
    /// The member that answered, and the revision of its store.
    pub header: ResponseHeader,
    /// The IDs of the leases. The cluster's leader puts the lease that expires first in front;
    /// other members do not renew leases, and list them in no useful order.
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
