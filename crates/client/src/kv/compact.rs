//! The request that compacts the history of keys.

use etcdex_proto::etcdserverpb::{CompactionRequest, CompactionResponse};

use super::{ResponseHeader, header, plain_request, refuse};
use crate::call::options;

plain_request! {
    /// Discards the history of all keys before a revision. A namespace does not limit it.
    ///
    /// Reads at older revisions then fail with [`Compacted`](crate::ErrorKind::Compacted).
    ///
    /// Source: <https://etcd.io/docs/v3.6/op-guide/maintenance/#history-compaction-v3-api-key-value-database>.
    pub struct Compact(CompactionRequest): Compact, repeatable: false,
    long: |wire| wire.physical,
    check: |wire| {
        if wire.revision < 1 {
            return Err(refuse("the revision to compact at is below 1"));
        }
        Ok(())
    },
    |answer: CompactionResponse| -> CompactResponse {
        CompactResponse { header: header(answer.header) }
    }
}

impl Compact {
    /// Returns a request that discards the history before `revision`.
    pub fn new(revision: i64) -> Self {
        Self {
            wire: CompactionRequest {
                revision,
                physical: false,
            },
        }
    }
}

options! { Compact {
    /// Makes the server answer only when the space is free for reuse in the database. This can take
    /// minutes, so the client's default time-out does not apply.
    fn physical(mut self) {
        self.wire.physical = true;
    }
} }

/// The reply to a [`Compact`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct CompactResponse {
    /// Member and cluster that answered.
    pub header: ResponseHeader,
}
