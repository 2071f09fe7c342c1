//! The request that compacts the history of keys.

use bytes::Bytes;
use etcdex_proto::etcdserverpb::{CompactionRequest, CompactionResponse};

use super::{ResponseHeader, decode, header, refuse};
use crate::call::{Request, options};
use crate::error::Error;
use crate::key::Namespace;
use crate::method::Method;
use crate::transport::{Failure, frame};

/// Discards the history of all keys before a revision. A namespace does not limit it.
///
/// Reads at older revisions then fail with [`Compacted`](crate::ErrorKind::Compacted).
///
/// Source: <https://etcd.io/docs/v3.6/op-guide/maintenance/#history-compaction-v3-api-key-value-database>.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct Compact {
    wire: CompactionRequest,
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

impl Request for Compact {
    type Reply = CompactResponse;

    fn method(&self) -> Method {
        Method::Compact
    }

    fn is_repeatable(&self) -> bool {
        false
    }

    fn is_long(&self) -> bool {
        self.wire.physical
    }

    fn encode(&self, _: Option<&Namespace>, limit: usize) -> Result<Bytes, Failure> {
        if self.wire.revision < 1 {
            return Err(refuse("the revision to compact at is below 1"));
        }
        frame(&self.wire, limit)
    }

    fn decode(&self, reply: Bytes, _: Option<&Namespace>) -> Result<CompactResponse, Error> {
        let reply: CompactionResponse = decode(reply)?;
        Ok(CompactResponse {
            header: header(reply.header),
        })
    }
}
