//! Transactions: conditions, and operations that happen at one revision or not at all.
//!
//! [`Client::txn`](crate::Client::txn) starts a transaction. If all conditions (`when`) hold, the
//! server carries out the operations of `then`, otherwise those of `otherwise`:
//!
//! ```no_run
//! # async fn example(client: etcdex::Client) -> Result<(), etcdex::Error> {
//! use etcdex::{Compare, Get, Put};
//!
//! let taken = client
//!     .txn()
//!     .when(Compare::version("owner").equal(0))
//!     .then(Put::new("owner", "me"))
//!     .otherwise(Get::new("owner"))
//!     .await?;
//! if !taken.succeeded {
//!     let reply = taken.responses.into_iter().next().and_then(|one| one.into_get());
//!     let owner = reply.and_then(|get| get.into_kv());
//!     println!("owned by {:?}", owner.as_ref().and_then(|kv| kv.value_str()));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Two transactions have a method of their own:
//! [`Client::put_if_absent`](crate::Client::put_if_absent) creates a key, and
//! [`Client::swap`](crate::Client::swap) replaces a value that has not changed. Both return the
//! present pair when they change nothing:
//!
//! ```no_run
//! # async fn example(client: etcdex::Client) -> Result<(), etcdex::Error> {
//! use etcdex::txn::Swapped;
//!
//! let mut count: u64 = 0;
//! let mut revision = 0; // The key does not exist.
//! loop {
//!     let next = (count + 1).to_string();
//!     match client.swap("counter", next).if_mod(revision).await? {
//!         Swapped::Done(_) => break,
//!         Swapped::Conflict { present, .. } => {
//!             let kv = present.unwrap_or_default();
//!             count = kv.value_str().and_then(|text| text.parse().ok()).unwrap_or(0);
//!             revision = kv.mod_revision;
//!         }
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Txn`] and [`Compare`] are at the root of the crate, too.

mod compare;
mod deletion;
mod operation;
mod swap;

use bytes::Bytes;
use etcdex_proto::etcdserverpb::{
    RequestOp, ResponseOp, TxnRequest, TxnResponse as Reply, request_op, response_op,
};

pub use self::compare::{Compare, CompareOp, CompareTarget};
pub use self::operation::IntoOperation;
pub use self::swap::{PutIfAbsent, Swap, Swapped};
use crate::call::{Request, options};
use crate::error::Error;
use crate::key::Namespace;
use crate::kv::{
    Delete, DeleteResponse, Get, GetResponse, Put, PutResponse, ResponseHeader, broken, decode,
    header, refuse,
};
use crate::method::Method;
use crate::transport::{Failure, frame};

/// How deep transactions may be nested, the outermost one counted.
///
/// Servers take more. The reply to a deeper one could not be read: each transaction is two messages
/// inside another, the pairs of a read are three more, and prost decodes a hundred (its
/// `RECURSION_LIMIT`).
const DEEPEST: u32 = 49;

/// A transaction: conditions, and operations for each of the two results.
///
/// All operations of a branch happen at one revision, or none of them happens. A transaction can
/// put a key only once. By default, a server accepts 128 conditions, and 128 operations in each
/// branch (`--max-txn-ops`). Transactions can be nested 49 deep.
///
/// A transaction must not put a key that it deletes. Servers refuse that, but not for a deletion of all
/// keys from one on ([`Delete::from_key`], [`Delete::all_keys`]): they can lose the pair at the next
/// compaction, and end with a panic when it is read (seen on etcd 3.5.35, 3.6.16 and 3.7.3). The client
/// refuses such a transaction itself, with [`DuplicateKey`](crate::ErrorKind::DuplicateKey).
///
/// ```
/// use etcdex::{Compare, Get, Put, Txn};
///
/// let take = Txn::new()
///     .when(Compare::version("owner").equal(0))
///     .then(Put::new("owner", "me"))
///     .otherwise(Get::new("owner"));
/// # let _ = take;
/// ```
///
/// Source: <https://etcd.io/docs/v3.6/learning/api/#transaction>.
#[derive(Clone, Debug, Default)]
#[must_use = "a request does nothing until it is sent"]
pub struct Txn {
    compares: Vec<Compare>,
    then: Vec<Operation>,
    otherwise: Vec<Operation>,
    /// Number of transactions that are nested in one another below this one, at the deepest.
    ///
    /// INVARIANT: where it is over the limit, the operation that is too deep is not kept. So none
    /// of the functions that call themselves for nested transactions, `drop` among them, goes
    /// deeper than the limit.
    nested: u32,
}

