//! PURE: one watch of the machine: its phase, and the revision from which it resumes.

use std::fmt;
use std::sync::Arc;

use etcdex_proto::etcdserverpb::WatchCreateRequest;
use etcdex_proto::etcdserverpb::watch_create_request::FilterType;

use super::assembler::Assembler;
use super::backlog::Backlog;
use super::fragmentation::Fragmentation;
use crate::key::{KeyRange, Namespace};

/// The name of one watch of a client. The client uses no name twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchRef(pub(super) u64);

impl fmt::Display for WatchRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "watch {}", self.0)
    }
}

/// The number of an owner of watches, which the registry assigns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct OwnerId(pub(crate) u64);

/// A revision of a store, and the ID of its cluster (0 if that is not known).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) cluster_id: u64,
    pub(crate) revision: i64,
}

/// The request of a watch, with the namespace applied.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) range: KeyRange,
    pub(crate) namespace: Option<Namespace>,
    /// The first revision to deliver; 0 means from now on.
    pub(crate) start: i64,
    pub(crate) no_put: bool,
    pub(crate) no_delete: bool,
    pub(crate) prev_kv: bool,
    /// Whether the user requests progress messages.
    pub(crate) progress: bool,
    /// Whether the user requests fragments from the beginning.
    pub(crate) fragment: bool,
    /// The position of the read that the watch continues.
    pub(crate) read: Option<Position>,
}

/// The phase of a watch on the present stream.
///
/// ```text
/// Unpinned ---> Waiting ---> Asked ---> Live ---> Paused
///     ^          ^ ^ ^        | |        |          |
///     |          | | +---2----+ |        |          |
///     +----------|-|-----1------+        |          |
///                | +---------3----------+          |
///                +---------------4-----------------+
/// ```
///
/// 1. The server calls the watch compacted, and the revision that stands for now may be read again.
/// 2. The server refuses the watch, which is to be created again.
/// 3. The server cancels the watch, which is to be created again, or the machine does so to create it
///    at an earlier revision.
/// 4. The consumer has taken enough.
///
/// The loss of the stream makes `Asked` and `Live` watches `Waiting` again. A watch that ends has no
/// phase: its entry is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WatchPhase {
    /// The watch waits for the revision that stands for now.
    Unpinned,
    /// The watch waits to be created.
    Waiting,
    /// The request to create the watch was sent.
    Asked,
    /// The watch is in force.
    Live(Live),
    /// The watch is cancelled at the server until its consumer has taken enough.
    Paused,
}

/// The state of a watch in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Live {
    /// The ID on the present stream.
    pub(super) watch_id: i64,
    /// The store's revision when the server created the watch; `i64::MAX` if the server did not
    /// tell it.
    pub(super) created_at: i64,
    /// The first revision that was requested from the server.
    pub(super) created_from: i64,
    /// Number of progress requests that were sent on the stream before the request to create the
    /// watch.
    pub(super) progress_requests: u64,
}

impl WatchPhase {
    /// The state of a watch in force.
    pub(super) fn live(&self) -> Option<&Live> {
        match self {
            Self::Live(live) => Some(live),
            _ => None,
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.live().is_some()
    }
}

/// A watch of the machine.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) spec: Spec,
    pub(super) owner: OwnerId,
    pub(super) backlog: Arc<Backlog>,
    pub(super) assembler: Assembler,
    pub(super) phase: WatchPhase,
    /// The first revision that the watch delivers; 0 until the revision that stands for now is known.
    pub(super) start: i64,
    /// The highest revision that the store is known to have reached.
    pub(super) seen: i64,
    /// Whether the watch was created before, so that its owner knows it to be in force.
    pub(super) was_created: bool,
    /// Whether the watch was in force, and waits to be created again.
    pub(super) missing: bool,
    /// A revision to create the watch at instead of the one that it resumes from, if it is lower; 0 for
    /// none.
    pub(super) lowered: i64,
    /// Number of consecutive creations that were the oldest one without an answer when their stream was
    /// given up.
    pub(super) unanswered: u32,
    /// Whether the server has called the watch compacted, although it needs no compacted revision.
    pub(super) compaction_disputed: bool,
    pub(super) fragmentation: Fragmentation,
    /// Whether all events up to the store's revision were delivered, as of the last message. etcd calls
    /// such a watcher synced.
    pub(super) is_synced: bool,
    /// Whether the watch is created with a new token, because the last one may have been refused.
    pub(super) token_refreshed: bool,
}

