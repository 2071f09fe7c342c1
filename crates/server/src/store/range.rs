//! PURE: reads of a key or a range of keys.
//!
//! A scan visits all keys of the range, because the reply counts them, but keeps no more pairs than
//! the reply needs. It may be done in steps: all of them read at the revision of the first one.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::Store;
use super::compaction::Pin;
use super::error::StoreError;
use super::index::Index;
use super::key_range::KeyRange;
use super::key_value::KeyValue;

/// The property by which the pairs of a reply are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortTarget {
    /// The key.
    #[default]
    Key,
    /// The number of puts since the key was created.
    Version,
    /// The revision at which the key was created.
    Create,
    /// The revision of the last put.
    Mod,
    /// The value.
    Value,
}

/// The order of the pairs of a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// Not stated. It is ascending, but the limit is applied in the order of keys.
    #[default]
    None,
    /// Smallest first.
    Ascend,
    /// Largest first.
    Descend,
}

/// A read.
#[derive(Clone, Debug)]
pub struct RangeQuery {
    /// The keys.
    pub range: KeyRange,
    /// The revision to read at; 0 or less for the present.
    pub revision: i64,
    /// The most pairs of the reply; 0 or less for all.
    pub limit: i64,
    /// The property by which the pairs are sorted.
    pub sort_target: SortTarget,
    /// The order of the pairs.
    pub sort_order: SortOrder,
    /// Whether the pairs have no values. They have no leases either, unless they are sorted by value.
    pub keys_only: bool,
    /// Whether the reply has no pairs, only their number.
    pub count_only: bool,
    /// Leaves out pairs that were put at an earlier revision, if it is not 0.
    pub min_mod_revision: i64,
    /// Leaves out pairs that were put at a later revision, if it is not 0.
    pub max_mod_revision: i64,
    /// Leaves out keys that were created at an earlier revision, if it is not 0.
    pub min_create_revision: i64,
    /// Leaves out keys that were created at a later revision, if it is not 0.
    pub max_create_revision: i64,
}

/// The reply to a [`RangeQuery`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeReply {
    /// The revision of the store.
    pub revision: i64,
    /// The revision that was read.
    pub at: i64,
    /// The pairs.
    pub kvs: Vec<KeyValue>,
    /// Whether there are more pairs than the limit.
    pub more: bool,
    /// Number of keys in the range, whatever the limit and the filters.
    pub count: i64,
}

/// A read in progress.
#[derive(Debug)]
pub struct RangeScan {
    query: RangeQuery,
    /// The revision that is read.
    at: i64,
    reply: RangeReply,
    /// The last key that was visited.
    last: Option<Bytes>,
    is_done: bool,
    /// Keeps the versions of the revision from being swept.
    _pin: Option<Arc<Pin>>,
}

impl RangeQuery {
    /// Returns the read of all pairs of a range at present.
    #[must_use]
    pub fn new(range: KeyRange) -> Self {
        Self {
            range,
            revision: 0,
            limit: 0,
            sort_target: SortTarget::Key,
            sort_order: SortOrder::None,
            keys_only: false,
            count_only: false,
            min_mod_revision: 0,
            max_mod_revision: 0,
            min_create_revision: 0,
            max_create_revision: 0,
        }
    }

    /// Whether the pairs stay in the order of keys, as they are found.
    fn is_in_key_order(&self) -> bool {
        let by_key = self.sort_target == SortTarget::Key && self.sort_order == SortOrder::Ascend;
        self.sort_order == SortOrder::None || by_key
    }

    fn has_filters(&self) -> bool {
        let filters = [
            self.min_mod_revision,
            self.max_mod_revision,
            self.min_create_revision,
            self.max_create_revision,
        ];
        filters.iter().any(|revision| *revision != 0)
    }

    /// Returns how many pairs the scan has to keep.
    ///
    /// With a sort target and no order, etcd applies the limit before it sorts. Source: etcd,
    /// `server/etcdserver/txn/range.go` (`rangeLimit`).
    fn kept(&self) -> usize {
        if self.count_only {
            return 0;
        }
        if self.limit <= 0 || !self.is_in_key_order() || self.has_filters() {
            return usize::MAX;
        }
        usize::try_from(self.limit).map_or(usize::MAX, |limit| limit.saturating_add(1))
    }

    fn is_wanted(&self, pair: &KeyValue) -> bool {
        let within = |revision: i64, min: i64, max: i64| {
            (min == 0 || revision >= min) && (max == 0 || revision <= max)
        };
        within(
            pair.revision().main,
            self.min_mod_revision,
            self.max_mod_revision,
        ) && within(
            pair.create_revision(),
            self.min_create_revision,
            self.max_create_revision,
        )
    }

