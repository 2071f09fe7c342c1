//! PURE: what the server says of watches: created, cancelled, by whom.

use std::time::Instant;

use etcdex_proto::etcdserverpb::WatchResponse;

use super::{Creation, Note, StreamState, WatchPhase, Watches};
use crate::error::{Error, ErrorKind};
use crate::kv::{ResponseHeader, header};
use crate::watch::cancellation::Refusal;
use crate::watch::end::WatchEnd;
use crate::watch::entry::Live;

impl Watches {
    /// A message of the present stream.
    pub(crate) fn received(&mut self, message: WatchResponse, now: Instant) {
        if !matches!(self.stream, StreamState::Open(_)) {
            return;
        }
        self.stream = StreamState::Open(now);
        let header = header(message.header);
        if !self.knows(&header) {
            return;
        }
        self.budget.saw(header.revision);
        self.progress.saw(&header);
        if message.created {
            self.answered(&message, header, now);
        } else if message.canceled {
            self.canceled(message, now);
        } else if message.events.is_empty() && !message.fragment {
            self.progressed(message.watch_id, header, now);
        } else {
            self.happened(message, header, now);
        }
    }

    /// Checks who answers; all watches end when it is somebody else.
    pub(super) fn knows(&mut self, header: &ResponseHeader) -> bool {
        if header.cluster_id == 0 {
            return true;
        }
        match self.cluster.replace(header.cluster_id) {
            Some(known) if known != header.cluster_id => {
                self.close_stream();
                self.end_all(&WatchEnd::ClusterChanged);
                false
            }
            _ => true,
        }
    }

    /// The answer to a creation: they come in the order in which they were asked for.
    pub(super) fn answered(
        &mut self,
        message: &WatchResponse,
        header: ResponseHeader,
        now: Instant,
    ) {
        let Some(creation) = self.creations.answered(self.opened, now) else {
            return self.violated("it tells of a watch that nobody asked for", now);
        };
        let Creation {
            watch_id, number, ..
        } = creation;
        let refused = message.canceled || message.watch_id == -1;
        if refused {
            return self.refused(number, message, now);
        }
        if message.watch_id != watch_id && !self.creations.server_assigns_ids() {
            // It does not take our IDs: then one after the other, under its own.
            self.creations.let_server_assign_ids();
            return self.violated("it gives watches other IDs than asked for", now);
        }
        let Some(entry) = self.entries.get_mut(&number) else {
            // It was cancelled meanwhile.
            self.creations.cancel(message.watch_id);
            return;
        };
        if entry.is_foreign(header.cluster_id) {
            self.creations.cancel(message.watch_id);
            return self.end(number, WatchEnd::ClusterChanged);
        }
        if !self.creations.created(message.watch_id, number) {
            return self.violated("it gives two watches one ID", now);
        }
        entry.phase = WatchPhase::Live(Live {
            watch_id: message.watch_id,
            created_at: match header.revision {
                0 => i64::MAX,
                revision => revision,
            },
            created_from: creation.from,
            progress_requests: creation.progress_requests,
        });
        if header.revision > 0 && entry.seen > header.revision {
            // A member may lag behind; whether the store has gone back is for the leader to say.
            self.pins.doubt(number, entry.seen);
        }
        entry.unanswered = 0;
        entry.is_synced = header.revision > 0 && creation.from > header.revision;
        entry.token_refreshed = false;
        let owner = entry.owner;
        let next = entry.assembler.next;
        let missing = std::mem::take(&mut entry.missing);
        if !std::mem::replace(&mut entry.was_created, true) {
            entry.backlog.reached(entry.start - 1);
            let note = Note::Created {
                watch: number,
                revision: entry.start,
                watch_id: message.watch_id,
            };
            self.tell(owner, note);
            // A member that lags behind says nothing of it; the leader is asked, see `pinned`.
            if header.revision.saturating_add(1) >= next {
                self.tell_start(number, header);
            }
            self.moved(number, owner, Some(next));
        }
        if missing {
            self.owners.regained_watch(owner);
        }
        self.resumed(owner, header.revision);
    }

    /// Tells an owner whose watches are all in force again, if it knows of an interruption.
    pub(super) fn resumed(&mut self, owner: u64, revision: i64) {
        if self.owners.end_interruption(owner) {
            self.tell(owner, Note::Resumed { revision });
        }
    }

    pub(super) fn canceled(&mut self, message: WatchResponse, now: Instant) {
        // Of what we have cancelled ourselves, nothing is known any more.
        let Some(number) = self.creations.canceled(message.watch_id) else {
            return;
        };
        if message.compact_revision != 0 {
            // etcd counts a compacted watch among those of its stream until the client cancels
            // it, and answers no request for progress on the stream meanwhile.
            self.creations.cancel(message.watch_id);
        }
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.assembler.restart();
            entry.phase = WatchPhase::Waiting;
        }
        self.refused(number, &message, now);
    }

    /// The server does not want a watch, or no longer; it is on no list.
    pub(super) fn refused(&mut self, number: u64, message: &WatchResponse, now: Instant) {
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        match Refusal::of(message, entry.assembler.next) {
            Refusal::Compacted(_) if entry.is_movable() => {
                entry.phase = WatchPhase::Unpinned;
                self.pins.push(number);
            }
            Refusal::Compacted(revision) => self.end(number, WatchEnd::Compacted { revision }),
            Refusal::Behind if std::mem::take(&mut entry.lowered) > 0 => {
                entry.phase = WatchPhase::Waiting;
                self.creations.push(number);
            }
            Refusal::Behind if !std::mem::replace(&mut entry.compaction_disputed, true) => {
                entry.phase = WatchPhase::Waiting;
                self.creations.push(number);
            }
            Refusal::Behind => {
                let revision = message.compact_revision;
                self.end(number, WatchEnd::Compacted { revision });
            }
            // A token that is not taken says nothing of the user, also when it was fresh: it may
            // have been taken back since. What says "permission denied" is believed the second
            // time, with a fresh token.
            refusal @ (Refusal::Token | Refusal::Permission)
                if self.has_credentials
                    && (refusal == Refusal::Token || !entry.token_refreshed) =>
            {
                entry.phase = WatchPhase::Waiting;
                self.creations.push(number);
                self.wants_fresh = true;
                let error = Error::new(
                    ErrorKind::PermissionDenied,
                    "a watch was refused; the stream starts over with a new token",
                );
                self.fail(error, now);
            }
            Refusal::Token | Refusal::Permission => {
                self.end(number, WatchEnd::PermissionDenied);
            }
            Refusal::DuplicateId => {
                entry.phase = WatchPhase::Waiting;
                self.creations.push(number);
                self.violated("it finds an ID used twice", now);
            }
            Refusal::Other(reason) => self.end(number, WatchEnd::Cancelled { reason }),
        }
    }
}
