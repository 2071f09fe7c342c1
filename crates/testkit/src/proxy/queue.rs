//! The bytes of one direction of a link that are not delivered yet.

use std::collections::VecDeque;

use tokio::time::Instant;

/// Bytes in order, each piece with the time at which it is due, and the end after them if it has
/// come.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pieces: VecDeque<Piece>,
    length: usize,
    end: Option<Instant>,
}

#[derive(Debug)]
struct Piece {
    due: Instant,
    bytes: Vec<u8>,
    /// Number of delivered bytes of the piece.
    start: usize,
}

/// The next action of a queue.
pub(super) enum Next<'a> {
    /// Wait for more bytes.
    Idle,
    /// Wait until this time.
    Wait(Instant),
    /// Deliver these bytes.
    Deliver(&'a [u8]),
    /// Deliver the end.
    End,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Returns whether the end has come.
    pub(super) fn has_end(&self) -> bool {
        self.end.is_some()
    }

    pub(super) fn push(&mut self, bytes: &[u8], due: Instant) {
        self.length += bytes.len();
        self.pieces.push_back(Piece {
            due,
            bytes: bytes.to_vec(),
            start: 0,
        });
    }

    pub(super) fn push_end(&mut self, due: Instant) {
        self.end = Some(due);
    }

    pub(super) fn next(&self, now: Instant) -> Next<'_> {
        match (self.pieces.front(), self.end) {
            (Some(piece), _) if piece.due > now => Next::Wait(piece.due),
            (Some(piece), _) => Next::Deliver(&piece.bytes[piece.start..]),
            (None, Some(due)) if due > now => Next::Wait(due),
            (None, Some(_)) => Next::End,
            (None, None) => Next::Idle,
        }
    }

    /// Removes this number of the bytes that `next` returned.
    pub(super) fn delivered(&mut self, count: usize) {
        self.length -= count;
        if let Some(piece) = self.pieces.front_mut() {
            piece.start += count;
            if piece.start == piece.bytes.len() {
                self.pieces.pop_front();
            }
        }
    }

    /// Makes everything due now.
    pub(super) fn hurry(&mut self, now: Instant) {
        for piece in &mut self.pieces {
            piece.due = piece.due.min(now);
        }
        self.end = self.end.map(|due| due.min(now));
    }

    /// Drops all bytes, and returns whether there were any.
    pub(super) fn clear(&mut self) -> bool {
        let lost = self.length > 0 || self.end.is_some();
        self.pieces.clear();
        self.length = 0;
        lost
    }
}
