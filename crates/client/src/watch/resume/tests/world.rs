//! The machine, a server, the network between them and consumers, step by step in virtual time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use etcdex_proto::etcdserverpb::WatchRequest;
use etcdex_proto::etcdserverpb::watch_request::RequestUnion;
use fastrand::Rng;

use super::super::creations::WINDOW;
use super::super::{Note, Step, Tell, Watches};
use super::model::{Guard, KEYS, Manner, Session, Store, View};
use crate::config::WatchLimits;
use crate::error::{Error, ErrorKind};
use crate::key::KeyRange;
use crate::kv::ResponseHeader;
use crate::watch::amount::Amount;
use crate::watch::backlog::{Backlog, HeldGuard};
use crate::watch::budget::MemoryBudget;
use crate::watch::end::WatchEnd;
use crate::watch::entry::{OwnerId, Spec, WatchRef};
use crate::watch::event::{Batch, Event};

/// The state of a watch as its user sees it, and the expected deliveries.
#[derive(Debug)]
struct Watch {
    owner: u64,
    view: View,
    spec: Spec,
    limit: Amount,
    backlog: Arc<Backlog>,
    /// The store's revision when the user requested the watch.
    called: i64,
    /// The first revision that was not delivered; 0 until the revision of now is known.
    cursor: i64,
    created: bool,
    over: bool,
    /// Whether the user has cancelled the watch, and whether the machine knows it.
    dropped: bool,
    cancelled: bool,
    /// Whether its cluster was replaced, so that the machine could notice it.
    foreign: bool,
}

impl Watch {
    fn is_present(&self) -> bool {
        !self.over && !self.cancelled
    }
}

enum Command {
    Cancel(u64),
    Forget(u64),
    GoOn(u64),
    Progress(u64),
}

/// A read of the store's revision.
struct Pin {
    key: Bytes,
    answer: Option<ResponseHeader>,
}

enum Net {
    Closed,
    Opening,
    Open(Box<Session>),
}

pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) now: Instant,
    start: Instant,
    machine: Watches,
    budget: Arc<MemoryBudget>,
    store: Store,
    manner: Manner,
    net: Net,
    /// Whether the stream delivers nothing any more.
    stalled: bool,
    unjudged: bool,
    /// Whether the machine knows that the present server is exact.
    exact: bool,
    /// The store's revision at the time of each progress request without an answer, by owner.
    questions: BTreeMap<u64, Vec<i64>>,
    pin: Option<Pin>,
    watches: BTreeMap<u64, Watch>,
    owners: BTreeMap<u64, VecDeque<(u64, i64, HeldGuard)>>,
    /// Owners that know of an interruption.
    interrupted: BTreeSet<u64>,
    commands: VecDeque<Command>,
    numbers: u64,
    denied: Option<&'static str>,
    was_denied: BTreeSet<&'static str>,
    /// The token that the server accepts, and the one that the client has.
    token: u64,
    own_token: u64,
    has_credentials: bool,
    rolled_back: Vec<(i64, i64)>,
    closed: bool,
    faults: bool,
    /// Whether only the network has faults.
    tame: bool,
    reasons: Vec<(String, u64)>,
    /// IDs of the present stream that were created, and cancelled.
    ids: BTreeSet<i64>,
    cancelled_ids: BTreeSet<i64>,
    /// Number of creations of each watch on the present stream, and number of times that it had to be
    /// resumed there: after a pause, or after it was called compacted.
    creations: BTreeMap<u64, usize>,
    restarts: BTreeMap<u64, usize>,
    /// The times at which streams were opened, and at which users have done something.
    openings: VecDeque<Instant>,
    deeds: VecDeque<Instant>,
    pub(super) delivered: usize,
    pub(super) resumed: usize,
    pub(super) ends: BTreeMap<&'static str, usize>,
    pub(super) trace: Option<Vec<String>>,
}

