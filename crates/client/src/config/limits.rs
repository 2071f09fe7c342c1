//! The limits of unread events.

/// The limits of the unread events that a client keeps.
///
/// A watch at its limit is paused: the client cancels it at the server, and creates it again at the
/// same position when its consumer has read half of it. Other watches are not slowed.
///
/// # What is counted
/// Keys and values, the structures that hold them, and the beginnings of revisions that come in
/// several messages. A batch is not counted any more once its consumer has it. Also not counted are
/// the message that is being received on each stream (there is one stream, and one more for each
/// [`with_endpoint`](crate::Client::with_endpoint) or
/// [`require_leader`](crate::Client::require_leader) that watches), and the encoding around keys and values in messages, some 30 bytes an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchLimits {
    /// Bytes of one watch, which may exceed the limit by one revision. Default: 16 MiB.
    pub watch_bytes: usize,
    /// Events of one watch. Default: 65,536.
    pub watch_events: usize,
    /// Bytes of all watches of a client together. Default: 256 MiB.
    ///
    /// When the limit is reached, watches are paused. Each continues when its consumer has read
    /// everything and waits for more. Such a watch gets half of the rest of the last sixteenth of
    /// the limit, and at least one revision, so that consumers that read always go on. The bound is
    /// therefore this limit, plus one revision for each watch whose consumer was waiting, plus one
    /// for each stream. Watches that are never read do not go beyond the limit.
    pub client_bytes: usize,
    /// Events of all watches of a client together, as for `client_bytes`. Default: 4,194,304.
    pub client_events: usize,
    /// Bytes of a single revision (a transaction, or a delete of many keys), which is never split:
    /// a larger revision ends the watch. Default: 256 MiB. A revision may come in several messages;
    /// the limit of each message is [`max_receive_size`](crate::ClientBuilder::max_receive_size).
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
