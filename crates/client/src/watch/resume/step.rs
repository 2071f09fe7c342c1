//! PURE: the steps of the machine, and its notes to the owners.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use etcdex_proto::etcdserverpb::WatchRequest;

use crate::error::Error;
use crate::kv::ResponseHeader;
use crate::watch::backlog::HeldGuard;
use crate::watch::end::WatchEnd;
use crate::watch::entry::{OwnerId, WatchRef};
use crate::watch::event::Batch;

/// A step that the driver has to execute. It has no `Debug` outside of tests, which have the only
/// keys that may be printed.
#[cfg_attr(test, derive(Debug))]
pub(crate) enum Step {
    /// Deliver a note.
    Tell(Tell),
    /// Read the store's revision by a linearizable count of this key, and report the result.
    Pin(Bytes),
    /// Open a stream and report the result. `fresh` requires a new token, because the last one was
    /// refused.
    Open { fresh: bool },
    /// Drop the stream, or the attempt to open one. `silent` says that no message came within the wait
    /// for an answer.
    Close { silent: bool },
    /// Send this request, which counts as sent.
    Send(WatchRequest),
    /// Wait until this time, or for the next event.
    Rest(Option<Instant>),
}

/// A note to an owner of watches.
#[derive(Debug)]
pub(crate) struct Tell {
    pub(crate) owner: OwnerId,
    pub(crate) note: Note,
}

/// The content of a note.
#[derive(Debug)]
pub(crate) enum Note {
    /// A watch is in force for the first time.
    Created {
        watch: WatchRef,
        revision: i64,
        watch_id: i64,
    },
    Batch {
        watch: WatchRef,
        batch: Batch,
        held: HeldGuard,
    },
    Progress {
        watch: Option<WatchRef>,
        header: ResponseHeader,
    },
    End {
        watch: WatchRef,
        end: WatchEnd,
    },
    /// A watch was never in force, and never will be.
    Refused {
        watch: WatchRef,
        error: Arc<Error>,
    },
    Disconnected {
        since: Instant,
        error: Arc<Error>,
    },
    Resumed {
        revision: i64,
    },
}