macro_rules! log {
    ($world:expr, $($text:tt)*) => {
        if let Some(trace) = &mut $world.trace {
            let at = $world.now.duration_since($world.start).as_millis();
            trace.push(format!("{at} {}", format_args!($($text)*)));
        }
    };
}

impl World {
    pub(super) fn new(seed: u64, traced: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let manner = Manner {
            exact: rng.bool(),
            own_ids: rng.u8(..8) == 0,
            refuses_by_id: rng.bool(),
            wraps_reason: rng.bool(),
            late_header: rng.bool(),
            interleaves: rng.bool(),
            refuses_compacted: rng.u8(..4) == 0,
            errs: rng.u8(..4) == 0,
            piece: rng.usize(1..5),
            largest: if rng.bool() {
                usize::MAX
            } else {
                rng.usize(5..12)
            },
            per_event: Duration::from_millis([0, 100, 3_000][rng.usize(..3)]),
            ignores_progress: false,
        };
        let manner = Manner {
            ignores_progress: manner.own_ids && rng.bool(),
            ..manner
        };
        let limits = WatchLimits {
            watch_bytes: rng.usize(1..6_000),
            watch_events: rng.usize(1..40),
            client_bytes: rng.usize(1_000..30_000),
            client_events: rng.usize(5..100),
            revision_bytes: if rng.bool() { 1 << 20 } else { 1_500 },
        };
        let budget = Arc::new(MemoryBudget::new(limits));
        let has_credentials = rng.bool();
        let tame = rng.bool();
        let start = Instant::now();
        Self {
            machine: Watches::new(Arc::clone(&budget), has_credentials, seed),
            budget,
            rng,
            now: start,
            start,
            store: Store::new(7),
            manner,
            net: Net::Closed,
            stalled: false,
            unjudged: false,
            exact: false,
            questions: BTreeMap::new(),
            pin: None,
            watches: BTreeMap::new(),
            owners: BTreeMap::new(),
            interrupted: BTreeSet::new(),
            commands: VecDeque::new(),
            numbers: 0,
            denied: None,
            was_denied: BTreeSet::new(),
            token: 1,
            own_token: 1,
            has_credentials,
            rolled_back: Vec::new(),
            closed: false,
            faults: true,
            tame,
            reasons: Vec::new(),
            ids: BTreeSet::new(),
            cancelled_ids: BTreeSet::new(),
            creations: BTreeMap::new(),
            restarts: BTreeMap::new(),
            openings: VecDeque::new(),
            deeds: VecDeque::new(),
            delivered: 0,
            resumed: 0,
            ends: BTreeMap::new(),
            trace: traced.then(Vec::new),
        }
    }

    // Steps.

    /// Plays a random step.
    pub(super) fn step(&mut self) {
        let tame = self.tame;
        match self.rng.u32(..1_000) {
            0..60 => self.write(),
            60..64 if !tame => self.compact(),
            60..220 => self.apply(),
            220..300 => self.catch_up(),
            300..400 => self.accept(),
            400..550 => self.send(),
            550..750 => self.deliver(),
            750..830 => self.consume(),
            830..870 => self.command(),
            870..882 => self.add(),
            882..884 => self.drop_watch(),
            884 if !tame => self.forget(),
            885..888 => self.cut(),
            888..908 => self.open(),
            908..912 => self.judge(),
            912..945 => self.pin(),
            945..950 => self.notify(),
            950..955 => self.want_progress(),
            955 if !tame => self.server_cancels(),
            956..958 if !tame => self.change_rights(),
            958 => self.stalled = !self.stalled,
            959 if !tame => self.roll_back(),
            960 if !tame => self.change_cluster(),
            961 => self.want_progress(),
            _ => self.pass_time(),
        }
        self.act();
        self.check();
    }