impl Txn {
    /// Returns a transaction without conditions and operations.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps an operation for one of the branches, unless it is nested too deep.
    fn admit(&mut self, operation: impl IntoOperation) -> Option<Operation> {
        let operation = operation.into_operation();
        if let Operation::Txn(txn) = &operation {
            self.nested = self.nested.max(txn.nested.saturating_add(1));
        }
        (self.nested < DEEPEST).then_some(operation)
    }

    fn is_read_only(&self) -> bool {
        self.then
            .iter()
            .chain(&self.otherwise)
            .all(Operation::is_read_only)
    }

    /// Whether a member answers without asking its quorum: all operations are serializable reads.
    fn is_serializable(&self) -> bool {
        self.then
            .iter()
            .chain(&self.otherwise)
            .all(Operation::is_serializable)
    }

    fn message(&self, namespace: Option<&Namespace>) -> Result<TxnRequest, Failure> {
        if self.nested >= DEEPEST {
            let depth = self.nested.saturating_add(1);
            return Err(refuse(format!(
                "transactions are nested {depth} deep; the limit is {DEEPEST}"
            )));
        }
        let operations = |list: &[Operation]| -> Result<Vec<RequestOp>, Failure> {
            list.iter().map(|one| one.message(namespace)).collect()
        };
        let compares = self.compares.iter();
        let compares = compares.map(|compare| compare.message(namespace));
        Ok(TxnRequest {
            compare: compares.collect::<Result<_, _>>()?,
            success: operations(&self.then)?,
            failure: operations(&self.otherwise)?,
        })
    }
}

options! { Txn {
    /// Adds a condition. The operations of `then` are carried out if all conditions hold, and also
    /// if there is none.
    fn when(mut self, compare: Compare) {
        self.compares.push(compare);
    }

    /// Adds several conditions.
    fn when_all(mut self, compares: impl IntoIterator<Item = Compare>) {
        self.compares.extend(compares);
    }

    /// Adds an operation that is carried out if all conditions hold.
    fn then(mut self, operation: impl IntoOperation) {
        let operation = self.admit(operation);
        self.then.extend(operation);
    }

    /// Adds several operations that are carried out in their order if all conditions hold.
    fn then_all(mut self, operations: impl IntoIterator<Item = impl IntoOperation>) {
        for operation in operations {
            let operation = self.admit(operation);
            self.then.extend(operation);
        }
    }

    /// Adds an operation that is carried out if a condition does not hold.
    fn otherwise(mut self, operation: impl IntoOperation) {
        let operation = self.admit(operation);
        self.otherwise.extend(operation);
    }

    /// Adds several operations that are carried out in their order if a condition does not hold.
    fn otherwise_all(mut self, operations: impl IntoIterator<Item = impl IntoOperation>) {
        for operation in operations {
            let operation = self.admit(operation);
            self.otherwise.extend(operation);
        }
    }
} }

/// One operation of a transaction.
///
/// `From` and [`IntoOperation`] convert requests to operations. An operation is also a request of
/// its own: [`Client::run`](crate::Client::run) sends the request that the operation holds, with
/// its retries, and returns an [`OperationResponse`].
///
/// ```no_run
/// # async fn example(client: etcdex::Client) -> Result<(), etcdex::Error> {
/// use etcdex::txn::Operation;
/// use etcdex::{Delete, Put};
///
/// let planned: Vec<Operation> = vec![Put::new("a", "1").into(), Delete::new("b").into()];
/// for operation in planned {
///     client.run(operation).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Operation {
    /// Reads keys.
    Get(Get),
    /// Writes a key.
    Put(Put),
    /// Deletes keys.
    Delete(Delete),
    /// Carries out a nested transaction, with conditions of its own.
    Txn(Txn),
}

impl Operation {
    fn is_read_only(&self) -> bool {
        match self {
            Self::Get(_) => true,
            Self::Put(_) | Self::Delete(_) => false,
            Self::Txn(txn) => txn.is_read_only(),
        }
    }

