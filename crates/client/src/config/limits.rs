//! How much of what nobody has read yet is kept.

/// How much of the changes that nobody has read yet a client keeps.
///
/// A watch that is full is paused: the server is told to stop it, and it goes on from where it
/// was when its consumer has read half of it. No other watch is slowed. What a watch holds is
/// its limit and one message at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchLimits {
    /// Bytes of one watch: keys, values and what holds them. Default: 16 MiB.
    pub watch_bytes: usize,
    /// Events of one watch. Default: 65,536.
    pub watch_events: usize,
    /// Bytes of all watches of a client: beyond it, only watches whose consumers have read
    /// everything get more. Default: 256 MiB.
    pub client_bytes: usize,
    /// Events of all watches of a client. Default: 4,194,304.
    pub client_events: usize,
    /// Bytes of a single revision (a transaction, or a delete of many keys), which is never
    /// split: a larger one ends the watch. Default: 256 MiB.
    pub revision_bytes: usize,
}

impl Default for WatchLimits {
    fn default() -> Self {
        Self {
            watch_bytes: 16 << 20,
            watch_events: 1 << 16,
            client_bytes: 256 << 20,
            client_events: 1 << 22,
            revision_bytes: 256 << 20,
        }
    }
}
