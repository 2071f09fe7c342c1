//! The ID of a lease.

use std::fmt;
use std::num::NonZeroI64;
use std::str::FromStr;

use crate::error::{Error, ErrorKind};

/// The ID of a lease; never 0.
///
/// `Display` writes the ID as `etcdctl` does: 16 hexadecimal digits. `FromStr` reads that form
/// back, with or without leading zeros or `0x`. A negative ID is written as two's complement, as
/// on the wire. With the feature `serde`, an ID is the number in binary formats, and the
/// hexadecimal text in human-readable formats such as JSON.
///
/// ```
/// use etcdex::LeaseId;
///
/// let id: LeaseId = "694d77aa9e38260f".parse()?;
/// assert_eq!(id.to_string(), "694d77aa9e38260f");
/// assert_eq!(LeaseId::try_from(0x694d77aa9e38260f)?, id);
/// assert!(LeaseId::try_from(0).is_err());
/// # Ok::<(), etcdex::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
// Without 0, `Option<LeaseId>` has the size of `i64`, and pairs are converted in place.
pub struct LeaseId(NonZeroI64);

impl LeaseId {
    /// Returns the ID with the number `id`; `None` for 0, which means "no lease" on the wire.
    #[must_use]
    pub const fn new(id: i64) -> Option<Self> {
        match NonZeroI64::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// Returns the number.
    #[must_use]
    pub const fn as_i64(self) -> i64 {
        self.0.get()
    }
}

impl From<LeaseId> for i64 {
    fn from(id: LeaseId) -> Self {
        id.as_i64()
    }
}

impl TryFrom<i64> for LeaseId {
    type Error = Error;

    fn try_from(id: i64) -> Result<Self, Error> {
        Self::new(id).ok_or_else(|| refused("it is 0, which means no lease"))
    }
}

impl FromStr for LeaseId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(refused("it is not hexadecimal digits"));
        }
        let bits = u64::from_str_radix(digits, 16)
            .map_err(|_| refused("it has more than 16 hexadecimal digits"))?;
        // etcd prints a negative ID as two's complement, so the 64 bits stay the same.
        Self::try_from(bits as i64)
    }
}

fn refused(why: &str) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        format!("not the ID of a lease: {why}"),
    )
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.as_i64())
    }
}

impl fmt::LowerHex for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.as_i64(), f)
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseId({:016x})", self.as_i64())
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for LeaseId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_i64(self.as_i64())
        }
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for LeaseId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let id = if deserializer.is_human_readable() {
            let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
            text.parse()
        } else {
            Self::try_from(i64::deserialize(deserializer)?)
        };
        id.map_err(|error| D::Error::custom(error.message()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: i64) -> LeaseId {
        LeaseId::new(number).unwrap()
    }

    #[test]
    fn the_printed_form_is_read_back() {
        for number in [1, 0x694d_77aa_9e38_260f, i64::MAX, -1, i64::MIN] {
            let text = id(number).to_string();
            assert_eq!(text.len(), 16, "{text}");
            assert_eq!(text.parse::<LeaseId>().unwrap(), id(number));
        }
        for text in ["1", "0x1", "0000000000000001", "0x01"] {
            assert_eq!(text.parse::<LeaseId>().unwrap(), id(1), "{text}");
        }
        assert_eq!("ABC".parse::<LeaseId>().unwrap(), id(0xabc));
    }

    #[test]
    fn text_that_is_not_an_id_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "not hexadecimal"),
            ("0x", "not hexadecimal"),
            ("+1", "not hexadecimal"),
            ("-1", "not hexadecimal"),
            (" 1", "not hexadecimal"),
            ("xyz", "not hexadecimal"),
            ("0", "means no lease"),
            ("11111111111111111", "more than 16"),
        ] {
            let error = text.parse::<LeaseId>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains(why), "{text}: {error}");
        }
    }

    #[cfg(feature = "serde")]
    #[test]
    fn json_holds_the_printed_form() {
        let json = serde_json::to_string(&id(0xabc)).unwrap();
        assert_eq!(json, "\"0000000000000abc\"");
        assert_eq!(serde_json::from_str::<LeaseId>(&json).unwrap(), id(0xabc));
        assert!(serde_json::from_str::<LeaseId>("\"0\"").is_err());
    }
}