    fn is_serializable(&self) -> bool {
        match self {
            Self::Get(get) => get.is_serializable(),
            Self::Put(_) | Self::Delete(_) => false,
            Self::Txn(txn) => txn.is_serializable(),
        }
    }

    fn message(&self, namespace: Option<&Namespace>) -> Result<RequestOp, Failure> {
        use request_op::Request as Op;
        let request = match self {
            Self::Get(get) => Op::RequestRange(get.message(namespace)?.into_owned()),
            Self::Put(put) => Op::RequestPut(put.message(namespace)?.into_owned()),
            Self::Delete(delete) => Op::RequestDeleteRange(delete.message(namespace)?),
            Self::Txn(txn) => Op::RequestTxn(txn.message(namespace)?),
        };
        Ok(RequestOp {
            request: Some(request),
        })
    }
}

/// The reply to a [`Txn`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TxnResponse {
    /// Member that answered. The revision is that of the transaction, if it changed a key.
    pub header: ResponseHeader,
    /// Whether all conditions held, so that the operations of `then` were carried out.
    pub succeeded: bool,
    /// Replies to the operations that were carried out, in their order.
    pub responses: Vec<OperationResponse>,
}

/// The reply to one [`Operation`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum OperationResponse {
    /// Reply to a read.
    Get(GetResponse),
    /// Reply to a write.
    Put(PutResponse),
    /// Reply to a delete.
    Delete(DeleteResponse),
    /// Reply to a nested transaction.
    Txn(TxnResponse),
}

impl OperationResponse {
    /// Returns the reply to a read; `None` for another operation.
    #[must_use]
    pub fn into_get(self) -> Option<GetResponse> {
        match self {
            Self::Get(get) => Some(get),
            _ => None,
        }
    }

    /// Returns the reply to a write; `None` for another operation.
    #[must_use]
    pub fn into_put(self) -> Option<PutResponse> {
        match self {
            Self::Put(put) => Some(put),
            _ => None,
        }
    }

    /// Returns the reply to a delete; `None` for another operation.
    #[must_use]
    pub fn into_delete(self) -> Option<DeleteResponse> {
        match self {
            Self::Delete(delete) => Some(delete),
            _ => None,
        }
    }

    /// Returns the reply to a nested transaction; `None` for another operation.
    #[must_use]
    pub fn into_txn(self) -> Option<TxnResponse> {
        match self {
            Self::Txn(txn) => Some(txn),
            _ => None,
        }
    }

    fn of(reply: ResponseOp, namespace: Option<&Namespace>) -> Result<Self, Error> {
        use response_op::Response as Op;
        Ok(match reply.response {
            Some(Op::ResponseRange(get)) => Self::Get(GetResponse::of(get, namespace)?),
            Some(Op::ResponsePut(put)) => Self::Put(PutResponse::of(put, namespace)?),
            Some(Op::ResponseDeleteRange(delete)) => {
                Self::Delete(DeleteResponse::of(delete, namespace)?)
            }
            Some(Op::ResponseTxn(txn)) => Self::Txn(TxnResponse::of(txn, namespace)?),
            None => return Err(broken("the reply to a transaction has an empty part")),
        })
    }
}

impl TxnResponse {
    fn of(reply: Reply, namespace: Option<&Namespace>) -> Result<Self, Error> {
        Ok(Self {
            header: header(reply.header),
            succeeded: reply.succeeded,
            responses: reply
                .responses
                .into_iter()
                .map(|one| OperationResponse::of(one, namespace))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl Request for Txn {
    type Reply = TxnResponse;

    fn method(&self) -> Method {
        Method::Txn
    }

    fn is_repeatable(&self) -> bool {
        self.is_read_only()
    }

    fn is_local(&self) -> bool {
        self.is_serializable()
    }

    fn encode(&self, namespace: Option<&Namespace>, limit: usize) -> Result<Bytes, Failure> {
        let message = self.message(namespace)?;
        deletion::check(&message)?;
        frame(&message, limit)
    }

    fn decode(&self, reply: Bytes, namespace: Option<&Namespace>) -> Result<TxnResponse, Error> {
        TxnResponse::of(decode(reply)?, namespace)
    }
}

#[cfg(test)]
mod tests;
