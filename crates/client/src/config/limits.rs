//! How much of what nobody has read yet is kept.

/// How much of the changes that nobody has read yet a client keeps.
///
/// A watch that is full is paused: the server is told to stop it, and it goes on from where it
/// was when its consumer has read half of it. No other watch is slowed.
///
/// # What is counted
/// Keys and values, the structures that hold them, and the beginnings of revisions that come in
/// several messages. A batch that was returned to its consumer is not counted any more. Not
/// counted are the message that is being received on each stream (there is one stream, and one
/// more for each [`member`](crate::Client::member) or
/// [`require_leader`](crate::Client::require_leader) that watches), and the encoding around
/// keys and values in messages, some 30 bytes an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchLimits {
    /// Bytes of one watch, which it exceeds by one revision at most. Default: 16 MiB.
    pub watch_bytes: usize,
    /// Events of one watch. Default: 65,536.
    pub watch_events: usize,
    /// Bytes of all watches of a client together. Default: 256 MiB.
    ///
    /// When it is reached, watches are paused; each goes on when its consumer has read
    /// everything and waits for more. Such a watch gets half of what is left of the last sixteenth of the
    /// limit, and one revision at least, so that readers go on whatever others hold. So the
    /// bound is this limit, plus one revision for each watch whose consumer was waiting, plus
    /// one for each stream. Watches that are never read do not go beyond it.
    pub client_bytes: usize,
    /// Events of all watches of a client together, as for `client_bytes`. Default: 4,194,304.
    pub client_events: usize,
    /// Bytes of a single revision (a transaction, or a delete of many keys), which is never
    /// split: a larger one ends the watch. Default: 256 MiB. It may come in several messages;
    /// the limit of each is
    /// [`max_receive_size`](crate::ClientBuilder::max_receive_size).
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
