//! The keys of a command, from its arguments.

use super::bytes;
use crate::args::Range;
use crate::failure::Failure;

/// How far a range extends from its key.
pub(super) enum Extent {
    /// Only the key.
    Key,
    /// Up to this key, exclusive.
    End(Vec<u8>),
    /// All keys with this prefix.
    Prefix,
    /// All keys from this one on.
    FromKey,
}

impl Range {
    /// Returns the extent. Fails if the arguments contradict one another.
    pub(super) fn extent(&self) -> Result<Extent, Failure> {
        let conflict = match (self.prefix, self.from_key, &self.range_end) {
            (true, true, _) => "--prefix and --from-key exclude each other; give one of them",
            (true, false, None) => return Ok(Extent::Prefix),
            (false, true, None) => return Ok(Extent::FromKey),
            (false, false, None) => return Ok(Extent::Key),
            (false, false, Some(end)) => {
                // As in etcd's API, an empty end means only the key.
                let end = bytes(end.clone());
                let is_key = end.is_empty();
                return Ok(if is_key {
                    Extent::Key
                } else {
                    Extent::End(end)
                });
            }
            _ => "--prefix and --from-key take a key and no range end",
        };
        Err(Failure::Usage(conflict.to_owned()))
    }
}
