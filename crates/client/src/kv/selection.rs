//! Which keys a request is about: one, or a range in one of its forms.

use std::fmt;

use bytes::Bytes;

use crate::key::{Key, KeyRange, Namespace};
use crate::kv::refuse;
use crate::transport::Failure;

/// One key, until an option says otherwise. Two options that say different things are refused.
///
/// The key itself stays in the request's message, where a call that needs nothing else finds it.
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

    /// The range on the wire that begins with `key`.
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

/// The options that make a range of a request's key; the request has a field `selection`.
macro_rules! range_options {
    ($request:ty) => {
        crate::call::options! { $request {
            /// All keys from the given one up to this one, which is not included.
            fn range_end(mut self, end: impl Into<crate::Key>) {
                self.selection.set_end(end.into());
            }

            /// All keys that start with the given one; with an empty one, all keys.
            fn prefix(mut self) {
                self.selection.set_prefix();
            }

            /// All keys from the given one on.
            fn from_key(mut self) {
                self.selection.set_from_key();
            }

            /// All keys, whatever was given.
            fn all_keys(mut self) {
                self.selection.set_all();
            }
        } }
    };
}
pub(crate) use range_options;