    /// Stops all faults. All events have to be delivered and all watches in force soon, and no
    /// state may be left after that.
    pub(super) fn settle(&mut self) {
        self.faults = false;
        self.stalled = false;
        self.denied = None;
        self.manner.errs = false;
        if let Net::Open(session) = &mut self.net {
            session.manner.errs = false;
        }
        for round in 0.. {
            assert!(round < 3_000, "it does not settle: {:?}", self.unsettled());
            self.judge();
            for _ in 0..20 {
                self.command();
                self.open();
                self.pin();
                self.accept();
                self.apply();
                self.catch_up();
                self.send();
                self.deliver();
                self.consume();
                self.wait_for_piece();
                self.act();
            }
            self.check();
            if self.unsettled().is_none() {
                break;
            }
            self.pass_time();
            self.act();
        }
        let numbers: Vec<u64> = self.watches.keys().copied().collect();
        if self.rng.bool() && !self.closed {
            log!(self, "close");
            self.closed = true;
            self.machine.close();
        }
        for number in numbers {
            self.cancel(number);
        }
        self.act();
        if let Some(pin) = self.pin.take() {
            let error = Error::new(ErrorKind::Unavailable, "too late");
            self.machine.unpinned(&pin.key, &Arc::new(error), self.now);
        }
        // Removed watches leave the queues when their turn comes.
        self.now += Duration::from_secs(2);
        self.act();
        self.owners.clear();
        self.machine.assert_empty();
        assert_eq!(self.budget_held(), 0, "events are still counted");
    }

    /// Returns why the world is not at rest.
    fn unsettled(&self) -> Option<String> {
        let Net::Open(session) = &self.net else {
            let any = self.watches.values().any(Watch::is_present);
            return any.then(|| "no stream".to_owned());
        };
        if !session.is_quiet(&self.store) {
            return Some("under way".to_owned());
        }
        if !self.commands.is_empty() || self.owners.values().any(|queue| !queue.is_empty()) {
            return Some("to be taken".to_owned());
        }
        for (number, watch) in &self.watches {
            if !watch.is_present() {
                continue;
            }
            if watch.foreign || !watch.created || !self.machine.is_live(*number) {
                return Some(format!("{number} is not in force"));
            }
            let left = self
                .store
                .history(&watch.view, watch.cursor, self.store.revision());
            if !left.is_empty() {
                return Some(format!("{number} has not got {left:?}"));
            }
        }
        if !self.interrupted.is_empty() {
            return Some(format!("{:?} wait to hear of it", self.interrupted));
        }
        if self.exact && !self.manner.own_ids && !self.questions.is_empty() {
            return Some(format!("no answer to {:?}", self.questions));
        }
        None
    }

    /// A restored store is left alone until no watch has a higher revision.
    fn is_frozen(&self) -> bool {
        let revision = self.store.revision();
        self.machine
            .points()
            .iter()
            .any(|(_, _, seen)| *seen > revision)
    }

    fn write(&mut self) {
        if self.is_frozen() {
            return;
        }
        let many = self.rng.u8(..6) == 0;
        let count = if many { KEYS.len() } else { 1 };
        let keys = (0..count).map(|_| KEYS[self.rng.usize(..KEYS.len())]);
        let keys: BTreeSet<_> = keys.collect();
        let large = self.rng.u8(..20) == 0;
        let size = self.rng.usize(..if large { 900 } else { 60 });
        log!(self, "write {} {keys:?}", self.store.revision() + 1);
        self.store.write(&keys, size, &mut self.rng);
    }

    fn compact(&mut self) {
        let revision = self.store.revision();
        let back = self.rng.i64(0..30);
        let revision = (revision - back).max(self.store.compacted(revision)).max(1);
        log!(self, "compact {revision}");
        self.store.compact(revision);
    }

    fn session(&mut self) -> Option<&mut Session> {
        match &mut self.net {
            Net::Open(session) if !self.stalled => Some(session),
            _ => None,
        }
    }

    fn apply(&mut self) {
        if let (Net::Open(session), false) = (&mut self.net, self.stalled) {
            session.apply(&self.store, &mut self.rng);
        }
    }

