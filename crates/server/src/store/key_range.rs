//! PURE: one key, or the keys from one on.

use std::ops::Bound;

use bytes::Bytes;

/// A key or a range of keys, as etcd's requests name it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyRange {
    start: Bytes,
    end: End,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum End {
    /// Only the start itself.
    Single,
    /// The keys below this one.
    Below(Bytes),
    /// All keys.
    Open,
}

impl KeyRange {
    /// Returns the range of a request. An empty `range_end` names the key alone, one of a single NUL
    /// byte all keys from `key` on, and any other one the keys from `key` on that are below it.
    ///
    /// Source: etcd, `api/etcdserverpb/rpc.proto` (`RangeRequest.range_end`).
    #[must_use]
    pub fn new(key: Bytes, range_end: Bytes) -> Self {
        let end = match &range_end[..] {
            b"" => End::Single,
            b"\0" => End::Open,
            _ => End::Below(range_end),
        };
        Self { start: key, end }
    }

    /// Returns the range of one key.
    #[must_use]
    pub fn single(key: Bytes) -> Self {
        Self::new(key, Bytes::new())
    }

    /// Returns the first key of the range.
    pub(super) fn start(&self) -> &Bytes {
        &self.start
    }

    /// Returns the key, if the range is that of one key.
    pub(super) fn as_single(&self) -> Option<&Bytes> {
        (self.end == End::Single).then_some(&self.start)
    }

    /// Whether a key is in the range.
    pub(super) fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            End::Single => self.start == key,
            End::Below(end) => self.start <= key && key < &end[..],
            End::Open => self.start <= key,
        }
    }

    /// Whether no key can be in the range.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(&self.end, End::Below(end) if *end <= self.start)
    }

    /// Returns the upper end of the range.
    pub(super) fn upper(&self) -> Bound<&[u8]> {
        match &self.end {
            End::Single => Bound::Included(&self.start),
            End::Below(end) => Bound::Excluded(end),
            End::Open => Bound::Unbounded,
        }
    }
}

impl std::fmt::Debug for KeyRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.end {
            End::Single => "key",
            End::Below(_) => "range",
            End::Open => "from key",
        };
        write!(f, "KeyRange({kind})")
    }
}
