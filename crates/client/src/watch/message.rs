//! What the owner of watches is told.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::end::WatchEnd;
use super::event::Batch;
use crate::error::Error;
use crate::kv::ResponseHeader;

/// Names one watch of a client, for as long as the client lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchRef(pub(super) u64);

impl fmt::Display for WatchRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "watch {}", self.0)
    }
}

/// What a [`Watcher`](crate::Watcher) is told, in the order in which it happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum WatchMessage {
    /// A watch is in force for the first time.
    #[non_exhaustive]
    Created {
        /// Which.
        watch: WatchRef,
        /// The first revision that it delivers: one more than the store's when it was asked
        /// for, or what was asked for.
        revision: i64,
        /// The server's name for it on its stream, for information: each reconnect gives
        /// another.
        watch_id: i64,
    },
    /// Something happened.
    #[non_exhaustive]
    Notify {
        /// To which watch.
        watch: WatchRef,
        /// What.
        batch: Batch,
    },
    /// Everything up to a revision has been delivered.
    #[non_exhaustive]
    Progress {
        /// The watch that had asked for [`progress_notify`](crate::Watch::progress_notify);
        /// `None` for all watches of this watcher, as the answer to its own
        /// [`request_progress`](crate::Watcher::request_progress). Other watchers of the client
        /// are not told.
        watch: Option<WatchRef>,
        /// Up to here.
        revision: i64,
        /// The header of the reply that this is known by, with this revision.
        header: ResponseHeader,
    },
    /// A watch has ended by itself. Nothing comes of it any more. Cancelling a watch with
    /// [`cancel`](crate::Watcher::cancel) or [`cancel_all`](crate::Watcher::cancel_all) brings no
    /// such message: when the method returns, nothing more comes of the watch.
    #[non_exhaustive]
    Cancelled {
        /// Which.
        watch: WatchRef,
        /// Why.
        end: WatchEnd,
    },
    /// The client is gone for good, and with it all watches: nothing comes after this.
    Closed(Error),
    /// The stream of the watches was lost; they go on by themselves, without a gap.
    #[non_exhaustive]
    Disconnected {
        /// Since when.
        since: Instant,
        /// Why.
        error: Arc<Error>,
    },
    /// All watches are in force again. What happened meanwhile comes now.
    #[non_exhaustive]
    Resumed {
        /// The revision of the store, as far as the server has told it.
        revision: i64,
    },
}

impl WatchMessage {
    /// The watch that it is about, if it is about one.
    #[must_use]
    pub fn watch(&self) -> Option<WatchRef> {
        match self {
            Self::Created { watch, .. }
            | Self::Notify { watch, .. }
            | Self::Cancelled { watch, .. } => Some(*watch),
            Self::Progress { watch, .. } => *watch,
            Self::Closed(_) | Self::Disconnected { .. } | Self::Resumed { .. } => None,
        }
    }
}
