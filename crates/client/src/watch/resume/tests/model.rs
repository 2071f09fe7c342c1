//! A model of etcd: a store with its history, and a member that serves one watch stream.
//!
//! The model behaves like `server/etcdserver/api/v3rpc/watch.go` and `server/storage/mvcc/
//! watchable_store.go`: control replies and events come by two queues, watchers that have fallen behind
//! catch up in batches, and a broadcast of progress waits for all watchers, or overtakes their events.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use etcdex_proto::etcdserverpb::watch_request::RequestUnion;
use etcdex_proto::etcdserverpb::{ResponseHeader, WatchCreateRequest, WatchRequest, WatchResponse};
use etcdex_proto::mvccpb;
use fastrand::Rng;

use crate::key::KeyRange;

pub(super) const KEYS: [&str; 5] = ["a", "b\u{7f}", "b\u{7f}1", "b\u{7f}2", "c"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) key: &'static str,
    pub(super) value: Bytes,
    pub(super) delete: bool,
    pub(super) revision: i64,
}

impl Change {
    fn event(&self) -> mvccpb::Event {
        mvccpb::Event {
            r#type: i32::from(self.delete),
            kv: Some(mvccpb::KeyValue {
                key: Bytes::from_static(self.key.as_bytes()),
                value: self.value.clone(),
                mod_revision: self.revision,
                ..Default::default()
            }),
            prev_kv: None,
        }
    }
}

/// The keys and events that a watch matches.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) range: KeyRange,
    pub(super) no_put: bool,
    pub(super) no_delete: bool,
}

impl View {
    pub(super) fn holds(&self, key: &str) -> bool {
        let (start, end, key) = (&self.range.start[..], &self.range.end[..], key.as_bytes());
        match end {
            b"" => key == start,
            b"\0" => key >= start,
            end => start <= key && key < end,
        }
    }

    fn shows(&self, change: &Change) -> bool {
        let left_out = if change.delete {
            self.no_delete
        } else {
            self.no_put
        };
        !left_out && self.holds(change.key)
    }

    fn of(create: &WatchCreateRequest) -> Self {
        Self {
            range: KeyRange {
                start: create.key.clone(),
                end: create.range_end.clone(),
            },
            no_put: create.filters.contains(&0),
            no_delete: create.filters.contains(&1),
        }
    }
}

/// The history of a store. It begins with revision 1, which has no changes.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) cluster: u64,
    log: Vec<Vec<Change>>,
    /// Compacted revisions, each with the store's revision at the time of the compaction.
    compactions: Vec<(i64, i64)>,
}

impl Store {
    pub(super) fn new(cluster: u64) -> Self {
        Self {
            cluster,
            log: vec![Vec::new()],
            compactions: Vec::new(),
        }
    }

    pub(super) fn revision(&self) -> i64 {
        i64::try_from(self.log.len()).expect("a short history")
    }

    /// Returns the first revision that a member has which has applied so many.
    pub(super) fn compacted(&self, applied: i64) -> i64 {
        let seen = self.compactions.iter().filter(|(_, at)| *at <= applied);
        seen.map(|(revision, _)| *revision).max().unwrap_or(0)
    }

    pub(super) fn write(&mut self, keys: &BTreeSet<&'static str>, size: usize, rng: &mut Rng) {
        let revision = self.revision() + 1;
        let one = |key: &&'static str| {
            let delete = rng.u8(..4) == 0;
            Change {
                key,
                value: if delete {
                    Bytes::new()
                } else {
                    Bytes::from(vec![b'v'; size])
                },
                delete,
                revision,
            }
        };
        self.log.push(keys.iter().map(one).collect());
    }

    pub(super) fn compact(&mut self, revision: i64) {
        self.compactions.push((revision, self.revision()));
    }

    /// Restores the store from a backup of this revision.
    pub(super) fn roll_back(&mut self, revision: i64) {
        self.log
            .truncate(usize::try_from(revision).expect("positive"));
        self.compactions.retain(|(_, at)| *at <= revision);
    }

    /// Returns the changes of these revisions that a watch has to deliver.
    pub(super) fn history(&self, view: &View, from: i64, to: i64) -> Vec<&Change> {
        let from = usize::try_from(from.max(1) - 1).expect("positive");
        let to = usize::try_from(to.max(0))
            .expect("positive")
            .min(self.log.len());
        let revisions = self.log.get(from..to).unwrap_or_default();
        revisions
            .iter()
            .flatten()
            .filter(|change| view.shows(change))
            .collect()
    }
}

