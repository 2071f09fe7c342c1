//! Keys, values and ranges of keys, of which only the lengths are printed.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

/// The smallest key. As the end of a range, it means "no end".
///
/// Source: <https://etcd.io/docs/v3.6/learning/api/#key-value-api> (Key ranges).
pub(crate) const ZERO: Bytes = Bytes::from_static(b"\0");

macro_rules! bytes_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Bytes);

        impl $name {
            /// Wraps static bytes, without a copy.
            #[must_use]
            pub const fn from_static(bytes: &'static [u8]) -> Self {
                Self(Bytes::from_static(bytes))
            }

            /// Returns the bytes, without a copy.
            #[must_use]
            pub fn into_bytes(self) -> Bytes {
                self.0
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        // INVARIANT: neither keys nor values are ever printed, only their lengths.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({} bytes)"), self.0.len())
            }
        }

        impl From<Bytes> for $name {
            fn from(bytes: Bytes) -> Self {
                Self(bytes)
            }
        }
        impl From<Vec<u8>> for $name {
            fn from(bytes: Vec<u8>) -> Self {
                Self(bytes.into())
            }
        }
        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }
        impl From<&String> for $name {
            fn from(text: &String) -> Self {
                Self(Bytes::copy_from_slice(text.as_bytes()))
            }
        }
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Bytes::copy_from_slice(text.as_bytes()))
            }
        }
        impl From<&Bytes> for $name {
            fn from(bytes: &Bytes) -> Self {
                Self(bytes.clone())
            }
        }
        impl From<&Vec<u8>> for $name {
            fn from(bytes: &Vec<u8>) -> Self {
                Self(Bytes::copy_from_slice(bytes))
            }
        }
        impl From<Box<[u8]>> for $name {
            fn from(bytes: Box<[u8]>) -> Self {
                Self(bytes.into())
            }
        }
        impl From<Box<str>> for $name {
            fn from(text: Box<str>) -> Self {
                Self(String::from(text).into())
            }
        }
        impl From<Arc<str>> for $name {
            fn from(text: Arc<str>) -> Self {
                Self(Bytes::copy_from_slice(text.as_bytes()))
            }
        }
        impl From<&Arc<str>> for $name {
            fn from(text: &Arc<str>) -> Self {
                Self(Bytes::copy_from_slice(text.as_bytes()))
            }
        }
        impl From<Cow<'_, str>> for $name {
            fn from(text: Cow<'_, str>) -> Self {
                match text {
                    Cow::Borrowed(text) => text.into(),
                    Cow::Owned(text) => text.into(),
                }
            }
        }
        impl From<Cow<'_, [u8]>> for $name {
            fn from(bytes: Cow<'_, [u8]>) -> Self {
                match bytes {
                    Cow::Borrowed(bytes) => bytes.into(),
                    Cow::Owned(bytes) => bytes.into(),
                }
            }
        }
        impl From<&[u8]> for $name {
            fn from(bytes: &[u8]) -> Self {
                Self(Bytes::copy_from_slice(bytes))
            }
        }
        impl<const N: usize> From<[u8; N]> for $name {
            fn from(bytes: [u8; N]) -> Self {
                Self(Bytes::copy_from_slice(&bytes))
            }
        }
        impl<const N: usize> From<&[u8; N]> for $name {
            fn from(bytes: &[u8; N]) -> Self {
                Self(Bytes::copy_from_slice(bytes))
            }
        }
        impl From<&$name> for $name {
            fn from(other: &$name) -> Self {
                other.clone()
            }
        }
    };
}

bytes_newtype! {
    /// A key: any bytes, at least one.
    ///
    /// `From` converts text (`&str`, `String`, `Box<str>`, `Arc<str>`, `Cow<str>`), bytes
    /// (slices, arrays, `Vec<u8>`, `Box<[u8]>`, `Cow<[u8]>`) and [`Bytes`]. Owned bytes and text,
    /// [`Bytes`] and [`Key::from_static`] are taken without a copy; borrowed ones and `Arc<str>`
    /// are copied. `Debug` shows only the length.
    Key
}

impl Key {
    /// Returns the end of the range of all keys that start with this one, for `range_end`.
    ///
    /// The end is the first key after that range. If there is none (the prefix is empty or has
    /// only bytes of 0xFF), the end is `"\0"`, which means "no end" to etcd.
    ///
    /// ```
    /// use etcdex::Key;
    ///
    /// assert_eq!(Key::from("jobs/").prefix_end(), Key::from("jobs0"));
    /// assert_eq!(Key::from([b'a', 0xFF]).prefix_end(), Key::from("b"));
    /// assert_eq!(Key::from([0xFF]).prefix_end(), Key::from("\0"));
    /// ```
    ///
    /// Source: <https://etcd.io/docs/v3.6/learning/api/#key-ranges>.
    #[must_use]
    pub fn prefix_end(&self) -> Self {
        Self(prefix_end(&self.0))
    }
}

