//! The conditions of a transaction.

use std::fmt;

use etcdex_proto::etcdserverpb::Compare as Message;
use etcdex_proto::etcdserverpb::compare::{CompareResult, CompareTarget as Target, TargetUnion};

use crate::key::{Key, Namespace, Value};
use crate::kv::{LeaseId, Selection};
use crate::transport::Failure;

/// A condition of a [`Txn`](crate::Txn).
///
/// With an option that makes a range of the key, it has to hold for every key in the range.
/// A key that does not exist has version, revisions and lease 0, and no comparison of its
/// value holds, not even `not_equal`.
#[derive(Clone)]
#[must_use = "a condition does nothing by itself"]
pub struct Compare {
    selection: Selection,
    wire: Message,
}

/// What a condition is about; one of its methods makes the [`Compare`].
#[derive(Clone)]
#[must_use = "say what it is compared with"]
pub struct CompareTarget<T> {
    key: Key,
    target: Target,
    wrap: fn(T) -> TargetUnion,
}

/// How a condition compares, where the program chooses it at run time: for
/// [`CompareTarget::compare`].
///
/// Source: `Compare.CompareResult` in etcd's `rpc.proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
// Exhaustive: etcd's API has these four and has not gained one since version 3.0.
pub enum CompareOp {
    /// Both are the same.
    Equal,
    /// The key's is greater than the given one.
    Greater,
    /// The key's is less than the given one.
    Less,
    /// Both differ.
    NotEqual,
}

impl Compare {
    /// The version of a key; 0 when it does not exist.
    pub fn version(key: impl Into<Key>) -> CompareTarget<i64> {
        CompareTarget::new(key, Target::Version, TargetUnion::Version)
    }

    /// The revision at which a key was created; 0 when it does not exist.
    pub fn create_revision(key: impl Into<Key>) -> CompareTarget<i64> {
        CompareTarget::new(key, Target::Create, TargetUnion::CreateRevision)
    }

    /// The revision of a key's last change; 0 when it does not exist.
    pub fn mod_revision(key: impl Into<Key>) -> CompareTarget<i64> {
        CompareTarget::new(key, Target::Mod, TargetUnion::ModRevision)
    }

    /// The value of a key, compared byte by byte.
    pub fn value(key: impl Into<Key>) -> CompareTarget<Value> {
        CompareTarget::new(key, Target::Value, |value: Value| {
            TargetUnion::Value(value.into_bytes())
        })
    }

    /// The lease of a key; `None::<LeaseId>` when it has none.
    pub fn lease(key: impl Into<Key>) -> CompareTarget<Option<LeaseId>> {
        CompareTarget::new(key, Target::Lease, |lease: Option<LeaseId>| {
            TargetUnion::Lease(lease.map_or(0, LeaseId::as_i64))
        })
    }

    /// Holds for all keys from the given one up to this one, which is not included.
    pub fn range_end(mut self, end: impl Into<Key>) -> Self {
        self.selection.set_end(end.into());
        self
    }

    /// Holds for all keys that start with the given one.
    pub fn prefix(mut self) -> Self {
        self.selection.set_prefix();
        self
    }

    /// Holds for all keys from the given one on.
    pub fn from_key(mut self) -> Self {
        self.selection.set_from_key();
        self
    }

    pub(crate) fn message(&self, namespace: Option<&Namespace>) -> Result<Message, Failure> {
        let range = self.selection.range(&self.wire.key, namespace)?;
        let mut wire = self.wire.clone();
        wire.key = range.start;
        wire.range_end = range.end;
        Ok(wire)
    }
}

impl<T> CompareTarget<T> {
    fn new(key: impl Into<Key>, target: Target, wrap: fn(T) -> TargetUnion) -> Self {
        Self {
            key: key.into(),
            target,
            wrap,
        }
    }

    /// Holds if both are the same.
    pub fn equal(self, other: impl Into<T>) -> Compare {
        self.compare(CompareOp::Equal, other)
    }

    /// Holds if they differ.
    pub fn not_equal(self, other: impl Into<T>) -> Compare {
        self.compare(CompareOp::NotEqual, other)
    }

    /// Holds if the key's is greater.
    pub fn greater(self, other: impl Into<T>) -> Compare {
        self.compare(CompareOp::Greater, other)
    }

    /// Holds if the key's is less.
    pub fn less(self, other: impl Into<T>) -> Compare {
        self.compare(CompareOp::Less, other)
    }

    /// Compares with an operator that the program chooses at run time.
    ///
    /// ```
    /// use etcdex::txn::CompareOp;
    /// use etcdex::Compare;
    ///
    /// let op = CompareOp::Less;
    /// let condition = Compare::version("job").compare(op, 3);
    /// # let _ = condition;
    /// ```
    pub fn compare(self, op: CompareOp, other: impl Into<T>) -> Compare {
        let result = match op {
            CompareOp::Equal => CompareResult::Equal,
            CompareOp::Greater => CompareResult::Greater,
            CompareOp::Less => CompareResult::Less,
            CompareOp::NotEqual => CompareResult::NotEqual,
        };
        Compare {
            selection: Selection::default(),
            wire: Message {
                result: result as i32,
                target: self.target as i32,
                key: self.key.into_bytes(),
                range_end: bytes::Bytes::new(),
                target_union: Some((self.wrap)(other.into())),
            },
        }
    }
}

impl fmt::Debug for Compare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.wire, f)
    }
}

impl<T> fmt::Debug for CompareTarget<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompareTarget")
            .field("key", &self.key)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}
