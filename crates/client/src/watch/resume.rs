//! PURE: all watches of one stream: what to ask of the server, what to deliver, and where each
//! goes on after the stream was lost.
//!
//! The driver tells what came and asks [`next`](Watches::next) what to do; all rules are here.
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
use self::owners::Owners;
use self::pin::Pins;
use self::progress::Progress;
pub(crate) use self::step::{Note, Step, Tell};
use super::backlog::Backlog;
use super::budget::MemoryBudget;
use super::end::WatchEnd;
use super::entry::{Entry, Spec, WatchPhase};
use crate::error::Error;

#[derive(Clone, Copy, Debug)]
enum StreamState {
    /// To be opened, but not before then.
    Closed(Option<Instant>),
    Opening,
    /// With when something last came, or was asked for.
    Open(Instant),
    /// The client was closed.
    Over,
}

/// All watches that share a stream.
#[derive(Debug)]
pub(crate) struct Watches {
    entries: HashMap<u64, Box<Entry>>,
    owners: Owners,
    creations: Creations,
    pins: Pins,
    stream: StreamState,
    /// The driver is to drop what it has.
    close: bool,
    progress: Progress,
    cluster: Option<u64>,
    budget: Arc<MemoryBudget>,
    has_credentials: bool,
    /// A watch was refused: the next stream needs another token.
    wants_fresh: bool,
    /// Streams in a row that did not last.
    failures: u32,
    opened: Option<Instant>,
    tells: VecDeque<Tell>,
    random: fastrand::Rng,
}

impl Watches {
    /// The client has been given credentials.
    pub(crate) fn has_credentials(&mut self) {
        self.has_credentials = true;
    }

