//! PURE: the events of the server, and their delivery to the consumers.

use std::time::Instant;

use etcdex_proto::etcdserverpb::WatchResponse;

use super::{Note, WatchPhase, Watches};
use crate::kv::ResponseHeader;
use crate::watch::amount::Amount;
use crate::watch::assembler::{Assembled, Fault, fitting};
use crate::watch::end::WatchEnd;
use crate::watch::entry::WatchRef;
use crate::watch::event::{Batch, Event, events};

impl Watches {
    /// Takes a message with events.
    pub(super) fn take_events(
        &mut self,
        message: WatchResponse,
        header: ResponseHeader,
        now: Instant,
    ) {
        let Some(watch) = self.creations.live(message.watch_id) else {
            return;
        };
        let Some(entry) = self.entries.get_mut(&watch) else {
            return;
        };
        let Some(room) = entry.backlog.room() else {
            return self.pause_watch(watch);
        };
        let Ok(events) = events(message.events, entry.spec.namespace.as_ref()) else {
            return self.violated("it sends events that do not belong to the watch", now);
        };
        let limit = self.budget.limits().revision_bytes;
        let is_head = !message.fragment
            && events.last().map(|event| event.kv.mod_revision) >= Some(header.revision);
        let assembled = entry.assembler.take(events, message.fragment, limit);
        entry.assembler.count(&entry.backlog);
        if is_head {
            entry.caught_up();
            if !self.creations.server_assigns_ids() {
                self.progress.caught_up();
            }
        }
        self.deliver(watch, assembled, room, header, now);
    }

    /// Delivers the events that there is room for, and pauses the watch if events are left.
    fn deliver(
        &mut self,
        watch: WatchRef,
        assembled: Assembled,
        room: Amount,
        header: ResponseHeader,
        now: Instant,
    ) {
        let Assembled { mut events, fault } = assembled;
        let fits = fitting(&events, room);
        let full = fits < events.len();
        if full {
            events.truncate(fits);
            events.shrink_to_fit();
            // The kept events are detached, so that they do not keep the dropped ones in memory.
            events.iter_mut().for_each(Event::detach);
        }
        let amount = Amount::of(&mut events);
        if let (Some(last), Some(entry)) = (events.last(), self.entries.get_mut(&watch)) {
            let revision = last.kv.mod_revision;
            // INVARIANT: the watch resumes after the last delivered event, and never after the revision
            // of a header.
            entry.assembler.next = revision.saturating_add(1);
            entry.compaction_disputed = false;
            entry.fragmentation.note_delivery();
            entry.seen = entry.seen.max(revision);
            let held = entry.backlog.hold(amount);
            let batch = Batch {
                header,
                revision,
                events,
            };
            let owner = entry.owner;
            let next = entry.assembler.next;
            let note = Note::Batch { watch, batch, held };
            self.tell(owner, note);
            self.moved(watch, owner, Some(next));
        }
        match fault {
            _ if full => self.pause_watch(watch),
            None => {}
            Some(Fault::Disorder) => self.violated("its revisions go back", now),
            Some(Fault::TooLarge(revision)) => {
                self.stop(watch);
                self.end(watch, WatchEnd::TooLarge { revision });
            }
        }
    }

    /// Pauses a watch until its consumer has taken enough.
    fn pause_watch(&mut self, watch: WatchRef) {
        self.stop(watch);
        if let Some(entry) = self.entries.get_mut(&watch) {
            entry.phase = WatchPhase::Paused;
            entry.is_synced = false;
            // The watch resumes where it was. At the lowered revision, the server would send all events
            // since then again after each pause.
            entry.lowered = 0;
            if !entry.backlog.pause() {
                self.unpause(watch);
            }
        }
    }

    /// Removes a watch from the stream, and cancels it at the server.
    pub(super) fn stop(&mut self, watch: WatchRef) {
        let Some(entry) = self.entries.get_mut(&watch) else {
            return;
        };
        if let WatchPhase::Live(live) = entry.phase {
            self.creations.cancel_live(live.watch_id);
        }
        entry.assembler.restart();
    }
}
