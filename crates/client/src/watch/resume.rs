//! PURE: all watches of one stream: what to ask of the server, what to deliver, and where each
//! goes on after the stream was lost.
//!
//! The driver tells what came and asks [`next`](Watches::next) what to do; all rules are here.
//! The words are etcd's: a watch is *created*, *canceled*, and makes *progress*.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use etcdex_proto::etcdserverpb::watch_request::RequestUnion;
use etcdex_proto::etcdserverpb::{
    WatchCancelRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};

use super::assembly::{Fault, Whole, fitting};
use super::backlog::{Amount, Backlog, Held, Meter};
use super::cancellation::Refusal;
use super::end::WatchEnd;
use super::entry::{Entry, Phase, Spec};
use super::event::{Batch, Event, events};
use crate::config::WatchLimits;
use crate::error::{Error, ErrorKind};
use crate::kv::{ResponseHeader, header};

/// How many creations may wait for their answers.
const WINDOW: usize = 1_024;

/// A stream on which nothing comes for so long, while an answer is due, is given up.
const SILENCE: Duration = Duration::from_secs(5);

/// Pauses between two streams of which the first did not last.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A stream that has lasted so long may be followed by another one at once.
const STEADY: Duration = Duration::from_secs(1);

/// How often in a row a stream may end because a message is too large.
const OVERSIZED: u32 = 3;

/// A request for progress that is not answered is made again: servers drop it while a watch of
/// the stream is behind.
const PROGRESS_AGAIN: Duration = Duration::from_secs(1);

/// How often the resume points of idle watches are moved on, on servers where that is exact.
/// etcd itself tells an idle watch only every ten minutes.
const PROGRESS_EVERY: Duration = Duration::from_secs(60);

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
    /// Drop the stream, or the attempt to open one.
    Close,
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
        held: Held,
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

/// Whoever has watches: a watcher.
#[derive(Debug, Default)]
struct Owner {
    watches: usize,
    /// Of these, how many were in force and are not again yet.
    missing: usize,
    /// It was told that its watches are interrupted.
    interrupted: bool,
}

#[derive(Clone, Copy, Debug)]
enum Stream {
    /// To be opened, but not before then.
    Closed(Option<Instant>),
    Opening,
    /// With when something last came, or was asked for.
    Open(Instant),
    /// The client was closed.
    Over,
}

/// Requests for progress.
#[derive(Debug, Default)]
struct Progress {
    /// Who wants to hear the answer.
    wanted: HashSet<u64>,
    /// When it was last asked for on this stream, or when that was opened.
    asked: Option<Instant>,
    /// How many watches were in force when the oldest request without an answer was sent. The
    /// answer is about these: others may have come into force on the way.
    place: Option<u64>,
    /// Whether the server answers only when all is delivered.
    exact: bool,
}

/// All watches that share a stream.
#[derive(Debug)]
pub(crate) struct Watches {
    entries: HashMap<u64, Box<Entry>>,
    owners: HashMap<u64, Owner>,
    /// Watches in force, by their IDs on this stream.
    ids: HashMap<i64, u64>,
    waiting: VecDeque<u64>,
    /// Creations without answers, in the order in which they were sent.
    asked: VecDeque<(i64, u64)>,
    cancels: Vec<i64>,
    unpinned: Vec<u64>,
    /// Those that wait for the revision that is being asked for.
    pinning: Vec<u64>,
    /// In force, and maybe ahead of the store.
    doubted: Vec<u64>,
    is_pinning: bool,
    pin_pause: Option<Instant>,
    stream: Stream,
    close: bool,
    last_id: i64,
    /// The server gives IDs of its own: one creation at a time.
    is_serial: bool,
    created: u64,
    progress: Progress,
    cluster: Option<u64>,
    meter: Arc<Meter>,
    has_credentials: bool,
    /// Watches below this number were there before the token of this stream.
    fresh: u64,
    wants_fresh: bool,
    newest: u64,
    /// Streams in a row that did not last.
    failures: u32,
    oversized: u32,
    opened: Option<Instant>,
    tells: VecDeque<Tell>,
    random: fastrand::Rng,
}

