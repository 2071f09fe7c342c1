//! PURE: whether a watch requests fragments.

/// Number of consecutive streams that may end because of messages that are too large for a watch.
const MOST_OVERSIZED: u32 = 3;

/// Whether a watch requests fragments, besides the wish of its user.
#[derive(Debug, Default)]
pub(super) struct Fragmentation {
    /// Whether a message of the watch's stream was too large.
    is_needed: bool,
    /// Whether a stream with fragments of the watch was silent for too long.
    is_refused: bool,
    /// Number of consecutive streams that have ended with a message over the limit while the watch was
    /// behind.
    oversized: u32,
}

impl Fragmentation {
    /// Returns whether the next creation requests fragments. `wanted`: whether the user requests them.
    pub(super) fn is_requested(&self, wanted: bool) -> bool {
        self.is_needed || (wanted && !self.is_refused)
    }

    /// Whether the watch requests fragments because whole messages are too large.
    pub(super) fn is_needed(&self) -> bool {
        self.is_needed
    }

    /// Records that a stream has ended with a message over the limit, which may be the watch's. Returns
    /// whether the watch has to end, because fragments did not help.
    pub(super) fn note_oversized(&mut self) -> bool {
        self.is_needed = true;
        self.is_refused = false;
        self.oversized += 1;
        self.oversized >= MOST_OVERSIZED
    }

    /// Records that the stream of a watch that was behind was silent for too long: the server may make
    /// fragments of a long history.
    pub(super) fn note_silence(&mut self) {
        self.is_refused = true;
    }

    /// Records that events of the watch were delivered.
    pub(super) fn note_delivery(&mut self) {
        self.oversized = 0;
    }

    /// Records that the watch has caught up with the store. It requests whole messages again.
    pub(super) fn note_caught_up(&mut self) {
        self.is_needed = false;
        self.oversized = 0;
    }
}
