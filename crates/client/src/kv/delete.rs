//! The request that deletes a key or a range.

use bytes::Bytes;
use etcdex_proto::etcdserverpb::{DeleteRangeRequest, DeleteRangeResponse};

use super::{
    KeyValue, ResponseHeader, Selection, count, decode, header, key_values, range_options,
};
use crate::call::{Request, options};
use crate::debug::debug_fields;
use crate::error::Error;
use crate::key::{Key, Namespace};
use crate::method::Method;
use crate::transport::{Failure, frame};

/// Deletes a key or a range of keys.
///
/// Deleting a key that does not exist is not an error: `deleted` in the reply is 0, and the
/// store's revision stays the same.
///
/// Source: <https://etcd.io/docs/v3.6/learning/api/#delete-range>.
#[derive(Clone)]
#[must_use = "a request does nothing until it is sent"]
pub struct Delete {
    selection: Selection,
    wire: DeleteRangeRequest,
}

impl Delete {
    /// Returns a request that deletes one key. Options such as [`prefix`](Self::prefix) extend it
    /// to a range.
    pub fn new(key: impl Into<Key>) -> Self {
        Self {
            selection: Selection::default(),
            wire: DeleteRangeRequest {
                key: key.into().into_bytes(),
                ..DeleteRangeRequest::default()
            },
        }
    }

    /// Returns the message with the namespace applied, or an error for options that contradict
    /// each other.
    pub(crate) fn message(
        &self,
        namespace: Option<&Namespace>,
    ) -> Result<DeleteRangeRequest, Failure> {
        let range = self.selection.range(&self.wire.key, namespace)?;
        Ok(DeleteRangeRequest {
            key: range.start,
            range_end: range.end,
            prev_kv: self.wire.prev_kv,
        })
    }
}

range_options! { Delete }

options! { Delete {
    /// Asks the server to return the deleted pairs.
    fn prev_kv(mut self) {
        self.wire.prev_kv = true;
    }
} }

debug_fields! { Delete |delete| {
    single: delete.selection.is_single(), prev_kv: delete.wire.prev_kv, ..
} }

/// The reply to a [`Delete`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DeleteResponse {
    /// Member that answered. The revision is that of the delete, if it deleted a key.
    pub header: ResponseHeader,
    /// Number of deleted keys.
    pub deleted: u64,
    /// Deleted pairs, with the option [`prev_kv`](Delete::prev_kv); otherwise empty.
    pub prev_kvs: Vec<KeyValue>,
}

impl DeleteResponse {
    pub(crate) fn of(
        reply: DeleteRangeResponse,
        namespace: Option<&Namespace>,
    ) -> Result<Self, Error> {
        Ok(Self {
            header: header(reply.header),
            deleted: count(reply.deleted),
            prev_kvs: key_values(reply.prev_kvs, namespace)?,
        })
    }
}

impl Request for Delete {
    type Reply = DeleteResponse;

    fn method(&self) -> Method {
        Method::DeleteRange
    }

    fn is_repeatable(&self) -> bool {
        false
    }

    fn encode(&self, namespace: Option<&Namespace>, limit: usize) -> Result<Bytes, Failure> {
        frame(&self.message(namespace)?, limit)
    }

    fn decode(&self, reply: Bytes, namespace: Option<&Namespace>) -> Result<DeleteResponse, Error> {
        DeleteResponse::of(decode(reply)?, namespace)
    }
}