/// A watch on the server.
#[derive(Debug)]
struct Watcher {
    /// The number of the client's watch, which a real server does not know.
    number: u64,
    create: WatchCreateRequest,
    view: View,
    next: i64,
    synced: bool,
}

/// The peculiarities of a member.
#[derive(Clone, Debug, Default)]
pub(super) struct Manner {
    /// Progress is sent only after all events: 3.4.25, 3.5.8 and later.
    pub(super) exact: bool,
    /// The member assigns IDs of its own.
    pub(super) own_ids: bool,
    /// A refusal has the requested ID: 3.5.1.
    pub(super) refuses_by_id: bool,
    /// The wrapped text of a refusal.
    pub(super) wraps_reason: bool,
    /// The Created header is read after the watch is registered: 3.6.2 and later.
    pub(super) late_header: bool,
    /// A proxy mixes the fragments of a message with other messages.
    pub(super) interleaves: bool,
    /// The answer to the creation reports a compaction.
    pub(super) refuses_compacted: bool,
    /// The member sometimes finds an unused ID used, or its revisions go back.
    pub(super) errs: bool,
    /// Maximum number of events in a fragment.
    pub(super) piece: usize,
    /// Maximum number of events in a message that the client accepts.
    pub(super) largest: usize,
    /// The time that the server takes for a fragment, for each event of the message. It sends nothing
    /// meanwhile.
    pub(super) per_event: Duration,
    /// The member never answers progress requests: `etcd grpc-proxy`.
    pub(super) ignores_progress: bool,
}

/// The state of the whole server.
pub(super) struct Guard<'a> {
    pub(super) store: &'a Store,
    pub(super) denied: Option<&'static str>,
    pub(super) token: u64,
}

/// One watch stream, with the messages under way in both directions.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) manner: Manner,
    pub(super) token: u64,
    pub(super) applied: i64,
    /// Messages of the client, with the number of the watch to create.
    pub(super) requests: VecDeque<(WatchRequest, u64)>,
    /// Messages to the client.
    pub(super) wire: VecDeque<WatchResponse>,
    watchers: BTreeMap<i64, Watcher>,
    control: VecDeque<WatchResponse>,
    events: VecDeque<WatchResponse>,
    /// Watches whose creation was answered.
    told: BTreeSet<i64>,
    early: BTreeMap<i64, Vec<WatchResponse>>,
    next_id: i64,
    /// The server makes a fragment of a message until this time.
    pub(super) busy: Option<Instant>,
    /// Whether the server sends nothing but events.
    is_stuck: bool,
    /// Number of progress requests that have come.
    pub(super) progress_requests: usize,
    /// The reasons of refusals, and their watches.
    pub(super) reasons: Vec<(String, u64)>,
}

impl Session {
    pub(super) fn new(manner: Manner, token: u64, applied: i64) -> Self {
        Self {
            manner,
            token,
            applied,
            requests: VecDeque::new(),
            wire: VecDeque::new(),
            watchers: BTreeMap::new(),
            control: VecDeque::new(),
            events: VecDeque::new(),
            told: BTreeSet::new(),
            early: BTreeMap::new(),
            next_id: 0,
            busy: None,
            is_stuck: false,
            progress_requests: 0,
            reasons: Vec::new(),
        }
    }

    fn header(&self, store: &Store, revision: i64) -> Option<ResponseHeader> {
        Some(ResponseHeader {
            cluster_id: store.cluster,
            member_id: 1,
            revision,
            raft_term: 2,
        })
    }

    fn response(&self, store: &Store, watch_id: i64) -> WatchResponse {
        WatchResponse {
            header: self.header(store, self.applied),
            watch_id,
            ..Default::default()
        }
    }