bytes_newtype! {
    /// A value: any bytes, or none.
    ///
    /// `From` converts the same types as for a [`Key`]. `Debug` shows only the length.
    Value
}

#[cfg(feature = "serde")]
impl Value {
    /// Returns `value` as JSON text.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) when the value cannot be written as JSON,
    /// such as a map with keys that are not strings.
    pub fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<Self, crate::Error> {
        match serde_json::to_vec(value) {
            Ok(text) => Ok(Self::from(text)),
            Err(cause) => Err(crate::Error::new(
                crate::ErrorKind::Decode,
                "the value cannot be written as JSON",
            )
            .with_source(cause)),
        }
    }
}

/// A range of keys, in etcd's own form.
///
/// `end` is empty for the single key `start`, `\0` for no end, and otherwise the first key after
/// the range.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct KeyRange {
    pub(crate) start: Bytes,
    pub(crate) end: Bytes,
}

impl fmt::Debug for KeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, end) = (self.start.len(), self.end.len());
        write!(f, "KeyRange({start} bytes, {end} bytes)")
    }
}

impl KeyRange {
    pub(crate) fn single(key: Bytes) -> Self {
        Self {
            start: key,
            end: Bytes::new(),
        }
    }

    pub(crate) fn from_key(key: Bytes) -> Self {
        Self {
            start: if key.is_empty() { ZERO } else { key },
            end: ZERO,
        }
    }

    pub(crate) fn all() -> Self {
        Self::from_key(Bytes::new())
    }

    pub(crate) fn prefix(prefix: Bytes) -> Self {
        if prefix.is_empty() {
            return Self::all();
        }
        Self {
            end: prefix_end(&prefix),
            start: prefix,
        }
    }

    fn is_single(&self) -> bool {
        self.end.is_empty()
    }

    fn is_endless(&self) -> bool {
        self.end == ZERO
    }
}

/// Returns the first key after all keys that start with `prefix`, or `\0` if there is none.
///
/// The last byte below 0xFF is incremented, and the bytes after it are removed. A prefix with only
/// bytes of 0xFF has no such key.
pub(crate) fn prefix_end(prefix: &[u8]) -> Bytes {
    match prefix.iter().rposition(|&byte| byte < 0xFF) {
        None => ZERO,
        Some(last) => {
            let mut end = BytesMut::from(&prefix[..=last]);
            end[last] += 1;
            end.freeze()
        }
    }
}

/// A prefix that is added to each key of a request and removed from each key of a reply.
///
/// INVARIANT: a range that [`Namespace::range`] returns contains only keys with the prefix. The
/// key that equals the prefix is not part of the namespace: its name inside would be empty, and
/// etcd has no empty keys.
#[derive(Clone, PartialEq, Eq)]
// Public for the hidden methods of `Request`.
#[allow(unnameable_types)]
pub struct Namespace {
    prefix: Bytes,
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Namespace({} bytes)", self.prefix.len())
    }
}

impl Namespace {
    pub(crate) fn new(prefix: Bytes) -> Option<Self> {
        (!prefix.is_empty()).then_some(Self { prefix })
    }

    /// Returns the namespace `inner` within `outer`.
    pub(crate) fn within(outer: Option<&Self>, inner: &[u8]) -> Option<Self> {
        match outer {
            None => Self::new(Bytes::copy_from_slice(inner)),
            Some(outer) => Self::new(outer.key(inner)),
        }
    }

    pub(crate) fn key(&self, key: &[u8]) -> Bytes {
        let mut whole = BytesMut::with_capacity(self.prefix.len() + key.len());
        whole.put_slice(&self.prefix);
        whole.put_slice(key);
        whole.freeze()
    }

    pub(crate) fn range(&self, range: &KeyRange) -> KeyRange {
        let end = if range.is_single() {
            Bytes::new()
        } else if range.is_endless() {
            prefix_end(&self.prefix)
        } else {
            self.key(&range.end)
        };
        KeyRange {
            start: self.key(&range.start),
            end,
        }
    }

    /// Returns the key without the prefix; `None` for a key that is not in the namespace.
    pub(crate) fn strip(&self, key: &Bytes) -> Option<Bytes> {
        key.starts_with(&self.prefix)
            .then(|| key.slice(self.prefix.len()..))
    }
}

#[cfg(test)]
mod tests;