    fn compare(&self, one: &KeyValue, other: &KeyValue) -> Ordering {
        let ascending = match self.sort_target {
            SortTarget::Key => one.key().cmp(other.key()),
            SortTarget::Version => one.version().cmp(&other.version()),
            SortTarget::Create => one.create_revision().cmp(&other.create_revision()),
            SortTarget::Mod => one.revision().main.cmp(&other.revision().main),
            SortTarget::Value => one.value().cmp(other.value()),
        };
        match self.sort_order {
            SortOrder::None | SortOrder::Ascend => ascending,
            SortOrder::Descend => ascending.reverse(),
        }
    }
}

impl RangeScan {
    /// Begins a read at a revision of a store that is at `current`.
    pub(super) fn new(query: RangeQuery, current: i64, compacted: i64) -> Result<Self, StoreError> {
        if query.revision > current {
            return Err(StoreError::FutureRevision);
        }
        let at = match query.revision {
            revision if revision <= 0 => current,
            revision => revision,
        };
        if at < compacted {
            return Err(StoreError::Compacted);
        }
        let reply = RangeReply {
            revision: current,
            at,
            ..RangeReply::default()
        };
        Ok(Self {
            is_done: query.range.is_empty(),
            query,
            at,
            reply,
            last: None,
            _pin: None,
        })
    }

    /// Visits up to `most` keys. Returns whether the scan is done.
    pub(super) fn step(&mut self, index: &Index, most: usize) -> bool {
        if self.is_done {
            return true;
        }
        let range = self.query.range.clone();
        if let Some(key) = range.as_single() {
            if let Some(pair) = index.at(key, self.at) {
                self.visit(pair);
            }
            self.is_done = true;
            return true;
        }
        let last = self.last.take();
        let from = match &last {
            Some(last) => Bound::Excluded(&last[..]),
            None => Bound::Included(&range.start()[..]),
        };
        let mut keys = index.scan(&range, from, self.at);
        for _ in 0..most {
            let Some((key, pair)) = keys.next() else {
                self.is_done = true;
                return true;
            };
            if let Some(pair) = pair {
                self.visit(pair);
            }
            self.last = Some(Bytes::copy_from_slice(key));
        }
        false
    }

    fn visit(&mut self, pair: &KeyValue) {
        self.reply.count += 1;
        if self.reply.kvs.len() < self.query.kept() && self.query.is_wanted(pair) {
            self.reply.kvs.push(pair.clone());
        }
    }

    /// Returns the reply of a scan that is done.
    #[must_use]
    pub fn finish(self) -> RangeReply {
        let Self {
            query, mut reply, ..
        } = self;
        if !(query.sort_target == SortTarget::Key && query.is_in_key_order()) {
            reply.kvs.sort_by(|one, other| query.compare(one, other));
        }
        if let Ok(limit @ 1..) = usize::try_from(query.limit) {
            reply.more = reply.kvs.len() > limit;
            reply.kvs.truncate(limit);
        }
        if query.keys_only {
            // etcd reads such pairs from its index, which has no leases, unless it sorts by values.
            let has_lease = query.sort_target == SortTarget::Value;
            for pair in &mut reply.kvs {
                *pair = pair.without_value(has_lease);
            }
        }
        reply
    }
}

/// Reads at once.
pub(super) fn range(
    index: &Index,
    query: RangeQuery,
    current: i64,
    compacted: i64,
) -> Result<RangeReply, StoreError> {
    let mut scan = RangeScan::new(query, current, compacted)?;
    while !scan.step(index, usize::MAX) {}
    Ok(scan.finish())
}

impl Store {
    /// Reads a key or a range at once. A large range takes long: use
    /// [`begin_range`](Self::begin_range) where others wait for the store.
    ///
    /// # Errors
    /// [`StoreError::FutureRevision`], [`StoreError::Compacted`].
    pub fn range(&self, query: RangeQuery) -> Result<RangeReply, StoreError> {
        range(&self.index, query, self.revision, self.compacted())
    }

    /// Begins a read in steps.
    ///
    /// # Errors
    /// [`StoreError::FutureRevision`], [`StoreError::Compacted`].
    pub fn begin_range(&mut self, query: RangeQuery) -> Result<RangeScan, StoreError> {
        let mut scan = RangeScan::new(query, self.revision, self.compacted())?;
        scan._pin = Some(self.compaction.pin(scan.at));
        Ok(scan)
    }

    /// Visits up to `most` keys of the range. Returns whether the scan is done:
    /// [`finish`](RangeScan::finish) returns the reply then.
    pub fn continue_range(&self, scan: &mut RangeScan, most: usize) -> bool {
        scan.step(&self.index, most)
    }
}
