//! Writing a key only if it is as expected: small transactions that everybody needs.

use bytes::Bytes;

use super::{Compare, OperationResponse, Txn, TxnResponse};
use crate::call::wire::Wire;
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
    /// Puts `value` at `key`, unless there is one.
    pub fn new(key: impl Into<Key>, value: impl Into<Value>) -> Self {
        let mut swap = Swap::new(key, value);
        swap.conditions
            .push(Compare::create_revision(&swap.key).equal(0));
        Self { swap }
    }
}

options! { PutIfAbsent {
    /// Ties the key to a lease.
    fn lease(mut self, id: LeaseId) {
        self.swap = self.swap.lease(id);
    }
} }

/// Replaces the value of a key that is as expected.
///
/// At least one condition has to be given; several have to hold together.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct Swap {
    key: Key,
    put: Put,
    conditions: Vec<Compare>,
}

impl Swap {
    /// Puts `value` at `key` on the conditions that follow.
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
    /// Only if the key was last changed at this revision; 0: only if it does not exist.
    fn if_mod(mut self, revision: i64) {
        self.conditions.push(Compare::mod_revision(&self.key).equal(revision));
    }

    /// Only if the key has this value.
    fn if_value(mut self, value: impl Into<Value>) {
        self.conditions.push(Compare::value(&self.key).equal(value));
    }

    /// Ties the key to a lease.
    fn lease(mut self, id: LeaseId) {
        self.put = self.put.lease(id);
    }
} }

/// What became of a [`Swap`] or a [`PutIfAbsent`].
#[derive(Clone, Debug)]
pub enum Swapped {
    /// The value is in place; the header has its revision.
    Done(ResponseHeader),
    /// The key was not as expected, and nothing was changed.
    Conflict {
        /// Who answered.
        header: ResponseHeader,
        /// The pair as it is now; `None` when the key does not exist.
        present: Option<KeyValue>,
    },
}

impl Swapped {
    /// Whether the value is in place.
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
}

impl Request for Swap {
    type Reply = Swapped;
}

#[allow(private_interfaces)]
impl Wire for PutIfAbsent {
    type Answer = Swapped;

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

#[allow(private_interfaces)]
impl Wire for Swap {
    type Answer = Swapped;

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