    /// Takes the next request.
    pub(super) fn accept(&mut self, guard: &Guard<'_>, rng: &mut Rng) {
        let Some((request, number)) = self.requests.pop_front() else {
            return;
        };
        match request.request_union {
            Some(RequestUnion::CreateRequest(_)) if self.manner.errs && rng.u8(..50) == 0 => {
                let mut refusal = self.response(guard.store, -1);
                refusal.created = true;
                refusal.canceled = true;
                "mvcc: duplicate watch ID provided on the WatchStream"
                    .clone_into(&mut refusal.cancel_reason);
                self.control.push_back(refusal);
            }
            Some(RequestUnion::CreateRequest(create)) => {
                self.is_stuck |= self.manner.errs && rng.u8(..50) == 0;
                self.create(guard, create, number);
            }
            Some(RequestUnion::CancelRequest(cancel)) => {
                if self.watchers.remove(&cancel.watch_id).is_some() {
                    let mut canceled = self.response(guard.store, cancel.watch_id);
                    canceled.canceled = true;
                    self.control.push_back(canceled);
                }
            }
            Some(RequestUnion::ProgressRequest(_)) if self.manner.ignores_progress => {
                self.progress_requests += 1;
            }
            Some(RequestUnion::ProgressRequest(_)) => {
                self.progress_requests += 1;
                let progress = self.response(guard.store, -1);
                let late = |watcher: &Watcher| {
                    !watcher.synced || watcher.create.start_revision > self.applied
                };
                if !self.manner.exact {
                    self.control.push_back(progress);
                } else if !self.watchers.values().any(late) {
                    self.events.push_back(progress);
                }
            }
            None => panic!("an empty request"),
        }
    }

    fn create(&mut self, guard: &Guard<'_>, create: WatchCreateRequest, number: u64) {
        assert!(create.progress_notify, "progress is always asked for");
        let id = if self.manner.own_ids || create.watch_id == 0 {
            self.next_id += 1;
            self.next_id - 1
        } else {
            create.watch_id
        };
        let mut answer = self.response(guard.store, id);
        answer.created = true;
        let view = View::of(&create);
        let denied = guard.denied.is_some_and(|key| view.holds(key));
        if denied || guard.token != self.token {
            answer.canceled = true;
            if !self.manner.refuses_by_id {
                answer.watch_id = -1;
            }
            let text = if denied || !self.manner.wraps_reason {
                "etcdserver: permission denied"
            } else {
                "etcdserver: invalid auth token"
            };
            answer.cancel_reason = if self.manner.wraps_reason {
                format!("rpc error: code = PermissionDenied desc = {text}")
            } else {
                text.to_owned()
            };
            self.control.push_back(answer);
            return;
        }
        let compacted = guard.store.compacted(self.applied);
        if self.manner.refuses_compacted && create.start_revision < compacted {
            answer.canceled = true;
            answer.compact_revision = compacted;
            self.control.push_back(answer);
            return;
        }
        assert!(!self.watchers.contains_key(&id), "an ID comes twice");
        let next = create.start_revision;
        assert!(next > 0, "now is left to the server");
        self.control.push_back(answer);
        let synced = next > self.applied;
        self.watchers.insert(
            id,
            Watcher {
                number,
                create,
                view,
                next,
                synced,
            },
        );
    }

    /// Applies one more revision at the member, and notifies synced watches if there is room.
    pub(super) fn apply(&mut self, store: &Store, rng: &mut Rng) {
        if self.applied >= store.revision() {
            return;
        }
        self.applied += 1;
        let mut ids: Vec<i64> = self.watchers.keys().copied().collect();
        rng.shuffle(&mut ids);
        for id in ids {
            let watcher = self.watchers.get_mut(&id).expect("its key");
            if !watcher.synced || watcher.next > self.applied {
                continue;
            }
            watcher.next = self.applied;
            if rng.u8(..8) == 0 {
                watcher.synced = false;
                continue;
            }
            watcher.next += 1;
            let view = watcher.view.clone();
            self.notify(store, id, &view, self.applied, self.applied);
        }
    }

    fn notify(&mut self, store: &Store, id: i64, view: &View, from: i64, to: i64) {
        let changes = store.history(view, from, to);
        if changes.is_empty() {
            return;
        }
        let mut response = self.response(store, id);
        response.events = changes.into_iter().map(Change::event).collect();
        self.events.push_back(response);
    }

    /// Sends some of the missed events to a watch that is behind.
    pub(super) fn catch_up(&mut self, store: &Store, rng: &mut Rng) {
        let behind = self.watchers.iter().filter(|(_, watcher)| !watcher.synced);
        let behind: Vec<i64> = behind.map(|(id, _)| *id).collect();
        let Some(id) = rng.choice(behind) else {
            return;
        };
        let watcher = self.watchers.get_mut(&id).expect("its key");
        let compacted = store.compacted(self.applied);
        if watcher.next < compacted {
            self.watchers.remove(&id);
            let canceled = WatchResponse {
                header: self.header(store, 0),
                watch_id: id,
                canceled: true,
                compact_revision: compacted,
                ..Default::default()
            };
            self.events.push_back(canceled);
            return;
        }
        let (from, to) = (
            watcher.next,
            (watcher.next + rng.i64(0..6)).min(self.applied),
        );
        watcher.next = to + 1;
        watcher.synced = watcher.next > self.applied;
        let view = watcher.view.clone();
        self.notify(store, id, &view, from, to);
    }

