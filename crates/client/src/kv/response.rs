//! What is the same in all replies: the header, and key-value pairs.

use std::fmt;

use bytes::Bytes;
use etcdex_proto::{etcdserverpb, mvccpb};

use crate::error::Error;
use crate::key::Namespace;
use crate::kv::{LeaseId, broken};

/// Who answered, and at which revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ResponseHeader {
    /// The cluster that answered.
    pub cluster_id: u64,
    /// The member that answered.
    pub member_id: u64,
    /// The store's revision when the request was applied; an empty store has 1.
    pub revision: i64,
    /// The term of raft when the request was applied.
    pub raft_term: u64,
}

pub(crate) fn header(header: Option<etcdserverpb::ResponseHeader>) -> ResponseHeader {
    let header = header.unwrap_or_default();
    ResponseHeader {
        cluster_id: header.cluster_id,
        member_id: header.member_id,
        revision: header.revision,
        raft_term: header.raft_term,
    }
}

/// A key and its value, with what the store knows of them.
///
/// Key and value are slices of the reply's buffer, without a copy. A small slice keeps all of
/// its buffer alive (some 16 KiB, or the whole of a large reply): what is kept for long is
/// better [detached](KeyValue::detach). `Debug` shows lengths, not bytes.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value; empty in a reply to a request for keys only.
    pub value: Bytes,
    /// The revision at which the key was created (again).
    pub create_revision: i64,
    /// The revision of the last change.
    pub mod_revision: i64,
    /// How often the key was written since it was created; 1 for a new key.
    pub version: i64,
    /// The lease that the key goes with, if any.
    pub lease: Option<LeaseId>,
}

impl KeyValue {
    /// Copies key and value into buffers of their own size.
    ///
    /// ```
    /// # let mut kv = etcdex::KeyValue::default();
    /// kv.detach();
    /// ```
    pub fn detach(&mut self) {
        self.key = Bytes::copy_from_slice(&self.key);
        self.value = Bytes::copy_from_slice(&self.value);
    }

    /// The value as text, if it is UTF-8.
    #[must_use]
    pub fn value_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.value).ok()
    }

    /// The key as text, if it is UTF-8.
    #[must_use]
    pub fn key_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.key).ok()
    }
}

impl fmt::Debug for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyValue")
            .field("key", &format_args!("{} bytes", self.key.len()))
            .field("value", &format_args!("{} bytes", self.value.len()))
            .field("create_revision", &self.create_revision)
            .field("mod_revision", &self.mod_revision)
            .field("version", &self.version)
            .field("lease", &self.lease)
            .finish()
    }
}

pub(crate) fn key_value(
    kv: mvccpb::KeyValue,
    namespace: Option<&Namespace>,
) -> Result<KeyValue, Error> {
    let key = match namespace {
        None => kv.key,
        Some(namespace) => namespace
            .strip(&kv.key)
            .ok_or_else(|| broken("the reply holds a key from outside of the namespace"))?,
    };
    Ok(KeyValue {
        key,
        value: kv.value,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: LeaseId::new(kv.lease),
    })
}

pub(crate) fn key_values(
    kvs: Vec<mvccpb::KeyValue>,
    namespace: Option<&Namespace>,
) -> Result<Vec<KeyValue>, Error> {
    kvs.into_iter().map(|kv| key_value(kv, namespace)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the same size, a list from the wire becomes a list for the user without a copy.
    #[test]
    fn a_pair_is_as_large_as_on_the_wire() {
        assert_eq!(size_of::<KeyValue>(), size_of::<mvccpb::KeyValue>());
        let wire = vec![mvccpb::KeyValue::default(); 3];
        let place = wire.as_ptr().addr();
        let pairs = key_values(wire, None).unwrap_or_default();
        assert_eq!((pairs.len(), pairs.as_ptr().addr()), (3, place));
    }
}