    fn catch_up(&mut self) {
        if let (Net::Open(session), false) = (&mut self.net, self.stalled) {
            session.catch_up(&self.store, &mut self.rng);
        }
    }

    fn accept(&mut self) {
        if let (Net::Open(session), false) = (&mut self.net, self.stalled) {
            let guard = Guard {
                store: &self.store,
                denied: self.denied,
                token: self.token,
            };
            session.accept(&guard, &mut self.rng);
        }
    }

    fn send(&mut self) {
        if let (Net::Open(session), false) = (&mut self.net, self.stalled) {
            session.send(&self.store, &mut self.rng, self.now);
            self.reasons.append(&mut session.reasons);
        }
    }

    fn notify(&mut self) {
        if let (Net::Open(session), false) = (&mut self.net, self.stalled) {
            session.progress(&self.store, &mut self.rng);
        }
    }

    /// Lets the server finish the fragment that it makes. Otherwise each round would bring one
    /// fragment, and a long history has thousands.
    fn wait_for_piece(&mut self) {
        if let Some(until) = self.session().and_then(|session| session.busy) {
            self.now = self.now.max(until);
        }
    }

    fn server_cancels(&mut self) {
        if let (Net::Open(session), false) = (&mut self.net, self.stalled) {
            session.cancel(&self.store, &mut self.rng);
            self.reasons.append(&mut session.reasons);
        }
    }

    fn deliver(&mut self) {
        let Some(message) = self.session().and_then(|session| session.wire.pop_front()) else {
            return;
        };
        if message.events.len() > self.manner.largest {
            log!(self, "too large: {message:?}");
            self.disconnect();
            let error = Error::new(ErrorKind::MessageTooLarge, "too large");
            return self.machine.failed(error, self.now);
        }
        if message.compact_revision != 0 {
            if let Some(number) = self.machine.named(&message) {
                *self.restarts.entry(number).or_default() += 1;
            }
        }
        log!(self, "deliver {message:?}");
        self.machine.received(message, self.now);
    }

    fn cut(&mut self) {
        let kinds = [
            ErrorKind::Unavailable,
            ErrorKind::NoLeader,
            ErrorKind::MessageTooLarge,
        ];
        let Net::Open(_) = self.net else {
            return;
        };
        let unlikely = self.rng.u8(..20) == 0;
        let kind = kinds[if unlikely { 2 } else { self.rng.usize(..2) }];
        log!(self, "cut: {kind:?}");
        self.disconnect();
        self.machine.failed(Error::new(kind, "cut"), self.now);
    }

    fn disconnect(&mut self) {
        self.net = Net::Closed;
        self.unjudged = false;
        self.exact = false;
        self.stalled = false;
        self.ids.clear();
        self.cancelled_ids.clear();
        self.creations.clear();
        self.restarts.clear();
    }

    fn open(&mut self) {
        let Net::Opening = self.net else {
            return;
        };
        if self.faults && self.rng.u8(..3) == 0 {
            let kinds = [
                ErrorKind::Unavailable,
                ErrorKind::Timeout,
                ErrorKind::NoLeader,
                ErrorKind::AuthenticationFailed,
            ];
            let unlikely = self.rng.u8(..20) == 0;
            let kind = kinds[if unlikely { 3 } else { self.rng.usize(..3) }];
            log!(self, "it does not open: {kind:?}");
            self.disconnect();
            self.machine
                .failed(Error::new(kind, "it does not open"), self.now);
            return;
        }
        let revision = self.store.revision();
        let lag = if self.rng.bool() {
            0
        } else {
            self.rng.i64(0..20)
        };
        let applied = (revision - lag).max(1);
        log!(self, "open at {applied}");
        let session = Session::new(self.manner.clone(), self.own_token, applied);
        self.net = Net::Open(Box::new(session));
        self.unjudged = true;
        self.machine.opened(self.now);
    }

    fn judge(&mut self) {
        if std::mem::take(&mut self.unjudged) {
            let exact = self.manner.exact && self.rng.u8(..4) != 0;
            self.exact = exact;
            if !exact {
                self.questions.clear();
            }
            self.machine.progress_is_exact(exact);
        }
    }

