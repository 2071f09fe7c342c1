//! PURE: events and progress on their way to the consumers.

use std::time::Instant;

use etcdex_proto::etcdserverpb::WatchResponse;

use super::{Note, Phase, Stream, Watches};
use crate::error::{Error, ErrorKind};
use crate::kv::ResponseHeader;
use crate::watch::assembly::{Fault, Whole, fitting};
use crate::watch::backlog::Amount;
use crate::watch::end::WatchEnd;
use crate::watch::event::{Batch, Event, events};

/// Pieces with so many events are made by the server in a time that grows with the square of
/// their number, while all watches of the stream wait.
///
/// Source: `server/etcdserver/api/v3rpc/watch.go`, `sendFragments`, which computes the size of a
/// piece anew with each event. Seen on 3.7.3: seconds for a piece of 10,000.
const CROWD: usize = 4_000;

/// Smaller events than this, in bytes, make crowds before they make a piece full.
const SMALL: usize = size_of::<Event>() + 400;

impl Watches {
    pub(super) fn progressed(&mut self, watch_id: i64, header: ResponseHeader) {
        if watch_id == -1 {
            return self.all_progressed(header);
        }
        let Some(&number) = self.ids.get(&watch_id) else {
            return;
        };
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        // A watch that starts in the future, or amid a revision, has not come that far.
        let reached = header.revision.saturating_add(1) >= entry.course.next;
        if !reached || entry.course.is_amid_revision() {
            return;
        }
        entry.passed(header.revision);
        if entry.spec.progress {
            let (owner, watch) = (entry.owner, Some(number));
            self.tell(owner, Note::Progress { watch, header });
        }
    }

    /// The answer to a request for progress, for the whole stream.
    ///
    /// INVARIANT: it moves a resume point only where the server waits until all is delivered,
    /// and only of what was in force when the server answered: of requests without answers any
    /// may be the one that is answered, and a watch may have been created meanwhile. The server
    /// takes creations and requests in order, so an answer with a later revision than the
    /// creation's is younger than it. What an owner is told is true of all its watches, the
    /// paused ones included.
    pub(super) fn all_progressed(&mut self, header: ResponseHeader) {
        self.progress.unanswered = false;
        for number in self.ids.values().filter(|_| self.progress.exact) {
            if let Some(entry) = self.entries.get_mut(number) {
                let younger = entry.created_at < header.revision;
                if younger && entry.course.next <= header.revision {
                    entry.passed(header.revision);
                }
            }
        }
        let mut owners: Vec<u64> = self.progress.wanted.drain().collect();
        owners.sort_unstable();
        for owner in owners {
            let all = self.entries.values();
            let theirs = all.filter(|entry| entry.owner == owner && entry.told);
            let reached = theirs
                .map(|entry| entry.course.next.saturating_sub(1))
                .min();
            let revision = reached.unwrap_or(0).min(header.revision);
            if revision > 0 {
                let header = ResponseHeader { revision, ..header };
                self.tell(
                    owner,
                    Note::Progress {
                        watch: None,
                        header,
                    },
                );
            }
        }
    }

    pub(super) fn happened(
        &mut self,
        message: WatchResponse,
        header: ResponseHeader,
        now: Instant,
    ) {
        let Some(&number) = self.ids.get(&message.watch_id) else {
            return;
        };
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        let Some(room) = entry.backlog.room() else {
            return self.pause_watch(number);
        };
        let Ok(events) = events(message.events, entry.spec.namespace.as_ref()) else {
            return self.violated("it sends events that are none of this watch", now);
        };
        let limit = self.meter.limits().revision_bytes;
        let crowded = message.fragment && events.len() >= CROWD && !self.only_pieces;
        entry.whole |= crowded;
        let whole = entry.course.take(events, message.fragment, limit);
        self.deliver(number, whole, room, header, now);
        if crowded && matches!(self.stream, Stream::Open(_)) {
            // The others have as much to catch up with, likely: one new stream for all.
            self.entries
                .values_mut()
                .for_each(|entry| entry.whole = true);
            // The pieces that are still to come would hold up the whole stream: on another one
            // this watch gets them as one message, which costs the server nothing.
            let what = "a long history of small events comes too slowly in pieces";
            self.fail(Error::new(ErrorKind::Unavailable, what), now);
        }
    }

    /// Hands over what there is room for, and pauses the watch if that is not all.
    pub(super) fn deliver(
        &mut self,
        number: u64,
        whole: Whole,
        room: Amount,
        header: ResponseHeader,
        now: Instant,
    ) {
        let Whole { mut events, fault } = whole;
        let fits = fitting(&events, room);
        let full = fits < events.len();
        if full {
            events.truncate(fits);
            events.shrink_to_fit();
            // What is kept is not to hold on to what is not.
            events.iter_mut().for_each(Event::detach);
        }
        let amount = Amount {
            bytes: events.iter().map(Event::weight).sum(),
            events: events.len(),
        };
        if let (Some(last), Some(entry)) = (events.last(), self.entries.get_mut(&number)) {
            let revision = last.kv.mod_revision;
            // INVARIANT: the resume point is behind what was delivered, and never a header's.
            entry.course.next = revision.saturating_add(1);
            entry.contested = false;
            self.oversized = 0;
            entry.seen = entry.seen.max(revision);
            let held = entry.backlog.hold(amount);
            let batch = Batch {
                header,
                revision,
                events,
            };
            let owner = entry.owner;
            let watch = number;
            let note = Note::Batch { watch, batch, held };
            self.tell(owner, note);
        }
        match fault {
            _ if full => self.pause_watch(number),
            None => {}
            Some(Fault::Disorder) => self.violated("its revisions go back", now),
            Some(Fault::TooLarge(revision)) => {
                self.stop(number);
                self.end(number, WatchEnd::TooLarge { revision });
            }
        }
    }

    /// Stops a watch until its consumer has caught up.
    pub(super) fn pause_watch(&mut self, number: u64) {
        self.stop(number);
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.phase = Phase::Paused;
            // What it will be sent when it goes on is a long history, and likely of the same size.
            entry.whole |= !self.only_pieces && entry.backlog.average() < SMALL;
            if !entry.backlog.pause() {
                self.go_on(number);
            }
        }
    }

    /// Takes a watch off this stream; the server is told.
    pub(super) fn stop(&mut self, number: u64) {
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        if let Phase::Live(watch_id) = entry.phase {
            self.ids.remove(&watch_id);
            self.cancels.push(watch_id);
        }
        entry.course.restart();
    }
}
