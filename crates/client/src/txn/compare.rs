//! The conditions of a transaction.

use std::fmt;

use etcdex_proto::etcdserverpb::Compare as Message;
use etcdex_proto::etcdserverpb::compare::{CompareResult, CompareTarget as Target, TargetUnion};

use crate::key::{Key, Namespace, Value};
use crate::kv::{LeaseId, Selection};
use crate::transport::Failure;

/// A condition of a [`Txn`](crate::Txn).
///
/// With a range option, the condition must hold for every key in the range. A key that does not
/// exist has version, revisions and lease 0; no comparison with its value holds, not even
/// `not_equal`.
#[derive(Clone)]
#[must_use = "a condition does nothing by itself"]
pub struct Compare {
    selection: Selection,
    wire: Message,
}

/// The field of a key that a condition compares. Its methods return the [`Compare`].
#[derive(Clone)]
#[must_use = "call `equal`, `greater` or another comparison"]
pub struct CompareTarget<T> {
    key: Key,
    target: Target,
    wrap: fn(T) -> TargetUnion,
}

/// The operator of a condition, for programs that choose it at run time with
/// [`CompareTarget::compare`].
///
/// Source: `Compare.CompareResult` in etcd's `rpc.proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
// Exhaustive: etcd's API has these four and has not gained one since version 3.0.
pub enum CompareOp {
    /// The key's field is equal to the given value.
    Equal,
    /// The key's field is greater than the given value.
    Greater,
    /// The key's field is less than the given value.
    Less,
    /// The key's field differs from the given value.
    NotEqual,
}

impl Compare {
    /// Compares the version of a key; 0 when the key does not exist.
    pub fn version(key: impl Into<Key>) -> CompareTarget<i64> {
        CompareTarget::new(key, Target::Version, TargetUnion::Version)
    }

    /// Compares the revision at which a key was created; 0 when the key does not exist.
    pub fn create_revision(key: impl Into<Key>) -> CompareTarget<i64> {
        CompareTarget::new(key, Target::Create, TargetUnion::CreateRevision)
    }

    /// Compares the revision of a key's last change; 0 when the key does not exist.
    pub fn mod_revision(key: impl Into<Key>) -> CompareTarget<i64> {
        CompareTarget::new(key, Target::Mod, TargetUnion::ModRevision)
    }

    /// Compares the value of a key, byte by byte.
    pub fn value(key: impl Into<Key>) -> CompareTarget<Value> {
        CompareTarget::new(key, Target::Value, |value: Value| {
            TargetUnion::Value(value.into_bytes())
        })
    }

    /// Compares the lease of a key; `None::<LeaseId>` when the key has no lease.
    pub fn lease(key: impl Into<Key>) -> CompareTarget<Option<LeaseId>> {
        CompareTarget::new(key, Target::Lease, |lease: Option<LeaseId>| {
            TargetUnion::Lease(lease.map_or(0, LeaseId::as_i64))
        })
    }

    /// Selects the keys from the given key up to `end`, exclusive.
    pub fn range_end(mut self, end: impl Into<Key>) -> Self {
        self.selection.set_end(end.into());
        self
    }

    /// Selects the keys that start with the given key.
    pub fn prefix(mut self) -> Self {
        self.selection.set_prefix();
        self
    }

    /// Selects the keys that are greater than or equal to the given key.
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

    /// Returns a condition that holds if the key's field is equal to `other`.
    pub fn equal(self, other: impl Into<T>) -> Compare {
        self.compare(CompareOp::Equal, other)
    }

    /// Returns a condition that holds if the key's field differs from `other`.
    pub fn not_equal(self, other: impl Into<T>) -> Compare {
        self.compare(CompareOp::NotEqual, other)
    }

    /// Returns a condition that holds if the key's field is greater than `other`.
    pub fn greater(self, other: impl Into<T>) -> Compare {
        self.compare(CompareOp::Greater, other)
    }

    /// Returns a condition that holds if the key's field is less than `other`.
    pub fn less(self, other: impl Into<T>) -> Compare {
        self.compare(CompareOp::Less, other)
    }

    /// Returns a condition with an operator that the program chooses at run time.
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