    /// Sends progress to an idle watch.
    pub(super) fn progress(&mut self, store: &Store, rng: &mut Rng) {
        let (applied, exact) = (self.applied, self.manner.exact);
        // Servers that are not exact send it to watches of the future, too.
        let begun = |watcher: &Watcher| watcher.create.start_revision <= applied;
        let idle = |watcher: &Watcher| watcher.synced && (!exact || begun(watcher));
        let synced = self.watchers.iter().filter(|(_, watcher)| idle(watcher));
        if let Some(id) = rng.choice(synced.map(|(id, _)| *id).collect::<Vec<_>>()) {
            self.events.push_back(self.response(store, id));
        }
    }

    /// The server cancels a watch.
    pub(super) fn cancel(&mut self, store: &Store, rng: &mut Rng) {
        let Some(id) = rng.choice(self.watchers.keys().copied().collect::<Vec<_>>()) else {
            return;
        };
        let number = self.watchers.remove(&id).expect("its key").number;
        let mut canceled = self.response(store, id);
        canceled.canceled = true;
        if rng.bool() {
            canceled.cancel_reason = format!("reason {number} of {}", store.revision());
        }
        self.reasons.push((canceled.cancel_reason.clone(), number));
        if rng.bool() {
            self.events.push_back(canceled.clone());
        }
        self.events.push_back(canceled);
    }

    /// Sends the next response, or a fragment of it.
    pub(super) fn send(&mut self, store: &Store, rng: &mut Rng, now: Instant) {
        if self.busy.is_some_and(|until| until > now) {
            return;
        }
        self.busy = None;
        let control = !self.control.is_empty() && !self.is_stuck;
        let control = control && (self.events.is_empty() || rng.bool());
        if control {
            let mut answer = self.control.pop_front().expect("not empty");
            if answer.created && self.manner.late_header {
                answer.header = self.header(store, self.applied);
            }
            let id = answer.watch_id;
            if answer.created && !answer.canceled {
                self.told.insert(id);
            } else if answer.canceled {
                self.told.remove(&id);
            }
            self.wire.push_back(answer);
            for (place, early) in self
                .early
                .remove(&id)
                .unwrap_or_default()
                .into_iter()
                .enumerate()
            {
                self.events.insert(place, early);
            }
            return;
        }
        let place = if self.manner.interleaves && rng.bool() {
            self.other_place()
        } else {
            0
        };
        let Some(mut response) = self.events.remove(place) else {
            return;
        };
        let id = response.watch_id;
        if id != -1 && !self.told.contains(&id) {
            self.early.entry(id).or_default().push(response);
            return;
        }
        if response.canceled {
            self.told.remove(&id);
        }
        let fragments = self
            .watchers
            .get(&id)
            .is_some_and(|watcher| watcher.create.fragment);
        if fragments && response.events.len() > self.manner.piece {
            let events = u32::try_from(response.events.len()).expect("few");
            self.busy = Some(now + self.manner.per_event * events);
            let mut rest = response.clone();
            rest.events = response.events.split_off(self.manner.piece);
            response.fragment = true;
            self.events.insert(place, rest);
        }
        // The client could not notice it in fragments.
        let first = response.events.first().and_then(|event| event.kv.as_ref());
        let last = response.events.last().and_then(|event| event.kv.as_ref());
        let several = first.map(|kv| kv.mod_revision) != last.map(|kv| kv.mod_revision);
        if self.manner.errs && several && !fragments && rng.u8(..20) == 0 {
            response.events.reverse();
        }
        self.wire.push_back(response);
    }

    /// Returns the index of the first message of another watch than the next one.
    fn other_place(&self) -> usize {
        let Some(first) = self.events.front().filter(|first| first.watch_id != -1) else {
            return 0;
        };
        let mut until = self.events.iter().take_while(|next| next.watch_id != -1);
        until
            .position(|next| next.watch_id != first.watch_id)
            .unwrap_or(0)
    }

    pub(super) fn is_quiet(&self, store: &Store) -> bool {
        self.applied == store.revision()
            && self.requests.is_empty()
            && self.wire.is_empty()
            && !self
                .control
                .iter()
                .any(|answer| answer.created || !self.is_stuck)
            && self.events.is_empty()
            && self.watchers.values().all(|watcher| watcher.synced)
    }
}
