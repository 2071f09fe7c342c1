//! PURE: the machine of all watches of one stream. It decides what to send to the server and what to
//! deliver, and creates each watch again after the stream was lost.
//!
//! The driver reports each event and takes the [`next`](Watches::next) step. The rules are in the files
//! of this folder; the revision from which a watch resumes is `Entry::resume_revision` in `entry.rs`.
//! The words are etcd's: a watch is *created*, *canceled*, and makes *progress*.

mod creations;
mod events;
mod lifecycle;
mod owners;
mod pin;
mod progress;
mod progress_requests;
mod replies;
mod step;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use etcdex_proto::etcdserverpb::watch_request::RequestUnion;
use etcdex_proto::etcdserverpb::{WatchCancelRequest, WatchProgressRequest, WatchRequest};

use self::creations::{AnswerDue, Creation, Creations};
use self::lifecycle::{StreamLifecycle, WatchStreamState};
use self::owners::Owners;
use self::pin::Pins;
use self::progress::Progress;
pub(crate) use self::step::{Note, Step, Tell};
use super::backlog::Backlog;
use super::budget::MemoryBudget;
use super::end::WatchEnd;
use super::entry::{Entry, OwnerId, Spec, WatchPhase, WatchRef};
use crate::error::Error;

/// The watches that share a stream.
#[derive(Debug)]
pub(crate) struct Watches {
    entries: HashMap<WatchRef, Box<Entry>>,
    owners: Owners,
    creations: Creations,
    pins: Pins,
    stream: StreamLifecycle,
    progress: Progress,
    budget: Arc<MemoryBudget>,
    /// Notes that the driver has not taken yet.
    tells: VecDeque<Tell>,
}

impl Watches {
    /// Records that the client has credentials.
    pub(crate) fn has_credentials(&mut self) {
        self.stream.set_has_credentials();
    }

    pub(crate) fn new(budget: Arc<MemoryBudget>, has_credentials: bool, seed: u64) -> Self {
        Self {
            entries: HashMap::new(),
            owners: Owners::default(),
            creations: Creations::default(),
            pins: Pins::default(),
            stream: StreamLifecycle::new(has_credentials, seed),
            progress: Progress::default(),
            budget,
            tells: VecDeque::new(),
        }
    }

    /// Whether there is nothing to do until another watch is added.
    pub(crate) fn is_idle(&self) -> bool {
        self.entries.is_empty() && self.tells.is_empty() && self.stream.is_idle()
    }

    /// Adds a watch. INVARIANT: numbers grow, and none is used twice; the registry assigns them.
    pub(crate) fn add(
        &mut self,
        watch: WatchRef,
        owner: OwnerId,
        spec: Spec,
        backlog: Arc<Backlog>,
    ) {
        let entry = Entry::new(owner, spec, backlog);
        match entry.phase {
            WatchPhase::Unpinned => self.pins.push(watch),
            _ => self.creations.push(watch),
        }
        self.owners.add_watch(owner);
        self.entries.insert(watch, Box::new(entry));
        if self.stream.is_over() {
            self.end(watch, WatchEnd::ClientClosed);
        }
    }

    /// Cancels a watch. No note of it follows.
    pub(crate) fn cancel(&mut self, watch: WatchRef) {
        self.stop(watch);
        self.remove(watch);
    }

    /// Cancels all watches of an owner, and returns them.
    pub(crate) fn forget(&mut self, owner: OwnerId) -> Vec<WatchRef> {
        if !self.owners.contains(owner) {
            // A stream that is dropped has cancelled its watch before. Without this check, dropping ten
            // thousand streams would search all watches for each.
            return Vec::new();
        }
        self.owners.silence(owner);
        let all = self.of(|entry| entry.owner == owner);
        all.iter().for_each(|watch| self.cancel(*watch));
        all
    }

    /// Resumes a paused watch, because its consumer has taken enough.
    pub(crate) fn unpause(&mut self, watch: WatchRef) {
        if let Some(entry) = self.entries.get_mut(&watch) {
            if entry.phase == WatchPhase::Paused {
                entry.phase = WatchPhase::Waiting;
                self.creations.push(watch);
            }
        }
    }

    /// Ends all watches, also those that are added later, because the client is closed.
    pub(crate) fn close(&mut self) {
        self.close_stream();
        self.end_all(&WatchEnd::ClientClosed);
        self.stream.end();
    }

