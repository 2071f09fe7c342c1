//! The keys of a request: one key, or a range in one of its forms.

use std::fmt;

use bytes::Bytes;

use crate::key::{Key, KeyRange, Namespace};
use crate::kv::refuse;
use crate::transport::Failure;

/// The range options of a request. Without an option, the request is about one key; two options
/// that contradict each other are an error.
///
/// The key itself is in the message of the request, so that a request for one key can be sent
/// without a copy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    extent: Extent,
    conflict: bool,
}

#[derive(Clone, Default, PartialEq)]
enum Extent {
    #[default]
    Key,
    To(Bytes),
    Prefix,
    FromKey,
    All,
}

// INVARIANT: keys are never printed.
impl fmt::Debug for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => f.write_str("Key"),
            Self::To(end) => write!(f, "To({} bytes)", end.len()),
            Self::Prefix => f.write_str("Prefix"),
            Self::FromKey => f.write_str("FromKey"),
            Self::All => f.write_str("All"),
        }
    }
}

impl Selection {
    pub(crate) fn set_end(&mut self, end: Key) {
        self.set(Extent::To(end.into_bytes()));
    }

    pub(crate) fn set_prefix(&mut self) {
        self.set(Extent::Prefix);
    }

    pub(crate) fn set_from_key(&mut self) {
        self.set(Extent::FromKey);
    }

    pub(crate) fn set_all(&mut self) {
        self.set(Extent::All);
    }

    fn set(&mut self, extent: Extent) {
        self.conflict |= self.extent != Extent::Key && self.extent != extent;
        self.extent = extent;
    }

    pub(crate) fn is_single(&self) -> bool {
        self.extent == Extent::Key
    }

    /// Returns the range that begins with `key`, with the namespace applied.
    pub(crate) fn range(
        &self,
        key: &Bytes,
        namespace: Option<&Namespace>,
    ) -> Result<KeyRange, Failure> {
        if self.conflict {
            return Err(refuse(
                "range_end, prefix, from_key and all exclude each other: give one of them",
            ));
        }
        let range = match &self.extent {
            Extent::Key | Extent::To(_) if key.is_empty() => {
                return Err(refuse("the key is empty; etcd has no empty keys"));
            }
            Extent::To(end) if end.is_empty() => {
                return Err(refuse("range_end is empty; for one key, leave it out"));
            }
            Extent::Key => KeyRange::single(key.clone()),
            Extent::To(end) => KeyRange {
                start: key.clone(),
                end: end.clone(),
            },
            Extent::Prefix => KeyRange::prefix(key.clone()),
            Extent::FromKey => KeyRange::from_key(key.clone()),
            Extent::All => KeyRange::all(),
        };
        Ok(match namespace {
            Some(namespace) => namespace.range(&range),
            None => range,
        })
    }
}

/// Defines the range options of a request with a field `selection`.
macro_rules! range_options {
    ($request:ty) => {
        crate::call::options! { $request {
            /// Selects the keys from the given key up to `end`, exclusive.
            fn range_end(mut self, end: impl Into<crate::Key>) {
                self.selection.set_end(end.into());
            }

            /// Selects the keys that start with the given key. An empty key selects all keys.
            fn prefix(mut self) {
                self.selection.set_prefix();
            }

            /// Selects the keys that are greater than or equal to the given key.
            fn from_key(mut self) {
                self.selection.set_from_key();
            }

            /// Selects all keys, regardless of the given key.
            fn all_keys(mut self) {
                self.selection.set_all();
            }
        } }
    };
}
pub(crate) use range_options;
