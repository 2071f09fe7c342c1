//! Which keys a command is about.

use super::bytes;
use crate::args::Range;
use crate::failure::Failure;

/// How far a range goes from its key.
pub(super) enum Reach {
    /// That key alone.
    Key,
    /// Up to this one, which is not included.
    End(Vec<u8>),
    Prefix,
    FromKey,
}

impl Range {
    /// Refuses what says twice, and differently, which keys are meant.
    pub(super) fn reach(&self) -> Result<Reach, Failure> {
        let refusal = match (self.prefix, self.from_key, &self.range_end) {
            (true, true, _) => "--prefix and --from-key exclude each other: give one of them",
            (true, false, None) => return Ok(Reach::Prefix),
            (false, true, None) => return Ok(Reach::FromKey),
            (false, false, None) => return Ok(Reach::Key),
            (false, false, Some(end)) => {
                // An empty end means the key alone, as on the wire.
                let end = bytes(end.clone());
                let alone = end.is_empty();
                return Ok(if alone { Reach::Key } else { Reach::End(end) });
            }
            _ => "with --prefix or --from-key there is one argument, the key, and no range end",
        };
        Err(Failure::Usage(refusal.to_owned()))
    }
}
