//! The parts that replies share: the header, and key-value pairs.

use bytes::Bytes;
use etcdex_proto::{etcdserverpb, mvccpb};

use crate::debug::{byte_length, debug_fields};
use crate::error::Error;
use crate::key::Namespace;
use crate::kv::{LeaseId, broken};

/// The member that answered, and the revision of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ResponseHeader {
    /// ID of the cluster that answered.
    pub cluster_id: u64,
    /// ID of the member that answered.
    pub member_id: u64,
    /// Revision of the store when the request was applied. An empty store has revision 1.
    pub revision: i64,
    /// Raft term when the request was applied.
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

/// A key and its value, with their revisions and lease.
///
/// Key and value are slices of the reply's buffer, without a copy. A small slice keeps the whole
/// buffer alive (some 16 KiB, or all of a large reply). [Detach](KeyValue::detach) pairs that you
/// keep for long. `Debug` shows lengths, not bytes.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value; empty in a reply to a `keys_only` request.
    pub value: Bytes,
    /// Revision of the last creation of the key.
    pub create_revision: i64,
    /// Revision of the last change.
    pub mod_revision: i64,
    /// Number of writes since the creation of the key; 1 for a new key.
    pub version: i64,
    /// Lease to which the key is attached.
    pub lease: Option<LeaseId>,
}

impl KeyValue {
    /// Copies key and value into buffers of their own, so that they no longer keep the reply alive.
    ///
    /// ```
    /// # let mut kv = etcdex::KeyValue::default();
    /// kv.detach();
    /// ```
    pub fn detach(&mut self) {
        self.key = Bytes::copy_from_slice(&self.key);
        self.value = Bytes::copy_from_slice(&self.value);
    }

    /// Returns the value as text; `None` when it is not UTF-8.
    #[must_use]
    pub fn value_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.value).ok()
    }

    /// Returns the key as text; `None` when it is not UTF-8.
    #[must_use]
    pub fn key_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.key).ok()
    }
}

debug_fields! { KeyValue |kv| {
    key: byte_length(&kv.key), value: byte_length(&kv.value), create_revision: kv.create_revision,
    mod_revision: kv.mod_revision, version: kv.version, lease: kv.lease,
} }

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

    /// With the same size, `collect` converts the list in place, without an allocation.
    #[test]
    fn a_pair_is_as_large_as_on_the_wire() {
        assert_eq!(size_of::<KeyValue>(), size_of::<mvccpb::KeyValue>());
        let wire = vec![mvccpb::KeyValue::default(); 3];
        let place = wire.as_ptr().addr();
        let pairs = key_values(wire, None).unwrap_or_default();
        assert_eq!((pairs.len(), pairs.as_ptr().addr()), (3, place));
    }
}
