//! The request that lists all leases.

use etcdex_proto::etcdserverpb::{LeaseLeasesRequest, LeaseLeasesResponse};

use crate::kv::{LeaseId, ResponseHeader, header, plain_request};

plain_request! {
    /// Lists all leases of the cluster, those of other namespaces too.
    ///
    /// Source: <https://etcd.io/docs/v3.6/dev-guide/api_reference_v3/> (`LeaseLeases`).
    pub struct Leases(LeaseLeasesRequest, empty): LeaseLeases, repeatable: true,
    |answer: LeaseLeasesResponse| -> LeasesResponse {
        let leases = answer.leases.iter();
        LeasesResponse {
            header: header(answer.header),
            leases: leases.filter_map(|lease| LeaseId::new(lease.id)).collect(),
        }
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