    fn pin(&mut self) {
        let revision = self.store.revision();
        let Some(pin) = &mut self.pin else {
            return;
        };
        if self.faults && self.rng.u8(..8) == 0 {
            let pin = self.pin.take().expect("just seen");
            log!(self, "no pin");
            let error = Arc::new(Error::new(ErrorKind::Unavailable, "no pin"));
            return self.machine.unpinned(&pin.key, &error, self.now);
        }
        let Some(header) = pin.answer else {
            pin.answer = Some(ResponseHeader {
                cluster_id: self.store.cluster,
                member_id: 1,
                revision,
                raft_term: 2,
            });
            return;
        };
        let key = self.pin.take().expect("just seen").key;
        if self.denied.is_some_and(|denied| denied.as_bytes() == key) {
            log!(self, "the pin is denied");
            // The store's revision cannot be learned. The owners get the revision that the stream
            // has shown, and a member may lag behind the question.
            for revision in self.questions.values_mut().flatten() {
                *revision = 0;
            }
            let error = Arc::new(Error::new(ErrorKind::PermissionDenied, "no pin"));
            return self.machine.unpinned(&key, &error, self.now);
        }
        log!(self, "pinned {}", header.revision);
        self.machine.pinned(header);
    }

    fn change_rights(&mut self) {
        if self.rng.bool() {
            let denied = (self.denied.is_none() && self.rng.bool()).then_some("c");
            self.denied = denied;
            self.was_denied.extend(denied);
        } else if !self.machine.has_work() {
            log!(self, "the token is not taken any more");
            self.token += 1;
        }
    }

    fn roll_back(&mut self) {
        if self.is_frozen() || self.rng.u8(..10) != 0 {
            return;
        }
        let from = self.store.revision();
        let to = (from - self.rng.i64(0..20)).max(1);
        log!(self, "roll back to {to}");
        self.store.roll_back(to);
        self.rolled_back.push((from, to));
        for watch in self.watches.values_mut() {
            watch.called = watch.called.min(to);
        }
        for revision in self.questions.values_mut().flatten() {
            *revision = (*revision).min(to);
        }
        self.restart();
    }

    fn change_cluster(&mut self) {
        if self.rng.u8(..10) != 0 {
            return;
        }
        log!(self, "another cluster");
        self.store = Store::new(self.store.cluster + 1);
        for _ in 0..self.rng.usize(..40) {
            let key = KEYS[self.rng.usize(..KEYS.len())];
            self.store.write(&BTreeSet::from([key]), 1, &mut self.rng);
        }
        for revision in self.questions.values_mut().flatten() {
            *revision = 0;
        }
        for watch in self.watches.values_mut() {
            watch.called = 0;
            watch.foreign = self.machine.cluster().is_some();
        }
        self.restart();
    }

    /// Restarts the servers.
    fn restart(&mut self) {
        if let Some(pin) = self.pin.take() {
            let error = Arc::new(Error::new(ErrorKind::Unavailable, "it starts again"));
            self.machine.unpinned(&pin.key, &error, self.now);
        }
        if let Net::Open(_) = self.net {
            self.disconnect();
            let error = Error::new(ErrorKind::Unavailable, "it starts again");
            self.machine.failed(error, self.now);
        }
    }

    fn pass_time(&mut self) {
        let longest = [1, 50, 500, 2_000, 70_000][self.rng.usize(..5)];
        self.now += Duration::from_millis(self.rng.u64(..=longest));
    }

    // Users.

