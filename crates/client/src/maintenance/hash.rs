//! The requests for hashes, by which members can be compared.

use etcdex_proto::etcdserverpb as pb;

use crate::kv::{ResponseHeader, header, plain_request, refuse};

plain_request! {
    /// Hashes the whole database of a member, including data other than keys.
    ///
    /// The request is meant for etcd's own tests: members of the same version have the same hash while
    /// they are idle. Use [`HashKv`] for a cluster that serves clients.
    pub struct Hash(pb::HashRequest, empty): Hash, repeatable: true,
    |answer: pb::HashResponse| -> HashResponse {
        HashResponse { header: header(answer.header), hash: answer.hash }
    }
}

/// The reply to a [`struct@Hash`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct HashResponse {
    /// Member that answered, whose database was hashed.
    pub header: ResponseHeader,
    /// Hash (CRC-32, Castagnoli).
    pub hash: u32,
}

plain_request! {
    /// Hashes the keys of a member, with their history up to a revision.
    ///
    /// Members with the same data return the same hash for the same revision and the same
    /// `compact_revision`. A compacted revision fails with
    /// [`Compacted`](crate::ErrorKind::Compacted), a future revision with
    /// [`FutureRevision`](crate::ErrorKind::FutureRevision).
    ///
    /// Source: <https://etcd.io/docs/v3.6/op-guide/data_corruption/>.
    pub struct HashKv(pb::HashKvRequest): HashKv, repeatable: true,
    check: |wire| {
        if wire.revision < 0 {
            return Err(refuse("a revision is negative"));
        }
        Ok(())
    },
    |answer: pb::HashKvResponse| -> HashKvResponse {
        HashKvResponse {
            header: header(answer.header),
            hash: answer.hash,
            compact_revision: answer.compact_revision,
            hash_revision: Some(answer.hash_revision).filter(|revision| *revision != 0),
        }
    }
}

impl HashKv {
    /// Returns a request that hashes up to `revision`. 0 means the member's latest revision.
    pub fn new(revision: i64) -> Self {
        Self {
            wire: pb::HashKvRequest { revision },
        }
    }
}

/// The reply to a [`HashKv`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct HashKvResponse {
    /// Member that answered, whose keys were hashed.
    pub header: ResponseHeader,
    /// Hash (CRC-32, Castagnoli).
    pub hash: u32,
    /// Revision of the last compaction; -1 if there was none since the member started.
    pub compact_revision: i64,
    /// Revision up to which the keys were hashed; `None` before etcd 3.6.
    pub hash_revision: Option<i64>,
}
