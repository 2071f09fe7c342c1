//! Conditional writes of one key: the transactions that most programs need.

use bytes::Bytes;

use super::{Compare, OperationResponse, Txn, TxnResponse};
use crate::call::{Request, options};
use crate::error::Error;
use crate::key::{Key, Namespace, Value};
use crate::kv::{Get, KeyValue, LeaseId, Put, ResponseHeader, broken, refuse};
use crate::method::Method;
use crate::transport::Failure;

/// Puts a value at a key that does not exist yet.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct PutIfAbsent {
    swap: Swap,
}

impl PutIfAbsent {
    /// Returns a request that puts `value` at `key` if the key does not exist.
    pub fn new(key: impl Into<Key>, value: impl Into<Value>) -> Self {
        let mut swap = Swap::new(key, value);
        swap.conditions
            .push(Compare::create_revision(&swap.key).equal(0));
        Self { swap }
    }
}

options! { PutIfAbsent {
    /// Attaches the key to a lease.
    fn lease(mut self, id: LeaseId) {
        self.swap = self.swap.lease(id);
    }
} }

/// Replaces the value of a key if the key has the expected revision or value.
///
/// At least one condition is required. If several are given, all must hold.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct Swap {
    key: Key,
    put: Put,
    conditions: Vec<Compare>,
}

impl Swap {
    /// Returns a request that puts `value` at `key`. Add a condition with
    /// [`if_mod`](Self::if_mod) or [`if_value`](Self::if_value).
    pub fn new(key: impl Into<Key>, value: impl Into<Value>) -> Self {
        let key = key.into();
        Self {
            put: Put::new(&key, value),
            key,
            conditions: Vec::new(),
        }
    }

    fn txn(&self) -> Result<Txn, Failure> {
        if self.conditions.is_empty() {
            return Err(refuse(
                "a swap without a condition: give if_mod or if_value, or use put",
            ));
        }
        let get = Get::new(&self.key);
        let txn = Txn::new().then(self.put.clone()).otherwise(get);
        Ok(self.conditions.iter().cloned().fold(txn, Txn::when))
    }
}

options! { Swap {
    /// Requires that the key was last changed at `revision`; 0 requires that the key does not
    /// exist.
    fn if_mod(mut self, revision: i64) {
        self.conditions.push(Compare::mod_revision(&self.key).equal(revision));
    }

    /// Requires that the key has this value.
    fn if_value(mut self, value: impl Into<Value>) {
        self.conditions.push(Compare::value(&self.key).equal(value));
    }

    /// Attaches the key to a lease.
    fn lease(mut self, id: LeaseId) {
        self.put = self.put.lease(id);
    }
} }

/// The reply to a [`Swap`] or a [`PutIfAbsent`].
#[derive(Clone, Debug)]
// Exhaustive: the conditions hold or do not. Programs that fake a client make both variants.
pub enum Swapped {
    /// The value was put; the revision of the header is that of the put.
    Done(ResponseHeader),
    /// A condition did not hold, and nothing was changed.
    Conflict {
        /// Member that answered.
        header: ResponseHeader,
        /// Present pair; `None` when the key does not exist.
        present: Option<KeyValue>,
    },
}

impl Swapped {
    /// Returns whether the value was put.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }

    fn of(reply: TxnResponse) -> Result<Self, Error> {
        if reply.succeeded {
            return Ok(Self::Done(reply.header));
        }
        let first = reply.responses.into_iter().next();
        let get = first
            .and_then(OperationResponse::into_get)
            .ok_or_else(|| broken("the reply to a failed condition lacks the present pair"))?;
        Ok(Self::Conflict {
            header: reply.header,
            present: get.into_kv(),
        })
    }
}

impl Request for PutIfAbsent {
    type Reply = Swapped;

    fn method(&self) -> Method {
        Method::Txn
    }

    fn is_repeatable(&self) -> bool {
        false
    }

    fn encode(&self, namespace: Option<&Namespace>, limit: usize) -> Result<Bytes, Failure> {
        self.swap.encode(namespace, limit)
    }

    fn decode(&self, reply: Bytes, namespace: Option<&Namespace>) -> Result<Swapped, Error> {
        self.swap.decode(reply, namespace)
    }
}

impl Request for Swap {
    type Reply = Swapped;

    fn method(&self) -> Method {
        Method::Txn
    }

    fn is_repeatable(&self) -> bool {
        false
    }

    fn encode(&self, namespace: Option<&Namespace>, limit: usize) -> Result<Bytes, Failure> {
        self.txn()?.encode(namespace, limit)
    }

    fn decode(&self, reply: Bytes, namespace: Option<&Namespace>) -> Result<Swapped, Error> {
        Swapped::of(Txn::new().decode(reply, namespace)?)
    }
}