    fn add(&mut self) {
        if self
            .watches
            .values()
            .filter(|watch| watch.is_present())
            .count()
            >= 12
        {
            return;
        }
        self.numbers += 1;
        let number = self.numbers;
        let owner = 1 + self.rng.u64(..4);
        let revision = self.store.revision();
        let key = KEYS[self.rng.usize(..KEYS.len())];
        let start_key = Bytes::from_static(key.as_bytes());
        let range = match self.rng.u8(..4) {
            0 => KeyRange::prefix(start_key),
            1 => KeyRange {
                start: start_key,
                end: Bytes::from_static(b"\0"),
            },
            _ => KeyRange::single(start_key),
        };
        let start = match self.rng.u8(..4) {
            0 => (revision - self.rng.i64(0..30)).max(1),
            1 => revision + self.rng.i64(1..4),
            _ => 0,
        };
        let spec = Spec {
            range: range.clone(),
            namespace: None,
            start,
            no_put: self.rng.u8(..8) == 0,
            no_delete: self.rng.u8(..8) == 0,
            prev_kv: false,
            progress: self.rng.bool(),
            fragment: self.rng.bool(),
            read: None,
        };
        let limits = self.budget.limits();
        let limit = Amount {
            bytes: limits.watch_bytes,
            events: limits.watch_events,
        };
        let backlog = Arc::new(Backlog::new(limit, Arc::clone(&self.budget)));
        let foreign = self
            .machine
            .cluster()
            .is_some_and(|known| known != self.store.cluster);
        log!(self, "add {number} of {owner}: {spec:?}");
        let watch = Watch {
            owner,
            view: View {
                range,
                no_put: spec.no_put,
                no_delete: spec.no_delete,
            },
            spec: spec.clone(),
            limit,
            backlog: Arc::clone(&backlog),
            called: revision,
            cursor: start,
            created: false,
            over: false,
            dropped: false,
            cancelled: false,
            foreign,
        };
        self.watches.insert(number, watch);
        self.deeds.push_back(self.now);
        self.machine
            .add(WatchRef(number), OwnerId(owner), spec, backlog);
    }

    fn drop_watch(&mut self) {
        let all = self
            .watches
            .iter()
            .filter(|(_, watch)| watch.is_present() && !watch.dropped);
        let all: Vec<u64> = all.map(|(number, _)| *number).collect();
        if let Some(number) = self.rng.choice(all) {
            self.watches.get_mut(&number).expect("its key").dropped = true;
            self.commands.push_back(Command::Cancel(number));
        }
    }

    fn forget(&mut self) {
        let owner = 1 + self.rng.u64(..4);
        self.commands.push_back(Command::Forget(owner));
    }

    fn want_progress(&mut self) {
        self.commands
            .push_back(Command::Progress(1 + self.rng.u64(..4)));
    }

    fn consume(&mut self) {
        let all: Vec<u64> = self.owners.keys().copied().collect();
        // Some owners are slow.
        let Some(owner) = self.rng.choice(all) else {
            return;
        };
        if self.faults && owner > 2 && self.rng.u8(..20) != 0 {
            return;
        }
        let queue = self.owners.get_mut(&owner).expect("its key");
        if let Some((number, revision, held)) = queue.pop_front() {
            if self.watches[&number].dropped {
                return;
            }
            if held.take(revision) {
                self.commands.push_back(Command::GoOn(number));
            }
        }
    }

    fn command(&mut self) {
        match self.commands.pop_front() {
            Some(Command::Cancel(number)) => self.cancel(number),
            Some(Command::GoOn(number)) => {
                log!(self, "go on {number}");
                self.deeds.push_back(self.now);
                *self.restarts.entry(number).or_default() += 1;
                self.machine.unpause(WatchRef(number));
            }
            Some(Command::Progress(owner)) => {
                log!(self, "{owner} asks for progress");
                // On a server that is not exact, an owner is told how far its events have come, for
                // ten seconds: nothing, if there were none.
                let is_open = matches!(self.net, Net::Open(_));
                let is_inexact = is_open && !self.exact && !self.unjudged;
                if self.has_watches(owner) && !is_inexact {
                    let revision = self.store.revision();
                    self.questions.entry(owner).or_default().push(revision);
                }
                self.machine.request_progress(OwnerId(owner));
            }
            Some(Command::Forget(owner)) => {
                log!(self, "forget {owner}");
                self.deeds.push_back(self.now);
                for watch in self.watches.values_mut() {
                    watch.cancelled |= watch.owner == owner;
                }
                self.machine.forget(OwnerId(owner));
                // The owner is not told any more.
                self.interrupted.remove(&owner);
                self.leave(owner);
            }
            None => {}
        }
    }