    pub(crate) fn new(budget: Arc<MemoryBudget>, has_credentials: bool, seed: u64) -> Self {
        Self {
            entries: HashMap::new(),
            owners: Owners::default(),
            creations: Creations::default(),
            pins: Pins::default(),
            stream: StreamState::Closed(None),
            close: false,
            progress: Progress::default(),
            cluster: None,
            budget,
            has_credentials,
            wants_fresh: false,
            failures: 0,
            opened: None,
            tells: VecDeque::new(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Whether there is nothing to do until another watch is added.
    pub(crate) fn is_idle(&self) -> bool {
        let closed = matches!(self.stream, StreamState::Closed(_) | StreamState::Over);
        self.entries.is_empty() && self.tells.is_empty() && closed && !self.close
    }

    /// One more watch. Numbers grow, and none comes twice.
    pub(crate) fn add(&mut self, number: u64, owner: u64, spec: Spec, backlog: Arc<Backlog>) {
        let entry = Entry::new(owner, spec, backlog);
        match entry.phase {
            WatchPhase::Unpinned => self.pins.push(number),
            _ => self.creations.push(number),
        }
        self.owners.add_watch(owner);
        self.entries.insert(number, Box::new(entry));
        if matches!(self.stream, StreamState::Over) {
            self.end(number, WatchEnd::ClientClosed);
        }
    }

    /// Nothing more is told of a watch.
    pub(crate) fn cancel(&mut self, number: u64) {
        self.stop(number);
        self.remove(number);
    }

    /// All watches of an owner are cancelled; says which.
    pub(crate) fn forget(&mut self, owner: u64) -> Vec<u64> {
        if !self.owners.contains(owner) {
            // Ten thousand streams that are dropped have cancelled their watches before: all need
            // not be looked through for each.
            return Vec::new();
        }
        self.owners.silence(owner);
        let all = self.of(|entry| entry.owner == owner);
        all.iter().for_each(|number| self.cancel(*number));
        all
    }

    /// The consumer of a paused watch has caught up.
    pub(crate) fn unpause(&mut self, number: u64) {
        if let Some(entry) = self.entries.get_mut(&number) {
            if entry.phase == WatchPhase::Paused {
                entry.phase = WatchPhase::Waiting;
                self.creations.push(number);
            }
        }
    }

    /// Ends all watches, now and later: the client is closed.
    pub(crate) fn shut(&mut self) {
        self.close_stream();
        self.end_all(&WatchEnd::ClientClosed);
        self.stream = StreamState::Over;
    }

    /// What to do now; `ready` says whether the stream takes another message.
    pub(crate) fn next(&mut self, now: Instant, ready: bool) -> Step {
        if self.tells.is_empty() {
            self.settle();
        }
        if let Some(tell) = self.tells.pop_front() {
            return Step::Tell(tell);
        }
        if std::mem::take(&mut self.close) {
            return Step::Close { silent: false };
        }
        if let Some(key) = self.pin_due(now) {
            return Step::Pin(key);
        }
        self.creations
            .prune(|number| self.entries.contains_key(&number));
        match self.stream {
            StreamState::Closed(until)
                if self.creations.has_waiting() && until.is_none_or(|until| until <= now) =>
            {
                self.stream = StreamState::Opening;
                let fresh = self.open_anew();
                return Step::Open { fresh };
            }
            StreamState::Opening | StreamState::Open(_) if self.entries.is_empty() => {
                self.close_stream();
                self.close = false;
                return Step::Close { silent: false };
            }
            StreamState::Open(heard) => {
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

    /// What to send next.
    fn request(&mut self, now: Instant) -> Option<WatchRequest> {
        if let Some(watch_id) = self.creations.pop_cancel() {
            let cancel = WatchCancelRequest { watch_id };
            return Some(request(RequestUnion::CancelRequest(cancel)));
        }
        while let Some(number) = self.creations.pop() {
            let Some(entry) = self.entries.get_mut(&number) else {
                continue;
            };
            entry.phase = WatchPhase::Asked;
            let watch_id = self.creations.next_id();
            let creation = Creation {
                number,
                watch_id,
                from: entry.first(),
                sent: now,
                progress_requests: self.progress.sent,
            };
            self.creations.sent(creation, entry.needs_fragments);
            return Some(request(RequestUnion::CreateRequest(
                entry.request(watch_id),
            )));
        }
        if self.asks_progress(now) {
            let progress = WatchProgressRequest {};
            return Some(request(RequestUnion::ProgressRequest(progress)));
        }
        // Instead of that, watches may have to be created anew.
        let more = self.creations.has_cancels();
        more.then(|| self.request(now)).flatten()
    }

    /// Until when there is nothing to do by itself.
    fn rest(&self, now: Instant) -> Option<Instant> {
        let silence = match self.stream {
            StreamState::Closed(until) if self.creations.has_waiting() => until,
            StreamState::Open(heard) => self.answer_due(heard).map(AnswerDue::first),
            _ => None,
        };
        let pin = self.pin_pause();
        let progress = self.progress_due().filter(|due| *due > now);
        [silence, pin, progress].into_iter().flatten().min()
    }

    fn end(&mut self, number: u64, end: WatchEnd) {
        let watch = number;
        self.leave(number, Note::End { watch, end });
    }

    /// All watches end; streams go on.
    fn end_all(&mut self, end: &WatchEnd) {
        for number in self.of(|_| true) {
            self.end(number, end.clone());
        }
    }

    /// Ends what was never in force: it would wait in vain.
    fn refuse_new(&mut self, error: &Arc<Error>) {
        for number in self.of(|entry| !entry.was_created) {
            self.refuse(number, error);
        }
    }

    fn refuse(&mut self, number: u64, error: &Arc<Error>) {
        let (watch, error) = (number, Arc::clone(error));
        self.leave(number, Note::Refused { watch, error });
    }

    /// Forgets a watch, and tells its owner why.
    // ORDER: an owner hears that a watch has ended before it hears that all others go on.
    fn leave(&mut self, number: u64, note: Note) {
        if let Some(entry) = self.entries.get(&number) {
            self.tell(entry.owner, note);
            self.remove(number);
        }
    }

    /// Forgets a watch.
    fn remove(&mut self, number: u64) {
        let Some(entry) = self.entries.remove(&number) else {
            return;
        };
        let owner = entry.owner;
        self.moved(number, owner, None);
        let Some(is_last) = self.owners.remove_watch(owner, entry.missing) else {
            return;
        };
        // Without a stream nothing is in force: whoever comes to be so first tells it. An owner
        // without watches waits for none.
        if is_last || matches!(self.stream, StreamState::Open(_)) {
            self.resumed(owner, entry.seen);
        }
        if is_last {
            self.owners.remove(owner);
            self.progress.forget(owner);
            self.pins.remove_owner(owner);
        }
    }

    /// The numbers of some watches, in order.
    fn of(&self, which: impl Fn(&Entry) -> bool) -> Vec<u64> {
        let chosen = self.entries.iter().filter(|(_, entry)| which(entry));
        let mut numbers: Vec<u64> = chosen.map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        numbers
    }

    fn tell(&mut self, owner: u64, note: Note) {
        self.tells.push_back(Tell { owner, note });
    }
}

fn request(union: RequestUnion) -> WatchRequest {
    WatchRequest {
        request_union: Some(union),
    }
}
