//! Hashes, by which members can be compared.

use etcdex_proto::etcdserverpb as pb;

use crate::kv::{ResponseHeader, header, plain_request, refuse};
use crate::transport::Failure;

/// Hashes a member's whole database, what is no key included.
///
/// It is for etcd's own tests: members of one version that are at rest have the same hash. For
/// a cluster at work there is [`HashKv`].
#[derive(Clone, Debug, Default)]
#[must_use = "a request does nothing until it is sent"]
pub struct Hash {
    wire: pb::HashRequest,
}

impl Hash {
    /// Hashes it.
    pub fn new() -> Self {
        Self::default()
    }
}

/// The reply to a [`struct@Hash`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct HashResponse {
    /// Who answered: the member whose database it is.
    pub header: ResponseHeader,
    /// The hash (CRC-32, Castagnoli).
    pub hash: u32,
}

plain_request! {
    Hash: Hash, repeatable: true,
    |answer: pb::HashResponse| -> HashResponse {
        HashResponse { header: header(answer.header), hash: answer.hash }
    }
}

/// Hashes a member's keys with their history, up to a revision.
///
/// Members that agree have the same hash for the same revision and the same `compact_revision`.
/// A revision that was compacted away fails with [`Compacted`](crate::ErrorKind::Compacted), a
/// future one with [`FutureRevision`](crate::ErrorKind::FutureRevision).
///
/// Source: <https://etcd.io/docs/v3.6/op-guide/data_corruption/>.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct HashKv {
    wire: pb::HashKvRequest,
}

impl HashKv {
    /// Hashes up to `revision`; 0 is the member's latest.
    pub fn new(revision: i64) -> Self {
        Self {
            wire: pb::HashKvRequest { revision },
        }
    }

    fn check(&self) -> Result<(), Failure> {
        if self.wire.revision < 0 {
            return Err(refuse("a revision is negative"));
        }
        Ok(())
    }
}

/// The reply to a [`HashKv`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct HashKvResponse {
    /// Who answered: the member whose keys they are.
    pub header: ResponseHeader,
    /// The hash (CRC-32, Castagnoli).
    pub hash: u32,
    /// The revision at which the member's history begins, as of the last compaction; -1 when
    /// there was none since the member started.
    pub compact_revision: i64,
    /// The revision up to which keys were hashed; told by etcd 3.6 and later.
    pub hash_revision: Option<i64>,
}

plain_request! {
    HashKv: HashKv, repeatable: true, check: Self::check,
    |answer: pb::HashKvResponse| -> HashKvResponse {
        HashKvResponse {
            header: header(answer.header),
            hash: answer.hash,
            compact_revision: answer.compact_revision,
            hash_revision: Some(answer.hash_revision).filter(|revision| *revision != 0),
        }
    }
}
