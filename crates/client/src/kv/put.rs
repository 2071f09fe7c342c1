//! The request that writes one key.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use etcdex_proto::etcdserverpb::{PutRequest, PutResponse as Reply};

use super::{KeyValue, LeaseId, ResponseHeader, decode, header, key_value, refuse};
use crate::call::{Request, options};
use crate::error::Error;
use crate::key::{Key, Namespace, Value};
use crate::method::Method;
use crate::transport::{Failure, frame};

/// Puts a value at a key.
///
/// Source: <https://etcd.io/docs/v3.6/learning/api/#put>.
#[derive(Clone)]
#[must_use = "a request does nothing until it is sent"]
pub struct Put {
    wire: PutRequest,
}

impl Put {
    /// Returns a request that puts `value` at `key`, without a lease.
    pub fn new(key: impl Into<Key>, value: impl Into<Value>) -> Self {
        Self {
            wire: PutRequest {
                key: key.into().into_bytes(),
                value: value.into().into_bytes(),
                ..PutRequest::default()
            },
        }
    }

    /// Returns the message with the namespace applied, or an error for options that contradict
    /// each other.
    pub(crate) fn message(
        &self,
        namespace: Option<&Namespace>,
    ) -> Result<Cow<'_, PutRequest>, Failure> {
        self.check()?;
        Ok(match namespace {
            None => Cow::Borrowed(&self.wire),
            Some(namespace) => {
                let mut wire = self.wire.clone();
                wire.key = namespace.key(&wire.key);
                Cow::Owned(wire)
            }
        })
    }

    fn check(&self) -> Result<(), Failure> {
        let wire = &self.wire;
        if wire.key.is_empty() {
            return Err(refuse("the key is empty; etcd has no empty keys"));
        }
        if wire.ignore_value && !wire.value.is_empty() {
            return Err(refuse(
                "ignore_value keeps the present value, but a value is given: give an empty one",
            ));
        }
        if wire.ignore_lease && wire.lease != 0 {
            return Err(refuse(
                "ignore_lease keeps the present lease, but a lease is given",
            ));
        }
        Ok(())
    }
}

options! { Put {
    /// Attaches the key to a lease: the server deletes the key when the lease ends. A put without
    /// this option detaches the key from its lease.
    fn lease(mut self, id: LeaseId) {
        self.wire.lease = id.as_i64();
    }

    /// Asks the server to return the pair as it was before.
    fn prev_kv(mut self) {
        self.wire.prev_kv = true;
    }

    /// Keeps the present value. The given value must be empty, and the key must exist.
    fn ignore_value(mut self) {
        self.wire.ignore_value = true;
    }

    /// Keeps the present lease. The key must exist.
    fn ignore_lease(mut self) {
        self.wire.ignore_lease = true;
    }
} }

impl fmt::Debug for Put {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.wire, f)
    }
}

/// The reply to a [`Put`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PutResponse {
    /// Member that answered. The revision is that of the put.
    pub header: ResponseHeader,
    /// Pair before the put, with the option [`prev_kv`](Put::prev_kv); `None` for a new key.
    pub prev_kv: Option<KeyValue>,
}

impl PutResponse {
    pub(crate) fn of(reply: Reply, namespace: Option<&Namespace>) -> Result<Self, Error> {
        Ok(Self {
            header: header(reply.header),
            prev_kv: reply
                .prev_kv
                .map(|kv| key_value(kv, namespace))
                .transpose()?,
        })
    }
}

impl Request for Put {
    type Reply = PutResponse;

    fn method(&self) -> Method {
        Method::Put
    }

    fn is_repeatable(&self) -> bool {
        false
    }

    fn encode(&self, namespace: Option<&Namespace>, limit: usize) -> Result<Bytes, Failure> {
        frame(&*self.message(namespace)?, limit)
    }

    fn decode(&self, reply: Bytes, namespace: Option<&Namespace>) -> Result<PutResponse, Error> {
        PutResponse::of(decode(reply)?, namespace)
    }
}