impl Entry {
    pub(super) fn new(owner: OwnerId, spec: Spec, backlog: Arc<Backlog>) -> Self {
        let start = spec.start;
        let mut assembler = Assembler::default();
        assembler.next = start;
        Self {
            phase: if start == 0 {
                WatchPhase::Unpinned
            } else {
                WatchPhase::Waiting
            },
            seen: spec.read.map_or(0, |read| read.revision),
            spec,
            owner,
            backlog,
            assembler,
            start,
            was_created: false,
            missing: false,
            lowered: 0,
            unanswered: 0,
            compaction_disputed: false,
            fragmentation: Fragmentation::default(),
            is_synced: false,
            token_refreshed: false,
        }
    }

    /// Sets the revision that stands for now. The watch delivers the revisions after it.
    pub(super) fn pin(&mut self, revision: i64) {
        self.start = revision.saturating_add(1);
        self.assembler.next = self.start;
        self.seen = self.seen.max(revision);
    }

    /// Whether this is another cluster than that of the read that the watch continues.
    pub(super) fn is_foreign(&self, cluster_id: u64) -> bool {
        let read = self.spec.read.map_or(0, |read| read.cluster_id);
        read != 0 && cluster_id != 0 && read != cluster_id
    }

    /// Whether the revision that stands for now may still change, because the owner was not told it.
    pub(super) fn is_movable(&self) -> bool {
        self.spec.start == 0 && !self.was_created
    }

    /// Records that all events up to a revision were delivered, or did not concern the watch.
    ///
    /// INVARIANT: the revision to resume from never goes back, and never passes a revision of
    /// which events are still to come.
    pub(super) fn passed(&mut self, revision: i64) {
        if !self.assembler.is_amid_revision() {
            self.assembler.next = self.assembler.next.max(revision.saturating_add(1));
        }
        self.seen = self.seen.max(revision);
        self.compaction_disputed = false;
        self.caught_up();
    }

    /// Records that the watch has caught up with the store.
    pub(super) fn caught_up(&mut self) {
        self.fragmentation.note_caught_up();
        self.is_synced = true;
    }

    /// Returns the request to create the watch.
    pub(super) fn request(&self, watch_id: i64) -> WatchCreateRequest {
        let fragment = self.fragmentation.is_requested(self.spec.fragment);
        self.spec
            .request(watch_id, self.resume_revision(), fragment)
    }

    /// Returns the revision from which the watch resumes: the first one to request from the server.
    pub(super) fn resume_revision(&self) -> i64 {
        match self.lowered {
            0 => self.assembler.next,
            lowered => lowered.min(self.assembler.next),
        }
    }
}

impl Spec {
    pub(super) fn request(
        &self,
        watch_id: i64,
        start_revision: i64,
        fragment: bool,
    ) -> WatchCreateRequest {
        let mut filters = Vec::new();
        if self.no_put {
            filters.push(FilterType::Noput as i32);
        }
        if self.no_delete {
            filters.push(FilterType::Nodelete as i32);
        }
        WatchCreateRequest {
            key: self.range.start.clone(),
            range_end: self.range.end.clone(),
            start_revision,
            // Always set, so that the revision to resume from advances for idle watches, too.
            progress_notify: true,
            filters,
            prev_kv: self.prev_kv,
            watch_id,
            fragment,
        }
    }
}