    fn cancel(&mut self, number: u64) {
        log!(self, "cancel {number}");
        self.deeds.push_back(self.now);
        let watch = self.watches.get_mut(&number).expect("its key");
        watch.cancelled = true;
        watch.dropped = true;
        let owner = watch.owner;
        self.machine.cancel(WatchRef(number));
        self.leave(owner);
    }

    fn has_watches(&self, owner: u64) -> bool {
        let mut all = self.watches.values();
        all.any(|watch| watch.owner == owner && watch.is_present())
    }

    /// An owner without watches has no answer to wait for.
    fn leave(&mut self, owner: u64) {
        if !self.has_watches(owner) {
            self.questions.remove(&owner);
        }
    }

    // Steps of the machine.

    fn act(&mut self) {
        for spins in 0.. {
            assert!(spins < 1_000, "the machine does not rest");
            let ready = match &self.net {
                Net::Open(session) => session.requests.len() < 4,
                _ => false,
            };
            match self.machine.next(self.now, ready) {
                Step::Tell(tell) => self.told(tell),
                Step::Pin(key) => {
                    assert!(self.pin.is_none(), "two reads are under way");
                    self.pin = Some(Pin { key, answer: None });
                }
                Step::Open { fresh } => {
                    assert!(matches!(self.net, Net::Closed), "the old stream is there");
                    log!(self, "opening, fresh: {fresh}");
                    if fresh {
                        self.own_token = self.token;
                    }
                    self.net = Net::Opening;
                    self.openings.push_back(self.now);
                }
                Step::Close { .. } => {
                    log!(self, "close");
                    self.disconnect();
                }
                Step::Send(request) => self.sent(request),
                Step::Rest(until) => {
                    if let (Some(until), true) = (until, ready) {
                        assert!(until > self.now, "the machine rests until a past time");
                    }
                    return;
                }
            }
        }
    }

    fn sent(&mut self, request: WatchRequest) {
        let mut number = 0;
        match request.request_union.as_ref().expect("a request") {
            RequestUnion::CreateRequest(create) => {
                number = self.machine.last_asked();
                self.is_sent(number);
                assert!(self.machine.is_asked(number));
                let watch = &self.watches[&number];
                assert!(watch.is_present(), "{number} is gone");
                assert!(self.machine.outstanding() <= WINDOW);
                if self.machine.server_assigns_ids() {
                    assert_eq!(create.watch_id, 0);
                    assert_eq!(self.machine.outstanding(), 1, "one at a time");
                } else {
                    assert!(create.watch_id > 0);
                    assert!(self.ids.insert(create.watch_id), "an ID comes twice");
                }
                let paused = watch.backlog.lag().paused;
                assert!(!paused, "{number} is paused");
            }
            RequestUnion::CancelRequest(cancel) => {
                let id = cancel.watch_id;
                assert!(
                    self.machine.server_assigns_ids() || self.ids.contains(&id),
                    "of no watch"
                );
                assert!(self.cancelled_ids.insert(id), "cancelled twice");
            }
            RequestUnion::ProgressRequest(_) => {
                let Net::Open(session) = &self.net else {
                    panic!("there is no stream");
                };
                let ignored = self.manner.ignores_progress && self.machine.server_assigns_ids();
                assert!(
                    !ignored || session.progress_requests < 6,
                    "it is never answered"
                );
            }
        }
        log!(self, "send {number} {request:?}");
        match &mut self.net {
            Net::Open(session) => session.requests.push_back((request, number)),
            _ => panic!("there is no stream"),
        }
    }
}

mod truth;
