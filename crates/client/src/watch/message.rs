//! The messages of a watcher.

use std::sync::Arc;
use std::time::Instant;

use super::end::WatchEnd;
use super::entry::WatchRef;
use super::event::Batch;
use crate::error::Error;
use crate::kv::ResponseHeader;

/// A message of a [`Watcher`](crate::Watcher). Messages come in the order in which things happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum WatchMessage {
    /// A watch is in force for the first time.
    #[non_exhaustive]
    Created {
        /// The watch.
        watch: WatchRef,
        /// The first revision that the watch delivers: the requested one, or else one more than the
        /// store's revision at the time of the request.
        revision: i64,
        /// The ID of the watch on its stream, for information. Each reconnect changes this ID.
        watch_id: i64,
    },
    /// Keys of a watch have changed.
    #[non_exhaustive]
    Notify {
        /// The watch.
        watch: WatchRef,
        /// The events.
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
        /// The revision.
        revision: i64,
        /// The header of the reply that this is known from, with this revision.
        header: ResponseHeader,
    },
    /// A watch has ended by itself, and no message of this watch follows. Cancelling a watch with
    /// [`cancel`](crate::Watcher::cancel) or [`cancel_all`](crate::Watcher::cancel_all) makes no
    /// such message: after the method has returned, no message of the watch follows.
    #[non_exhaustive]
    Cancelled {
        /// The watch.
        watch: WatchRef,
        /// The reason.
        end: WatchEnd,
    },
    /// All watches have ended, because the client was closed or the runtime of the watches has
    /// ended. No message follows.
    Closed(Error),
    /// The stream of the watches was lost. The client resumes the watches without a gap.
    #[non_exhaustive]
    Disconnected {
        /// The time of the loss.
        since: Instant,
        /// The reason.
        error: Arc<Error>,
    },
    /// All watches are in force again. The events of the meantime follow.
    #[non_exhaustive]
    Resumed {
        /// The revision of the store, as far as the server has told it.
        revision: i64,
    },
}

impl WatchMessage {
    /// Returns the watch of the message, if it is about one watch.
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
