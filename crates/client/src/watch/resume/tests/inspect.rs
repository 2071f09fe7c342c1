//! Views of the machine's state, for the tests.

use etcdex_proto::etcdserverpb::WatchResponse;

use super::super::Watches;
use crate::watch::entry::{WatchPhase, WatchRef};

impl Watches {
    /// Returns each watch, the revision that it resumes from, and the last one that it knows the store
    /// to have reached.
    pub(super) fn points(&self) -> Vec<(u64, i64, i64)> {
        let all = self.entries.iter();
        all.map(|(number, entry)| (number.0, entry.assembler.next, entry.seen))
            .collect()
    }

    pub(super) fn is_live(&self, number: u64) -> bool {
        let entry = self.entries.get(&WatchRef(number));
        entry.is_some_and(|entry| entry.phase.is_live())
    }

    pub(super) fn is_asked(&self, number: u64) -> bool {
        let entry = self.entries.get(&WatchRef(number));
        entry.is_some_and(|entry| entry.phase == WatchPhase::Asked)
    }

    pub(super) fn is_told(&self, number: u64) -> bool {
        self.entries
            .get(&WatchRef(number))
            .is_some_and(|entry| entry.was_created)
    }

    /// Returns the watch whose creation was sent last.
    pub(super) fn last_asked(&self) -> u64 {
        let last = self.creations.unanswered().back();
        last.map_or(0, |creation| creation.watch.0)
    }

    /// Returns the watch of a message of the present stream.
    pub(super) fn named(&self, message: &WatchResponse) -> Option<u64> {
        if message.created {
            let oldest = self.creations.unanswered().front();
            return oldest.map(|creation| creation.watch.0);
        }
        let watch = self.creations.live(message.watch_id);
        watch.map(|watch| watch.0)
    }

    /// Number of creations without an answer.
    pub(super) fn outstanding(&self) -> usize {
        self.creations.unanswered().len()
    }

    pub(super) fn server_assigns_ids(&self) -> bool {
        self.creations.server_assigns_ids()
    }

    pub(super) fn cluster(&self) -> Option<u64> {
        self.stream.cluster()
    }

    pub(super) fn has_work(&self) -> bool {
        self.creations.has_waiting()
            || !self.creations.unanswered().is_empty()
            || self.stream.needs_token()
    }

    /// Checks that the machine has no state of removed watches.
    pub(super) fn assert_empty(&self) {
        assert!(self.is_idle(), "there is something to do");
        assert!(self.entries.is_empty() && self.owners.is_empty());
        assert!(self.creations.is_empty());
        assert!(self.pins.is_empty());
        assert!(self.progress.requests.is_empty() && self.tells.is_empty());
    }
}