impl Watches {
    pub(crate) fn new(meter: Arc<Meter>, has_credentials: bool, seed: u64) -> Self {
        Self {
            entries: HashMap::new(),
            owners: HashMap::new(),
            ids: HashMap::new(),
            waiting: VecDeque::new(),
            asked: VecDeque::new(),
            cancels: Vec::new(),
            unpinned: Vec::new(),
            pinning: Vec::new(),
            doubted: Vec::new(),
            is_pinning: false,
            pin_pause: None,
            stream: Stream::Closed(None),
            close: false,
            last_id: 0,
            is_serial: false,
            created: 0,
            progress: Progress::default(),
            cluster: None,
            meter,
            has_credentials,
            fresh: 0,
            wants_fresh: false,
            newest: 0,
            failures: 0,
            oversized: 0,
            opened: None,
            tells: VecDeque::new(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    pub(crate) fn limits(&self) -> &WatchLimits {
        self.meter.limits()
    }

    /// Whether there is nothing to do until another watch is added.
    pub(crate) fn is_idle(&self) -> bool {
        let closed = matches!(self.stream, Stream::Closed(_) | Stream::Over);
        self.entries.is_empty() && self.tells.is_empty() && closed && !self.close
    }

    // What the users want.

    /// One more watch. Numbers grow, and none comes twice.
    pub(crate) fn add(&mut self, number: u64, owner: u64, spec: Spec, backlog: Arc<Backlog>) {
        let entry = Entry::new(owner, spec, backlog);
        match entry.phase {
            Phase::Unpinned => self.unpinned.push(number),
            _ => self.waiting.push_back(number),
        }
        self.newest = self.newest.max(number);
        self.owners.entry(owner).or_default().watches += 1;
        self.entries.insert(number, Box::new(entry));
        if matches!(self.stream, Stream::Over) {
            self.end(number, WatchEnd::ClientClosed);
        }
    }

    /// Nothing more is told of a watch.
    pub(crate) fn cancel(&mut self, number: u64) {
        self.stop(number);
        self.remove(number);
    }

    /// All watches of an owner are cancelled.
    pub(crate) fn forget(&mut self, owner: u64) {
        // Ten thousand streams that are dropped have cancelled their watches before.
        if self.owners.contains_key(&owner) {
            let all = self.of(|entry| entry.owner == owner);
            all.into_iter().for_each(|number| self.cancel(number));
        }
    }

    /// The consumer of a paused watch has caught up.
    pub(crate) fn go_on(&mut self, number: u64) {
        if let Some(entry) = self.entries.get_mut(&number) {
            if entry.phase == Phase::Paused {
                entry.phase = Phase::Waiting;
                self.waiting.push_back(number);
            }
        }
    }

    /// An owner wants to be told how far the stream has come.
    pub(crate) fn request_progress(&mut self, owner: u64) {
        if self.owners.contains_key(&owner) {
            self.progress.wanted.insert(owner);
        }
    }

    /// Ends all watches, now and later: the client is closed.
    pub(crate) fn shut(&mut self) {
        self.end_all(&WatchEnd::ClientClosed);
        self.close_stream();
        self.stream = Stream::Over;
    }

    // What came.

    /// The revision of the store is known, as it was after it had been asked for.
    pub(crate) fn pinned(&mut self, header: ResponseHeader) {
        self.is_pinning = false;
        self.pin_pause = None;
        if !self.knows(&header) {
            return;
        }
        for number in std::mem::take(&mut self.pinning) {
            if let Some(entry) = self.entries.get_mut(&number) {
                if entry.phase == Phase::Unpinned {
                    entry.pin(header.revision);
                    entry.phase = Phase::Waiting;
                    self.waiting.push_back(number);
                }
            }
        }
        for number in std::mem::take(&mut self.doubted) {
            let Some(watched) = self.entries.get(&number).map(|entry| entry.seen) else {
                continue;
            };
            if watched > header.revision {
                let store = header.revision;
                self.stop(number);
                self.end(number, WatchEnd::RolledBack { watched, store });
            }
        }
    }

    /// The revision could not be learned, by that key.
    pub(crate) fn unpinned(&mut self, key: &Bytes, error: &Arc<Error>, now: Instant) {
        self.is_pinning = false;
        let mut waited = std::mem::take(&mut self.pinning);
        match error.kind() {
            ErrorKind::PermissionDenied => {
                // Who may not read the key may not watch it; the others ask by another one.
                let entries = &self.entries;
                let by_key = |number: &u64| {
                    let entry = entries.get(number);
                    entry.is_some_and(|entry| entry.spec.range.start == *key)
                };
                self.doubted.retain(|number| !by_key(number));
                let denied: Vec<u64> = waited.iter().copied().filter(by_key).collect();
                for number in denied {
                    self.end(number, WatchEnd::PermissionDenied);
                }
            }
            ErrorKind::Closed => self.shut(),
            kind => {
                // The call has tried other tokens itself.
                if is_hopeless(kind) || wants_token(kind) {
                    self.refuse_new(error);
                }
                self.failures = self.failures.saturating_add(1);
                self.pin_pause = Some(now + self.pause());
            }
        }
        waited.append(&mut self.unpinned);
        waited.retain(|number| self.entries.contains_key(number));
        self.unpinned = waited;
    }

    /// A stream is there; the one before it is gone.
    pub(crate) fn opened(&mut self, now: Instant) {
        self.stream = Stream::Open(now);
        self.opened = Some(now);
        self.progress.asked = Some(now);
    }

    /// Whether this stream's server tells progress only when everything is delivered.
    pub(crate) fn judged(&mut self, exact: bool) {
        self.progress.exact = exact;
    }

    /// The stream is gone, or could not be opened.
    pub(crate) fn failed(&mut self, error: Error, now: Instant) {
        if matches!(self.stream, Stream::Over) {
            return;
        }
        self.drop_stream();
        self.close = false;
        match error.kind() {
            ErrorKind::Closed => return self.shut(),
            // Pieces of a message are smaller than a whole one.
            ErrorKind::MessageTooLarge => self.split_messages(&error),
            _ => {}
        }
        let error = Arc::new(error);
        let lasted = self
            .opened
            .take()
            .is_some_and(|since| since + STEADY <= now);
        if lasted {
            self.failures = 0;
        }
        if is_hopeless(error.kind()) {
            self.refuse_new(&error);
        }
        self.interrupt(&error, now);
        self.failures = self.failures.saturating_add(1);
        let pause = (self.failures > 1).then(|| now + self.pause());
        self.stream = Stream::Closed(pause);
    }

    /// A message of the present stream.
    pub(crate) fn received(&mut self, message: WatchResponse, now: Instant) {
        if !matches!(self.stream, Stream::Open(_)) {
            return;
        }
        self.stream = Stream::Open(now);
        let header = header(message.header);
        if !self.knows(&header) {
            return;
        }
        self.meter.saw(header.revision);
        if message.created {
            self.answered(&message, header, now);
        } else if message.canceled {
            self.canceled(message, now);
        } else if message.events.is_empty() && !message.fragment {
            self.progressed(message.watch_id, header);
        } else {
            self.happened(message, header, now);
        }
    }

    // What to do.

    /// What to do now; `ready` says whether the stream takes another message.
    pub(crate) fn next(&mut self, now: Instant, ready: bool) -> Step {
        if let Some(tell) = self.tells.pop_front() {
            return Step::Tell(tell);
        }
        if std::mem::take(&mut self.close) {
            return Step::Close;
        }
        if let Some(key) = self.pin_due(now) {
            return Step::Pin(key);
        }
        match self.stream {
            Stream::Closed(until)
                if !self.waiting.is_empty() && until.is_none_or(|until| until <= now) =>
            {
                self.stream = Stream::Opening;
                let fresh = self.open_anew();
                return Step::Open { fresh };
            }
            Stream::Opening | Stream::Open(_) if self.entries.is_empty() => {
                self.close_stream();
                self.close = false;
                return Step::Close;
            }
            Stream::Open(since) => {
                if !self.asked.is_empty() && since + SILENCE <= now {
                    let error = Error::new(ErrorKind::Timeout, "the watch stream is not answered");
                    self.failed(error, now);
                    return Step::Close;
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
        if let Some(watch_id) = self.cancels.pop() {
            let cancel = WatchCancelRequest { watch_id };
            return Some(request(RequestUnion::CancelRequest(cancel)));
        }
        let window = if self.is_serial { 1 } else { WINDOW };
        while self.asked.len() < window {
            let Some(number) = self.waiting.pop_front() else {
                break;
            };
            let Some(entry) = self.entries.get_mut(&number) else {
                continue;
            };
            entry.phase = Phase::Asked;
            let watch_id = if self.is_serial {
                0
            } else {
                // INVARIANT: never 0, which lets the server choose, and never twice on a stream.
                self.last_id += 1;
                self.last_id
            };
            self.asked.push_back((watch_id, number));
            self.stream = Stream::Open(now);
            return Some(request(RequestUnion::CreateRequest(
                entry.request(watch_id),
            )));
        }
        if self.progress_due().is_some_and(|due| due <= now) {
            self.progress.asked = Some(now);
            self.progress.place.get_or_insert(self.created);
            let progress = WatchProgressRequest {};
            return Some(request(RequestUnion::ProgressRequest(progress)));
        }
        None
    }

    /// When progress is to be asked for, on a stream that is open.
    fn progress_due(&self) -> Option<Instant> {
        let Stream::Open(opened) = self.stream else {
            return None;
        };
        if !self.progress.wanted.is_empty() {
            return Some(match self.progress.asked {
                Some(asked) if self.progress.place.is_some() => asked + PROGRESS_AGAIN,
                _ => opened,
            });
        }
        (self.progress.exact && !self.ids.is_empty())
            .then(|| self.progress.asked.unwrap_or(opened) + PROGRESS_EVERY)
    }

    /// Until when there is nothing to do by itself.
    fn rest(&self, now: Instant) -> Option<Instant> {
        let silence = match self.stream {
            Stream::Closed(until) if !self.waiting.is_empty() => until,
            Stream::Open(since) if !self.asked.is_empty() => Some(since + SILENCE),
            _ => None,
        };
        let pin = self.pin_pause.filter(|_| self.wants_pin());
        let progress = self.progress_due().filter(|due| *due > now);
        [silence, pin, progress].into_iter().flatten().min()
    }

    fn wants_pin(&self) -> bool {
        !self.is_pinning && (!self.unpinned.is_empty() || !self.doubted.is_empty())
    }

    /// The key to ask for, for all that wait.
    // ORDER: who comes while it is being asked waits for the next time: what happened before a
    // watch was asked for is not new to it.
    fn pin_due(&mut self, now: Instant) -> Option<Bytes> {
        if !self.wants_pin() || self.pin_pause.is_some_and(|until| until > now) {
            return None;
        }
        self.pinning.append(&mut self.unpinned);
        self.pinning
            .retain(|number| self.entries.contains_key(number));
        self.doubted
            .retain(|number| self.entries.contains_key(number));
        let first = self.pinning.first().or(self.doubted.first())?;
        let key = self.entries.get(first)?.spec.range.start.clone();
        self.is_pinning = true;
        Some(key)
    }

    /// Whether the next stream needs another token.
    fn open_anew(&mut self) -> bool {
        let fresh = std::mem::take(&mut self.wants_fresh);
        self.fresh = if fresh { self.newest + 1 } else { 0 };
        fresh
    }

    // How messages are taken.

    /// Checks who answers; all watches end when it is somebody else.
    fn knows(&mut self, header: &ResponseHeader) -> bool {
        if header.cluster_id == 0 {
            return true;
        }
        match self.cluster.replace(header.cluster_id) {
            Some(known) if known != header.cluster_id => {
                self.end_all(&WatchEnd::ClusterChanged);
                self.close_stream();
                false
            }
            _ => true,
        }
    }

    /// The answer to a creation: they come in the order in which they were asked for.
    fn answered(&mut self, message: &WatchResponse, header: ResponseHeader, now: Instant) {
        let Some((watch_id, number)) = self.asked.pop_front() else {
            return self.violated("it tells of a watch that nobody asked for", now);
        };
        let refused = message.canceled || message.watch_id == -1;
        if refused {
            return self.refused(number, message, now);
        }
        if message.watch_id != watch_id && !self.is_serial {
            // It does not take our IDs: then one after the other, under its own.
            self.is_serial = true;
            return self.violated("it gives watches other IDs than asked for", now);
        }
        self.created += 1;
        let Some(entry) = self.entries.get_mut(&number) else {
            // It was cancelled meanwhile.
            self.cancels.push(message.watch_id);
            return;
        };
        if self.ids.insert(message.watch_id, number).is_some() {
            return self.violated("it gives two watches one ID", now);
        }
        entry.phase = Phase::Live(message.watch_id);
        entry.place = self.created;
        if header.revision > 0 && entry.seen > header.revision {
            // A member may lag behind; whether the store has gone back is for the leader to say.
            self.doubted.push(number);
        }
        let owner = entry.owner;
        if entry.told {
            if std::mem::take(&mut entry.missing) {
                self.found(owner, header.revision);
            }
            return;
        }
        entry.told = true;
        entry.backlog.reached(entry.start - 1);
        let note = Note::Created {
            watch: number,
            revision: entry.start,
            watch_id: message.watch_id,
        };
        self.tell(owner, note);
    }

    /// A watch of an owner is in force again.
    fn found(&mut self, owner: u64, revision: i64) {
        let Some(state) = self.owners.get_mut(&owner) else {
            return;
        };
        state.missing -= 1;
        if state.missing == 0 && std::mem::take(&mut state.interrupted) {
            self.tell(owner, Note::Resumed { revision });
        }
    }

    fn canceled(&mut self, message: WatchResponse, now: Instant) {
        // Of what we have cancelled ourselves, nothing is known any more.
        let Some(number) = self.ids.remove(&message.watch_id) else {
            return;
        };
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.course.restart();
            entry.phase = Phase::Waiting;
        }
        self.refused(number, &message, now);
    }

    /// The server does not want a watch, or no longer; it is on no list.
    fn refused(&mut self, number: u64, message: &WatchResponse, now: Instant) {
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        match Refusal::of(message, entry.course.next) {
            Refusal::Compacted(_) if entry.is_movable() => {
                entry.phase = Phase::Unpinned;
                self.unpinned.push(number);
            }
            Refusal::Compacted(revision) => self.end(number, WatchEnd::Compacted { revision }),
            Refusal::Behind if !std::mem::replace(&mut entry.contested, true) => {
                entry.phase = Phase::Waiting;
                self.waiting.push_back(number);
            }
            Refusal::Behind => {
                let revision = message.compact_revision;
                self.end(number, WatchEnd::Compacted { revision });
            }
            Refusal::Permission if self.has_credentials && number >= self.fresh => {
                entry.phase = Phase::Waiting;
                self.waiting.push_back(number);
                self.wants_fresh = true;
                let error = Error::new(
                    ErrorKind::PermissionDenied,
                    "a watch was refused; the stream starts over with a new token",
                );
                self.fail(error, now);
            }
            Refusal::Permission => self.end(number, WatchEnd::PermissionDenied),
            Refusal::DuplicateId => {
                entry.phase = Phase::Waiting;
                self.waiting.push_back(number);
                self.violated("it finds an ID used twice", now);
            }
            Refusal::Other(reason) => self.end(number, WatchEnd::Cancelled { reason }),
        }
    }

    fn progressed(&mut self, watch_id: i64, header: ResponseHeader) {
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
    /// and only of what was in force when it was asked. What an owner is told is true of all its
    /// watches, the paused ones included.
    fn all_progressed(&mut self, header: ResponseHeader) {
        let place = self.progress.place.take();
        if let (Some(place), true) = (place, self.progress.exact) {
            for number in self.ids.values() {
                if let Some(entry) = self.entries.get_mut(number) {
                    if entry.place <= place && entry.course.next <= header.revision {
                        entry.passed(header.revision);
                    }
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

    fn happened(&mut self, message: WatchResponse, header: ResponseHeader, now: Instant) {
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
        let whole = entry.course.take(events, message.fragment, limit);
        self.deliver(number, whole, room, header, now);
    }

    /// Hands over what there is room for, and pauses the watch if that is not all.
    fn deliver(
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
    fn pause_watch(&mut self, number: u64) {
        self.stop(number);
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.phase = Phase::Paused;
            entry.backlog.pause();
        }
    }

    /// Takes a watch off this stream; the server is told.
    fn stop(&mut self, number: u64) {
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        if let Phase::Live(watch_id) = entry.phase {
            self.ids.remove(&watch_id);
            self.cancels.push(watch_id);
        }
        entry.course.restart();
    }

    // How things end.

    fn end(&mut self, number: u64, end: WatchEnd) {
        if let Some(owner) = self.remove(number) {
            let watch = number;
            self.tell(owner, Note::End { watch, end });
        }
    }

    /// All watches end; streams go on.
    fn end_all(&mut self, end: &WatchEnd) {
        for number in self.of(|_| true) {
            self.end(number, end.clone());
        }
    }

    /// Ends what was never in force: it would wait in vain.
    fn refuse_new(&mut self, error: &Arc<Error>) {
        for number in self.of(|entry| !entry.told) {
            if let Some(owner) = self.remove(number) {
                let (watch, error) = (number, Arc::clone(error));
                self.tell(owner, Note::Refused { watch, error });
            }
        }
    }

    /// Forgets a watch; says whose it was.
    fn remove(&mut self, number: u64) -> Option<u64> {
        let entry = self.entries.remove(&number)?;
        let owner = entry.owner;
        let left = self.owners.get_mut(&owner).map(|state| {
            state.watches -= 1;
            state.watches
        });
        if left == Some(0) {
            self.owners.remove(&owner);
            self.progress.wanted.remove(&owner);
        } else if entry.missing {
            self.found(owner, entry.seen);
        }
        Some(owner)
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

    /// The server has broken a rule: the stream starts over.
    fn violated(&mut self, what: &'static str, now: Instant) {
        self.fail(Error::new(ErrorKind::Protocol, what), now);
    }

    /// Gives the stream up.
    fn fail(&mut self, error: Error, now: Instant) {
        self.failed(error, now);
        self.close = true;
    }

    fn close_stream(&mut self) {
        self.drop_stream();
        self.close = true;
        self.stream = Stream::Closed(None);
    }

    /// Forgets the stream; its watches are to be created again, each from where it was.
    ///
    /// INVARIANT: nothing of a stream outlives it: neither IDs nor half a revision.
    fn drop_stream(&mut self) {
        self.ids.clear();
        self.asked.clear();
        self.cancels.clear();
        self.waiting.clear();
        self.last_id = 0;
        self.created = 0;
        self.progress.place = None;
        self.progress.asked = None;
        self.progress.exact = false;
        for (number, entry) in &mut self.entries {
            entry.course.restart();
            entry.place = 0;
            if let Phase::Live(_) | Phase::Asked | Phase::Waiting = entry.phase {
                entry.phase = Phase::Waiting;
                self.waiting.push_back(*number);
            }
        }
        self.waiting.make_contiguous().sort_unstable();
    }

    /// Tells the owners that their watches wait to be in force again.
    fn interrupt(&mut self, error: &Arc<Error>, now: Instant) {
        let mut owners = Vec::new();
        for entry in self.entries.values_mut() {
            let lost = entry.told && entry.phase == Phase::Waiting && !entry.missing;
            let Some(owner) = self.owners.get_mut(&entry.owner).filter(|_| lost) else {
                continue;
            };
            entry.missing = true;
            owner.missing += 1;
            if !std::mem::replace(&mut owner.interrupted, true) {
                owners.push(entry.owner);
            }
        }
        owners.sort_unstable();
        for owner in owners {
            let (since, error) = (now, Arc::clone(error));
            self.tell(owner, Note::Disconnected { since, error });
        }
    }

    /// From now on messages come in pieces, for those who wanted them whole. Whose message it
    /// was is not known: when pieces are too large as well, all watches end.
    fn split_messages(&mut self, error: &Error) {
        self.oversized += 1;
        if self.oversized >= OVERSIZED {
            let reason = error.message().to_owned();
            return self.end_all(&WatchEnd::Cancelled { reason });
        }
        for entry in self.entries.values_mut() {
            entry.spec.fragment = true;
        }
    }

    fn pause(&mut self) -> Duration {
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10));
        let longest = doubled.min(LONGEST_PAUSE);
        longest.mul_f64(0.5 + self.random.f64() / 2.0)
    }
}

fn request(union: RequestUnion) -> WatchRequest {
    WatchRequest {
        request_union: Some(union),
    }
}

/// Errors that trying again does not mend: who waits for a watch is told.
fn is_hopeless(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::AuthenticationFailed | ErrorKind::Config | ErrorKind::Unimplemented
    )
}

/// Errors of a call that has tried all the tokens there are.
fn wants_token(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::InvalidToken | ErrorKind::StaleToken | ErrorKind::TokenMissing
    )
}
