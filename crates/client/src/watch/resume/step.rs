//! PURE: what the machine wants done, and what it tells.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use etcdex_proto::etcdserverpb::WatchRequest;

use crate::error::Error;
use crate::kv::ResponseHeader;
use crate::watch::backlog::HeldGuard;
use crate::watch::end::WatchEnd;
use crate::watch::event::Batch;

/// What the driver has to do now.
#[derive(Debug)]
pub(crate) enum Step {
    Tell(Tell),
    /// Learn the store's revision, by a linearizable count of this key, and tell what came of it.
    Pin(Bytes),
    /// Open a stream and tell what came of it; with a new token, if the last one was refused.
    Open {
        fresh: bool,
    },
    /// Drop the stream, or the attempt to open one; it is `silent` if nothing came within the
    /// wait for an answer.
    Close {
        silent: bool,
    },
    /// It counts as sent.
    Send(WatchRequest),
    /// Nothing until then, unless something comes.
    Rest(Option<Instant>),
}

/// Something for the owner of watches.
#[derive(Debug)]
pub(crate) struct Tell {
    pub(crate) owner: u64,
    pub(crate) note: Note,
}

#[derive(Debug)]
pub(crate) enum Note {
    /// It is in force for the first time.
    Created {
        watch: u64,
        revision: i64,
        watch_id: i64,
    },
    Batch {
        watch: u64,
        batch: Batch,
        held: HeldGuard,
    },
    Progress {
        watch: Option<u64>,
        header: ResponseHeader,
    },
    End {
        watch: u64,
        end: WatchEnd,
    },
    /// It never came to be in force, and never will.
    Refused {
        watch: u64,
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
