//! PURE: the messages of the server about watches: created, canceled, and by which cluster.

use std::time::Instant;

use etcdex_proto::etcdserverpb::WatchResponse;

use super::{Creation, Note, WatchPhase, Watches};
use crate::error::{Error, ErrorKind};
use crate::kv::{ResponseHeader, header};
use crate::watch::cancellation::Refusal;
use crate::watch::end::WatchEnd;
use crate::watch::entry::{Live, OwnerId, WatchRef};

impl Watches {
    /// Takes a message of the present stream.
    pub(crate) fn received(&mut self, message: WatchResponse, now: Instant) {
        if !self.stream.heard(now) {
            return;
        }
        let header = header(message.header);
        if !self.check_cluster(&header) {
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
            self.take_events(message, header, now);
        }
    }

    /// Checks which cluster answers. If it is another one than before, all watches end, and this
    /// returns false.
    pub(super) fn check_cluster(&mut self, header: &ResponseHeader) -> bool {
        if header.cluster_id == 0 || self.stream.confirm_cluster(header.cluster_id) {
            return true;
        }
        self.close_stream();
        self.end_all(&WatchEnd::ClusterChanged);
        false
    }

    /// Takes the answer to a creation. The answers come in the order of the requests.
    fn answered(&mut self, message: &WatchResponse, header: ResponseHeader, now: Instant) {
        let Some(creation) = self.creations.answered(self.stream.opened(), now) else {
            return self.violated("it has created a watch that was not requested", now);
        };
        let Creation {
            watch_id, watch, ..
        } = creation;
        let refused = message.canceled || message.watch_id == -1;
        if refused {
            return self.refused(watch, message, now);
        }
        if message.watch_id != watch_id && !self.creations.server_assigns_ids() {
            // The server does not use our IDs. On the next stream, creations are sent one at a time and
            // get the server's IDs.
            self.creations.let_server_assign_ids();
            return self.violated("it gives watches other IDs than requested", now);
        }
        let Some(entry) = self.entries.get_mut(&watch) else {
            // The watch was cancelled meanwhile.
            self.creations.cancel(message.watch_id);
            return;
        };
        if entry.is_foreign(header.cluster_id) {
            self.creations.cancel(message.watch_id);
            return self.end(watch, WatchEnd::ClusterChanged);
        }
        if !self.creations.created(message.watch_id, watch) {
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
            // The member may lag. A linearizable read shows whether the store has gone back.
            self.pins.doubt(watch, entry.seen);
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
                watch,
                revision: entry.start,
                watch_id: message.watch_id,
            };
            self.tell(owner, note);
            // A member that lags does not know the revision yet. `pinned` tells the start then.
            if header.revision.saturating_add(1) >= next {
                self.tell_start(watch, header);
            }
            self.moved(watch, owner, Some(next));
        }
        if missing {
            self.owners.regained_watch(owner);
        }
        self.resumed(owner, header.revision);
    }

    /// Tells an owner that its watches are all in force again, if it knows of an interruption.
    pub(super) fn resumed(&mut self, owner: OwnerId, revision: i64) {
        if self.owners.end_interruption(owner) {
            self.tell(owner, Note::Resumed { revision });
        }
    }

    /// Takes the end of a watch that the server has cancelled.
    fn canceled(&mut self, message: WatchResponse, now: Instant) {
        // A watch that the client has cancelled itself has no ID any more.
        let Some(watch) = self.creations.canceled(message.watch_id) else {
            return;
        };
        if message.compact_revision != 0 {
            // etcd counts a compacted watch among those of its stream until the client cancels
            // it, and answers no request for progress on the stream meanwhile.
            self.creations.cancel(message.watch_id);
        }
        if let Some(entry) = self.entries.get_mut(&watch) {
            entry.assembler.restart();
            entry.phase = WatchPhase::Waiting;
        }
        self.refused(watch, &message, now);
    }

    /// Handles the server's refusal to create a watch, or to keep it. The watch is in no queue.
    fn refused(&mut self, watch: WatchRef, message: &WatchResponse, now: Instant) {
        let Some(entry) = self.entries.get_mut(&watch) else {
            return;
        };
        // A refusal for another reason shows that the token was good. It may expire before the watch
        // is asked for again on this stream.
        let token_refreshed = std::mem::take(&mut entry.token_refreshed);
        match Refusal::of(message, entry.assembler.next) {
            Refusal::Compacted(_) if entry.is_movable() => {
                entry.phase = WatchPhase::Unpinned;
                self.pins.push(watch);
            }
            Refusal::Compacted(revision) => self.end(watch, WatchEnd::Compacted { revision }),
            Refusal::Behind if std::mem::take(&mut entry.lowered) > 0 => {
                entry.phase = WatchPhase::Waiting;
                self.creations.push(watch);
            }
            Refusal::Behind if !std::mem::replace(&mut entry.compaction_disputed, true) => {
                entry.phase = WatchPhase::Waiting;
                self.creations.push(watch);
            }
            Refusal::Behind => {
                let revision = message.compact_revision;
                self.end(watch, WatchEnd::Compacted { revision });
            }
            // A refused token proves nothing about the user, even if the token is new: it may have been
            // revoked since. "Permission denied" is final the second time, with a new token.
            refusal @ (Refusal::Token | Refusal::Permission)
                if self.stream.has_credentials()
                    && (refusal == Refusal::Token || !token_refreshed) =>
            {
                entry.phase = WatchPhase::Waiting;
                self.creations.push(watch);
                self.stream.request_token();
                let error = Error::new(
                    ErrorKind::PermissionDenied,
                    "a watch was refused; the next stream is opened with a new token",
                );
                self.fail(error, now);
            }
            Refusal::Token | Refusal::Permission => {
                self.end(watch, WatchEnd::PermissionDenied);
            }
            Refusal::DuplicateId => {
                entry.phase = WatchPhase::Waiting;
                self.creations.push(watch);
                self.violated("it finds a watch ID used twice", now);
            }
            Refusal::Other(reason) => self.end(watch, WatchEnd::Cancelled { reason }),
        }
    }
}