    /// Returns the next step. `ready` says whether the stream takes another request.
    pub(crate) fn next(&mut self, now: Instant, ready: bool) -> Step {
        if self.tells.is_empty() {
            self.settle();
        }
        if let Some(tell) = self.tells.pop_front() {
            return Step::Tell(tell);
        }
        if self.stream.take_close() {
            return Step::Close { silent: false };
        }
        if let Some(key) = self.pin_due(now) {
            return Step::Pin(key);
        }
        self.creations
            .prune(|watch| self.entries.contains_key(&watch));
        match self.stream.state() {
            WatchStreamState::Closed(until)
                if self.creations.has_waiting() && until.is_none_or(|until| until <= now) =>
            {
                let fresh = self.open_stream();
                return Step::Open { fresh };
            }
            WatchStreamState::Opening | WatchStreamState::Open(_) if self.entries.is_empty() => {
                self.close_stream();
                self.stream.take_close();
                return Step::Close { silent: false };
            }
            WatchStreamState::Open(heard) => {
                if self.answer_due(heard).is_some_and(|due| due.first() <= now) {
                    return Step::Close {
                        silent: self.unanswered(heard, now),
                    };
                }
                if let Some(request) = ready.then(|| self.request(now)).flatten() {
                    return Step::Send(request);
                }
            }
            _ => {}
        }
        Step::Rest(self.rest(now))
    }

    /// Returns the next request.
    fn request(&mut self, now: Instant) -> Option<WatchRequest> {
        if let Some(watch_id) = self.creations.pop_cancel() {
            let cancel = WatchCancelRequest { watch_id };
            return Some(request(RequestUnion::CancelRequest(cancel)));
        }
        while let Some(watch) = self.creations.pop() {
            let Some(entry) = self.entries.get_mut(&watch) else {
                continue;
            };
            entry.phase = WatchPhase::Asked;
            let watch_id = self.creations.next_id();
            let creation = Creation {
                watch,
                watch_id,
                from: entry.resume_revision(),
                sent: now,
                progress_requests: self.progress.sent(),
            };
            self.creations
                .sent(creation, entry.fragmentation.is_needed());
            return Some(request(RequestUnion::CreateRequest(
                entry.request(watch_id),
            )));
        }
        if self.asks_progress(now) {
            let progress = WatchProgressRequest {};
            return Some(request(RequestUnion::ProgressRequest(progress)));
        }
        // Instead of a progress request, watches may have to be created again.
        let more = self.creations.has_cancels();
        more.then(|| self.request(now)).flatten()
    }

    /// Returns the time of the next step, if there is no event before.
    fn rest(&self, now: Instant) -> Option<Instant> {
        let silence = match self.stream.state() {
            WatchStreamState::Closed(until) if self.creations.has_waiting() => until,
            WatchStreamState::Open(heard) => self.answer_due(heard).map(AnswerDue::first),
            _ => None,
        };
        let pin = self.pin_pause();
        let progress = self.progress_due().filter(|due| *due > now);
        [silence, pin, progress].into_iter().flatten().min()
    }

    fn end(&mut self, watch: WatchRef, end: WatchEnd) {
        self.leave(watch, Note::End { watch, end });
    }

    /// Ends all watches.
    fn end_all(&mut self, end: &WatchEnd) {
        for watch in self.of(|_| true) {
            self.end(watch, end.clone());
        }
    }

    /// Ends the watches that were never created, because they would wait in vain.
    fn refuse_new(&mut self, error: &Arc<Error>) {
        for watch in self.of(|entry| !entry.was_created) {
            self.refuse(watch, error);
        }
    }

    fn refuse(&mut self, watch: WatchRef, error: &Arc<Error>) {
        let error = Arc::clone(error);
        self.leave(watch, Note::Refused { watch, error });
    }

    /// Removes a watch, and tells its owner the reason.
    // ORDER: an owner is told of the end of a watch before the resumption of the others.
    fn leave(&mut self, watch: WatchRef, note: Note) {
        if let Some(entry) = self.entries.get(&watch) {
            self.tell(entry.owner, note);
            self.remove(watch);
        }
    }

    /// Removes a watch.
    fn remove(&mut self, watch: WatchRef) {
        let Some(entry) = self.entries.remove(&watch) else {
            return;
        };
        let owner = entry.owner;
        self.moved(watch, owner, None);
        let Some(is_last) = self.owners.remove_watch(owner, entry.missing) else {
            return;
        };
        // Without a stream no watch is in force: the next creation ends the interruption. An owner
        // without watches has no next creation.
        if is_last || self.stream.is_open() {
            self.resumed(owner, entry.seen);
        }
        if is_last {
            self.owners.remove(owner);
            self.progress.requests.remove(owner);
            self.pins.remove_owner(owner);
        }
    }

    /// Returns the numbers of the chosen watches, in ascending order.
    fn of(&self, which: impl Fn(&Entry) -> bool) -> Vec<WatchRef> {
        let chosen = self.entries.iter().filter(|(_, entry)| which(entry));
        let mut watches: Vec<WatchRef> = chosen.map(|(watch, _)| *watch).collect();
        watches.sort_unstable();
        watches
    }

    fn tell(&mut self, owner: OwnerId, note: Note) {
        self.tells.push_back(Tell { owner, note });
    }
}

fn request(union: RequestUnion) -> WatchRequest {
    WatchRequest {
        request_union: Some(union),
    }
}
