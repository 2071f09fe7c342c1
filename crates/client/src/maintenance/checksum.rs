//! PURE: the checksum at the end of a snapshot.

use sha2::{Digest, Sha256};

use super::snapshot::CHECKSUM_LEN;

const LENGTH: usize = CHECKSUM_LEN as usize;

/// The SHA-256 of all bytes except the last 32, which must be that SHA-256.
pub(super) struct Checksum {
    digest: Sha256,
    /// Last bytes so far, at most 32.
    tail: Vec<u8>,
}

impl Checksum {
    pub(super) fn new() -> Self {
        Self {
            digest: Sha256::new(),
            tail: Vec::with_capacity(2 * LENGTH),
        }
    }

    pub(super) fn update(&mut self, chunk: &[u8]) {
        let (body, end) = chunk.split_at(chunk.len().saturating_sub(LENGTH));
        // Bytes that are no longer among the last 32 belong to the database.
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
        let mut checksum = Checksum::new();
        bytes.chunks(chunk).for_each(|part| checksum.update(part));
        checksum.holds()
    }

    #[test]
    fn a_checksum_holds_however_the_bytes_are_cut() {
        let body: Vec<u8> = (0..1_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let whole = [&body[..], &Sha256::digest(&body)[..]].concat();
        for chunk in [1, 2, 31, 32, 33, 64, 999, 1_000, 1_031, 1_032] {
            assert!(holds(&whole, chunk), "{chunk}");
            for place in [0, 500, 999, 1_000, 1_031] {
                let mut flipped = whole.clone();
                flipped[place] ^= 1;
                assert!(!holds(&flipped, chunk), "{chunk} {place}");
            }
            assert!(!holds(&whole[1..], chunk), "{chunk}");
            assert!(!holds(&whole[..1_031], chunk), "{chunk}");
        }
        assert!(!holds(&[], 1));
        assert!(!holds(&[0; 31], 1));
    }
}
