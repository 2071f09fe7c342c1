//! PURE: transactions.

mod overlap;

use std::cmp::Ordering;
use std::ops::Bound;

use bytes::Bytes;

use super::Store;
use super::alarms;
use super::error::StoreError;
use super::key_range::KeyRange;
use super::key_value::KeyValue;
use super::range::{self, RangeQuery, RangeReply};
use super::write::{Delete, DeleteReply, Put, PutReply, Write};

/// A transaction: if all compares hold, the operations of `success` are carried out, or else those of
/// `failure`. All changes have one revision.
#[derive(Clone, Debug, Default)]
pub struct Txn {
    /// The conditions.
    pub compares: Vec<Compare>,
    /// The operations if all conditions hold.
    pub success: Vec<Operation>,
    /// The operations if one condition does not hold.
    pub failure: Vec<Operation>,
}

/// An operation of a transaction.
#[derive(Clone, Debug)]
pub enum Operation {
    /// A read. It sees the operations before it.
    Range(RangeQuery),
    /// A put.
    Put(Put),
    /// A deletion.
    Delete(Delete),
    /// A transaction inside the transaction. Its conditions see the store before the outer one.
    Txn(Txn),
}

/// A condition. For a range of keys, it has to hold for each of them.
#[derive(Clone, Debug)]
pub struct Compare {
    /// The keys.
    pub range: KeyRange,
    /// The property, and the value that it is compared with.
    pub target: CompareTarget,
    /// The result that the comparison has to have.
    pub result: CompareResult,
}

/// A property of a key, and the value that it is compared with. Of a key that does not exist, each
/// number is 0, and no comparison of the value holds.
#[derive(Clone, PartialEq, Eq)]
pub enum CompareTarget {
    /// The number of puts since the key was created.
    Version(i64),
    /// The revision at which the key was created.
    Create(i64),
    /// The revision of the last put.
    Mod(i64),
    /// The value.
    Value(Bytes),
    /// The lease.
    Lease(i64),
}

/// The result that a comparison has to have: the property, compared with the given value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareResult {
    /// It is equal.
    Equal,
    /// It is larger.
    Greater,
    /// It is smaller.
    Less,
    /// It is not equal.
    NotEqual,
    /// The condition holds in any case: etcd's reading of a result that it does not know. Still, it does
    /// not hold for the value of a key that does not exist.
    Any,
}

/// The reply to a [`Txn`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnReply {
    /// The revision of the store after the transaction. 0 for a transaction inside another one.
    pub revision: i64,
    /// Whether all conditions held.
    pub succeeded: bool,
    /// The replies to the operations that were carried out, in their order.
    pub replies: Vec<OperationReply>,
}

/// The reply to an [`Operation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperationReply {
    /// To a read.
    Range(RangeReply),
    /// To a put.
    Put(PutReply),
    /// To a deletion.
    Delete(DeleteReply),
    /// To a transaction inside the transaction.
    Txn(TxnReply),
}

/// The branch that a transaction takes, and those of the transactions in that branch.
struct Path {
    succeeded: bool,
    /// One for each transaction among the operations of the branch, in their order.
    inner: Vec<Path>,
}

impl Compare {
    fn holds(&self, store: &Store) -> bool {
        if let Some(key) = self.range.as_single() {
            return self.holds_for(store.index.latest(key));
        }
        let from = Bound::Included(&self.range.start()[..]);
        let keys = store.index.scan(&self.range, from, i64::MAX);
        let mut pairs = keys.filter_map(|(_, pair)| pair).peekable();
        if pairs.peek().is_none() {
            return self.holds_for(None);
        }
        pairs.all(|pair| self.holds_for(Some(pair)))
    }

    fn holds_for(&self, pair: Option<&KeyValue>) -> bool {
        let number =
            |property: fn(&KeyValue) -> i64, given: i64| pair.map_or(0, property).cmp(&given);
        let ordering = match &self.target {
            CompareTarget::Version(given) => number(KeyValue::version, *given),
            CompareTarget::Create(given) => number(KeyValue::create_revision, *given),
            CompareTarget::Mod(given) => number(|pair| pair.revision().main, *given),
            CompareTarget::Lease(given) => number(KeyValue::lease, *given),
            CompareTarget::Value(given) => match pair {
                Some(pair) => pair.value().cmp(given),
                None => return false,
            },
        };
        match self.result {
            CompareResult::Equal => ordering == Ordering::Equal,
            CompareResult::Greater => ordering == Ordering::Greater,
            CompareResult::Less => ordering == Ordering::Less,
            CompareResult::NotEqual => ordering != Ordering::Equal,
            CompareResult::Any => true,
        }
    }
}

impl std::fmt::Debug for CompareTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Version(given) => write!(f, "Version({given})"),
            Self::Create(given) => write!(f, "Create({given})"),
            Self::Mod(given) => write!(f, "Mod({given})"),
            Self::Lease(given) => write!(f, "Lease({given})"),
            Self::Value(given) => write!(f, "Value({} bytes)", given.len()),
        }
    }
}

