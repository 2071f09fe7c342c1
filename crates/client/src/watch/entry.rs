//! One watch as the resume machine knows it.

use std::sync::Arc;

use etcdex_proto::etcdserverpb::WatchCreateRequest;
use etcdex_proto::etcdserverpb::watch_create_request::FilterType;

use super::assembly::Assembly;
use super::backlog::Backlog;
use crate::key::{KeyRange, Namespace};

/// A revision of a store, and the cluster that the store belongs to (0 if that is not known).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) cluster_id: u64,
    pub(crate) revision: i64,
}

/// What a watch asks for, with the namespace applied.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) range: KeyRange,
    pub(crate) namespace: Option<Namespace>,
    /// The first revision to deliver; 0 is now.
    pub(crate) start: i64,
    pub(crate) no_put: bool,
    pub(crate) no_delete: bool,
    pub(crate) prev_kv: bool,
    /// Whether the user wants to be told of progress.
    pub(crate) progress: bool,
    pub(crate) fragment: bool,
    /// The read that the watch continues: its store had come that far.
    pub(crate) read: Option<Position>,
}

/// Where a watch stands on the present stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It waits to learn which revision is now.
    Unpinned,
    /// It is in the queue of those to be created.
    Waiting,
    /// The server was asked to create it.
    Asked,
    /// In force, under this ID.
    Live(i64),
    /// Its consumer is behind.
    Paused,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) spec: Spec,
    pub(super) owner: u64,
    pub(super) backlog: Arc<Backlog>,
    pub(super) course: Assembly,
    pub(super) phase: Phase,
    /// The first revision that it delivers, 0 until now is known.
    pub(super) start: i64,
    /// A revision that the store is known to have reached.
    pub(super) seen: i64,
    /// Its owner knows that it is in force.
    pub(super) told: bool,
    /// It was in force, and is not again yet.
    pub(super) missing: bool,
    /// How far the store had come, as far as is known, when the server last created it.
    pub(super) created_at: i64,
    /// The server has called it compacted though it needs nothing so old.
    pub(super) contested: bool,
    /// It asks for whole messages: its events are many and small.
    pub(super) whole: bool,
    /// It is asked for with a new token, for the one before it may have been refused.
    pub(super) appealed: bool,
}

impl Entry {
    pub(super) fn new(owner: u64, spec: Spec, backlog: Arc<Backlog>) -> Self {
        let start = spec.start;
        let mut course = Assembly::default();
        course.next = start;
        Self {
            phase: if start == 0 {
                Phase::Unpinned
            } else {
                Phase::Waiting
            },
            seen: spec.read.map_or(0, |read| read.revision),
            spec,
            owner,
            backlog,
            course,
            start,
            told: false,
            missing: false,
            created_at: 0,
            contested: false,
            whole: false,
            appealed: false,
        }
    }

    /// From this revision on it delivers: now is the one before.
    pub(super) fn pin(&mut self, revision: i64) {
        self.start = revision.saturating_add(1);
        self.course.next = self.start;
        self.seen = self.seen.max(revision);
    }

    /// Whether another cluster answers than the one whose state the watch continues.
    pub(super) fn is_foreign(&self, cluster_id: u64) -> bool {
        let read = self.spec.read.map_or(0, |read| read.cluster_id);
        read != 0 && cluster_id != 0 && read != cluster_id
    }

    /// Whether now may still be moved: nobody was told which revision it is.
    pub(super) fn is_movable(&self) -> bool {
        self.spec.start == 0 && !self.told
    }

    /// Notes that everything up to a revision was delivered, or did not concern it.
    ///
    /// INVARIANT: the point to resume from never goes back, and never passes a revision of
    /// which events are still to come.
    pub(super) fn passed(&mut self, revision: i64) {
        if !self.course.is_amid_revision() {
            self.course.next = self.course.next.max(revision.saturating_add(1));
        }
        self.seen = self.seen.max(revision);
        self.contested = false;
    }

    pub(super) fn request(&self, watch_id: i64) -> WatchCreateRequest {
        let fragment = self.spec.fragment && !self.whole;
        self.spec.request(watch_id, self.course.next, fragment)
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
            // Always, so that the resume point of an idle watch moves on, too.
            progress_notify: true,
            filters,
            prev_kv: self.prev_kv,
            watch_id,
            fragment,
        }
    }
}
