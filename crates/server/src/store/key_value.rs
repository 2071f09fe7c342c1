//! PURE: one version of a key.

use bytes::Bytes;

/// The place of a change in the history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// The revision of the store.
    pub main: i64,
    /// The number of the change among those of the same revision, from 0 on.
    pub sub: u32,
}

/// A key with the value that it has from one revision on.
///
/// The deletion of a key is a version, too: a tombstone, which has only the key and the revision.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value; empty for a tombstone.
    pub value: Bytes,
    /// The revision at which the key was created, after its last deletion; 0 for a tombstone.
    pub create_revision: i64,
    /// The place of this change in the history.
    pub revision: Revision,
    /// The number of puts since the key was created; 0 for a tombstone.
    pub version: i64,
    /// The lease that the key is attached to; 0 for none.
    pub lease: i64,
}

impl KeyValue {
    /// Makes the version that a deletion leaves.
    pub(super) fn tombstone(key: Bytes, revision: Revision) -> Self {
        Self {
            key,
            value: Bytes::new(),
            create_revision: 0,
            revision,
            version: 0,
            lease: 0,
        }
    }

    /// Whether this version is a deletion.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        self.version == 0
    }

    /// Returns the bytes of the key and the value.
    pub(super) fn bytes(&self) -> usize {
        self.key.len() + self.value.len()
    }
}

impl std::fmt::Debug for KeyValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys and values are the user's: only their lengths are shown.
        f.debug_struct("KeyValue")
            .field("key", &format_args!("{} bytes", self.key.len()))
            .field("value", &format_args!("{} bytes", self.value.len()))
            .field("create_revision", &self.create_revision)
            .field("revision", &self.revision)
            .field("version", &self.version)
            .field("lease", &self.lease)
            .finish()
    }
}
