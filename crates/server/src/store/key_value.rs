//! PURE: one version of a key.

use std::fmt;
use std::sync::Arc;

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
/// The deletion of a key is a version, too: a tombstone, which has only the key and the revision. A
/// clone shares the bytes.
// One allocation for each version, with the numbers in front of the key and the value: a store of small
// pairs is mostly overhead. The numbers are little-endian, at the places below.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyValue(Arc<[u8]>);

/// The numbers of a version.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Numbers {
    pub(super) create_revision: i64,
    pub(super) revision: Revision,
    pub(super) version: i64,
    pub(super) lease: i64,
}

const CREATE_REVISION: usize = 0;
const MAIN: usize = 8;
const VERSION: usize = 16;
const LEASE: usize = 24;
const SUB: usize = 32;
const KEY_LENGTH: usize = 36;
const KEY: usize = 40;

impl KeyValue {
    pub(super) fn new(key: &[u8], value: &[u8], numbers: Numbers) -> Self {
        let Numbers {
            create_revision,
            revision,
            version,
            lease,
        } = numbers;
        // INVARIANT: a key is smaller than 4 GiB, because messages are.
        let key_length = u32::try_from(key.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(KEY + key.len() + value.len());
        for number in [create_revision, revision.main, version, lease] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for number in [revision.sub, key_length] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
        Self(bytes.into())
    }

    /// Makes the version that a deletion leaves.
    pub(super) fn tombstone(key: &[u8], revision: Revision) -> Self {
        let numbers = Numbers {
            revision,
            ..Numbers::default()
        };
        Self::new(key, b"", numbers)
    }

    fn number<const N: usize>(&self, place: usize) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.0[place..place + N]);
        bytes
    }

    fn key_length(&self) -> usize {
        u32::from_le_bytes(self.number(KEY_LENGTH)) as usize
    }

    /// Returns the key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.0[KEY..KEY + self.key_length()]
    }

    /// Returns the value; it is empty for a tombstone.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.0[KEY + self.key_length()..]
    }

    /// Returns the revision at which the key was created, after its last deletion; 0 for a tombstone.
    #[must_use]
    pub fn create_revision(&self) -> i64 {
        i64::from_le_bytes(self.number(CREATE_REVISION))
    }

    /// Returns the place of this change in the history.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision {
            main: i64::from_le_bytes(self.number(MAIN)),
            sub: u32::from_le_bytes(self.number(SUB)),
        }
    }

    /// Returns the number of puts since the key was created; 0 for a tombstone.
    #[must_use]
    pub fn version(&self) -> i64 {
        i64::from_le_bytes(self.number(VERSION))
    }

    /// Returns the lease that the key is attached to; 0 for none.
    #[must_use]
    pub fn lease(&self) -> i64 {
        i64::from_le_bytes(self.number(LEASE))
    }

    /// Whether this version is a deletion.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        self.version() == 0
    }

    /// Returns the bytes of the key and the value.
    pub(super) fn bytes(&self) -> usize {
        self.0.len() - KEY
    }

    /// Returns the version without its value, and without its lease unless `has_lease`.
    pub(super) fn without_value(&self, has_lease: bool) -> Self {
        let numbers = Numbers {
            create_revision: self.create_revision(),
            revision: self.revision(),
            version: self.version(),
            lease: if has_lease { self.lease() } else { 0 },
        };
        Self::new(self.key(), b"", numbers)
    }
}

impl fmt::Debug for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys and values are the user's: only their lengths are shown.
        f.debug_struct("KeyValue")
            .field("key", &format_args!("{} bytes", self.key().len()))
            .field("value", &format_args!("{} bytes", self.value().len()))
            .field("create_revision", &self.create_revision())
            .field("revision", &self.revision())
            .field("version", &self.version())
            .field("lease", &self.lease())
            .finish()
    }
}