impl Txn {
    fn branch(&self, succeeded: bool) -> &[Operation] {
        if succeeded {
            &self.success
        } else {
            &self.failure
        }
    }

    /// Whether both branches have only reads. etcd takes a transaction inside for a write.
    pub(crate) fn is_read_only(&self) -> bool {
        let mut operations = self.success.iter().chain(&self.failure);
        operations.all(|operation| matches!(operation, Operation::Range(_)))
    }

    /// Refuses what no store would accept. `most`: number of operations that are left.
    ///
    /// Source: etcd, `server/etcdserver/api/v3rpc/key.go` (`checkTxnRequest`).
    fn validate(&self, most: usize) -> Result<(), StoreError> {
        let counts = [&self.success, &self.failure].map(Vec::len);
        let count = counts.into_iter().fold(self.compares.len(), usize::max);
        let left = most
            .checked_sub(count)
            .ok_or(StoreError::TooManyOperations)?;
        if self.compares.iter().any(|one| one.range.start().is_empty()) {
            return Err(StoreError::EmptyKey);
        }
        for operation in self.success.iter().chain(&self.failure) {
            match operation {
                Operation::Range(query) if query.range.start().is_empty() => {
                    return Err(StoreError::EmptyKey);
                }
                Operation::Delete(delete) => delete.validate()?,
                Operation::Range(_) => {}
                Operation::Put(put) => put.validate()?,
                Operation::Txn(inner) => inner.validate(left)?,
            }
        }
        Ok(())
    }

    /// Chooses the branches, all by the state before the transaction.
    fn path(&self, store: &Store) -> Path {
        let succeeded = self.compares.iter().all(|compare| compare.holds(store));
        let operations = self.branch(succeeded).iter();
        let inner = operations.filter_map(|operation| match operation {
            Operation::Txn(inner) => Some(inner.path(store)),
            _ => None,
        });
        Path {
            succeeded,
            inner: inner.collect(),
        }
    }

    /// Checks the operations of the chosen branches against the state before the transaction, so that
    /// none of them fails.
    fn check(&self, path: &Path, store: &Store) -> Result<(), StoreError> {
        let mut inner = path.inner.iter();
        for operation in self.branch(path.succeeded) {
            match operation {
                Operation::Range(query) => store.check_range(query)?,
                Operation::Put(put) => store.check_put(put)?,
                Operation::Delete(_) => {}
                Operation::Txn(txn) => {
                    if let Some(path) = inner.next() {
                        txn.check(path, store)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn execute(&self, path: &Path, write: &mut Write<'_>) -> Result<TxnReply, StoreError> {
        let mut inner = path.inner.iter();
        let mut replies = Vec::new();
        for operation in self.branch(path.succeeded) {
            replies.push(match operation {
                Operation::Range(query) => {
                    let (current, compacted) = (write.revision(), write.store.compacted());
                    let index = &write.store.index;
                    let reply = range::range(index, query.clone(), current, compacted)?;
                    OperationReply::Range(reply)
                }
                Operation::Put(put) => OperationReply::Put(write.put(put)),
                Operation::Delete(delete) => OperationReply::Delete(write.delete(delete)),
                Operation::Txn(txn) => match inner.next() {
                    Some(path) => OperationReply::Txn(txn.execute(path, write)?),
                    None => continue,
                },
            });
        }
        Ok(TxnReply {
            revision: 0,
            succeeded: path.succeeded,
            replies,
        })
    }
}

impl Store {
    /// Carries out a transaction, as a whole or not at all.
    ///
    /// # Errors
    /// [`StoreError::TooManyOperations`], [`StoreError::DuplicateKey`], and those of its operations, the
    /// ones of alarms and the quota included. In
    /// the branches that are not taken, only errors that do not depend on the state count. Nothing was
    /// changed then.
    pub fn txn(&mut self, txn: &Txn) -> Result<TxnReply, StoreError> {
        let cost = alarms::cost_of_txn(txn);
        self.check_quota(cost)?;
        self.validate_txn(txn)?;
        if !txn.is_read_only() {
            self.check_alarms(cost)?;
        }
        let path = txn.path(self);
        txn.check(&path, self)?;
        let mut write = Write::new(self);
        let mut reply = txn.execute(&path, &mut write)?;
        reply.revision = write.revision();
        Ok(reply)
    }

    /// Refuses a transaction that no store would accept.
    pub(crate) fn validate_txn(&self, txn: &Txn) -> Result<(), StoreError> {
        txn.validate(self.limits.txn_operations)?;
        overlap::check(&txn.success)?;
        overlap::check(&txn.failure)
    }

    /// Checks the revision of a read inside a transaction. Unlike a read of its own, it may not have
    /// one below -1.
    ///
    /// Source: etcd, `server/etcdserver/txn/range.go` (`checkRange`).
    fn check_range(&self, query: &RangeQuery) -> Result<(), StoreError> {
        match query.revision {
            0 => Ok(()),
            revision if revision > self.revision => Err(StoreError::FutureRevision),
            revision if revision < self.compacted() => Err(StoreError::Compacted),
            _ => Ok(()),
        }
    }
}
