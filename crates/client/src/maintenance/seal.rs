//! PURE: whether a snapshot is what the server sent.

use sha2::{Digest, Sha256};

use super::snapshot::SEAL;

const LENGTH: usize = SEAL as usize;

/// The SHA-256 of all bytes but the last 32, which have to be that SHA-256.
pub(super) struct Seal {
    digest: Sha256,
    /// The last bytes so far: never more than a checksum has.
    tail: Vec<u8>,
}

impl Seal {
    pub(super) fn new() -> Self {
        Self {
            digest: Sha256::new(),
            tail: Vec::with_capacity(2 * LENGTH),
        }
    }

    pub(super) fn update(&mut self, chunk: &[u8]) {
        let (body, end) = chunk.split_at(chunk.len().saturating_sub(LENGTH));
        // What the new end pushes out of the last 32 bytes belongs to the database.
        let pushed = (self.tail.len() + end.len()).saturating_sub(LENGTH);
        self.digest.update(&self.tail[..pushed]);
        self.digest.update(body);
        self.tail.drain(..pushed);
        self.tail.extend_from_slice(end);
    }

    /// Whether the last 32 bytes are the checksum of those before.
    pub(super) fn holds(self) -> bool {
        self.digest.finalize()[..] == self.tail[..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(bytes: &[u8], chunk: usize) -> bool {
        let mut seal = Seal::new();
        bytes.chunks(chunk).for_each(|part| seal.update(part));
        seal.holds()
    }

    #[test]
    fn a_seal_holds_however_the_bytes_come() {
        let body: Vec<u8> = (0..1_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let sealed = [&body[..], &Sha256::digest(&body)[..]].concat();
        for chunk in [1, 2, 31, 32, 33, 64, 999, 1_000, 1_031, 1_032] {
            assert!(holds(&sealed, chunk), "{chunk}");
            for place in [0, 500, 999, 1_000, 1_031] {
                let mut flipped = sealed.clone();
                flipped[place] ^= 1;
                assert!(!holds(&flipped, chunk), "{chunk} {place}");
            }
            assert!(!holds(&sealed[1..], chunk), "{chunk}");
            assert!(!holds(&sealed[..1_031], chunk), "{chunk}");
        }
        assert!(!holds(&[], 1));
        assert!(!holds(&[0; 31], 1));
    }
}
