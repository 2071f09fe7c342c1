//! Keys, values and ranges of keys.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

/// The key that is smaller than every other; as the end of a range it means "no end".
///
/// Source: <https://etcd.io/docs/v3.6/learning/api/#key-value-api> (Key ranges).
const ZERO: Bytes = Bytes::from_static(b"\0");

macro_rules! bytes_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Bytes);

        impl $name {
            /// Wraps bytes that live as long as the program: nothing is copied.
            #[must_use]
            pub const fn from_static(bytes: &'static [u8]) -> Self {
                Self(Bytes::from_static(bytes))
            }

            /// The bytes, without a copy.
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
    /// The end is the first key behind that range. Where no key is (the prefix is empty or has
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
    /// A value: any bytes, also none.
    ///
    /// `From` converts the same types as for a [`Key`]. `Debug` shows only the length.
    Value
}

#[cfg(feature = "serde")]
impl Value {
    /// The value as JSON text.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) when the value cannot be written as JSON
    /// (a map whose keys are no strings, say).
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

/// A set of keys that one request covers, in etcd's own form.
///
/// `end` is empty for the single key `start`, `\0` for "from `start` on", and otherwise the
/// first key that is no longer in the range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyRange {
    pub(crate) start: Bytes,
    pub(crate) end: Bytes,
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

/// The first key behind all keys that start with `prefix`, or `\0` where there is none.
///
/// The last byte that can grow grows and what follows it goes; a prefix of nothing but 0xFF
/// has no successor.
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

/// A part of the key space that looks like all of it: every key of a request gets the prefix,
/// every key of a reply loses it.
///
/// INVARIANT: no request that went through [`Namespace::range`] touches a key outside of the
/// prefix, whatever its range was. The key that equals the prefix has an empty name inside and
/// is not part of the namespace, as etcd has no empty keys.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Namespace {
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

    /// The namespace `inner` within this one.
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

    /// The key's name inside, or `None` for a key that is not in the namespace.
    pub(crate) fn strip(&self, key: &Bytes) -> Option<Bytes> {
        key.starts_with(&self.prefix)
            .then(|| key.slice(self.prefix.len()..))
    }
}

#[cfg(test)]
mod tests;
