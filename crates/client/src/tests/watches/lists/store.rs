//! A scripted etcd with a store. A test can compact it, roll it back, or replace it by another
//! cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};
use etcdex_proto::etcdserverpb::watch_request::RequestUnion;
use etcdex_proto::{etcdserverpb as pb, mvccpb};
use h2::server::SendResponse;
use prost::Message;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

use super::super::super::peer::{Asked, Peers, framed, head, headers, serve_streams};
use super::super::server::{WATCH, whole};
use crate::KeyValue;

/// The keys of a store with the revision of their last change and their value.
pub(super) type Pairs = BTreeMap<Bytes, (i64, Bytes)>;

/// Converts a consumer's copy, for a comparison with a store.
pub(super) fn pairs(copy: &BTreeMap<Bytes, KeyValue>) -> Pairs {
    let pair = |(key, kv): (&Bytes, &KeyValue)| (key.clone(), (kv.mod_revision, kv.value.clone()));
    copy.iter().map(pair).collect()
}

/// One revision: the keys that it changes, with their new values.
#[derive(Clone, Debug)]
struct Change {
    revision: i64,
    keys: Vec<(Bytes, Option<Bytes>)>,
}

/// Changes of a store until it was rolled back or replaced.
#[derive(Clone, Debug)]
struct History {
    cluster: u64,
    revision: i64,
    compacted: i64,
    changes: Vec<Change>,
}

impl History {
    fn at(&self, revision: i64) -> Pairs {
        let mut pairs = Pairs::new();
        for change in self.changes.iter().filter(|c| c.revision <= revision) {
            for (key, value) in &change.keys {
                match value {
                    Some(value) => pairs.insert(key.clone(), (change.revision, value.clone())),
                    None => pairs.remove(key),
                };
            }
        }
        pairs
    }
}

#[derive(Debug)]
struct Watching {
    acts: mpsc::UnboundedSender<Act>,
    live: Vec<(i64, pb::WatchCreateRequest)>,
    open: bool,
}

#[derive(Debug)]
enum Act {
    Send(Bytes),
    End,
}

/// How a server reports that the revisions of a watch were compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compaction {
    /// Creates the watch and cancels it with the next message, as etcd does.
    Cancels,
    /// Creates and cancels the watch in one message.
    Refuses,
    /// Does so for all watches, also those at a revision that exists.
    RefusesAll,
}

pub(super) struct State {
    history: History,
    /// Earlier histories.
    past: Vec<History>,
    streams: Vec<Watching>,
    writes: u64,
    /// The errors of the next Ranges.
    pub(super) range_refusals: Vec<(&'static str, &'static str)>,
    /// Number of the oldest valid token; no token is valid if it is `u64::MAX`.
    pub(super) oldest_token: u64,
    logins: u64,
    /// Ranges that wait for a leader.
    unanswered: Vec<Asked>,
    /// Drops events instead of sending them: the stream will be cut.
    pub(super) loses: bool,
    /// Refuses streams with `no leader`.
    pub(super) leaderless: bool,
    /// The answer to a creation at a compacted revision.
    pub(super) compaction: Compaction,
    pub(super) ranges: usize,
    pub(super) creations: Vec<i64>,
}

/// The server; clones are the same one.
#[derive(Clone)]
pub(super) struct Store(Arc<Mutex<State>>);

impl Store {
    /// Makes a store of cluster 1 at this revision, with that number of keys.
    pub(super) fn new(revision: i64, keys: usize) -> Self {
        let mut state = State {
            history: History {
                cluster: 1,
                revision,
                compacted: 0,
                changes: Vec::new(),
            },
            past: Vec::new(),
            streams: Vec::new(),
            writes: 0,
            range_refusals: Vec::new(),
            oldest_token: 0,
            logins: 0,
            unanswered: Vec::new(),
            loses: false,
            leaderless: false,
            compaction: Compaction::Cancels,
            ranges: 0,
            creations: Vec::new(),
        };
        state.fill(keys);
        Self(Arc::new(Mutex::new(state)))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while it holds this")
    }

    pub(super) fn peers(&self) -> Peers {
        let this = self.clone();
        Peers::one(move |_, stream| this.clone().serve(stream))
    }

    /// Writes a key, sends the event to the watches, and returns the revision.
    pub(super) fn put(&self, key: impl Into<Bytes>) -> i64 {
        self.state().put(key.into())
    }

    pub(super) fn delete(&self, key: &str) -> i64 {
        self.state().delete(&[key.to_owned().into()])
    }

    pub(super) fn revision(&self) -> i64 {
        self.state().history.revision
    }

    pub(super) fn pairs(&self) -> Pairs {
        let state = self.state();
        state.history.at(state.history.revision)
    }

    /// Returns whether this history or an earlier one had these pairs at a revision.
    pub(super) fn was(&self, revision: i64, pairs: &Pairs) -> bool {
        let state = self.state();
        let mut all = state.past.iter().chain([&state.history]);
        all.any(|history| history.revision >= revision && history.at(revision) == *pairs)
    }

    pub(super) fn compact(&self, revision: i64) {
        let mut state = self.state();
        state.history.compacted = state.history.compacted.max(revision);
    }

    /// Ends all streams.
    pub(super) fn cut(&self) {
        self.state().cut();
    }

    /// Rolls the store back to a revision, and ends its streams.
    pub(super) fn roll_back(&self, revision: i64) {
        let mut state = self.state();
        let past = state.history.clone();
        state.past.push(past);
        state.history.changes.retain(|c| c.revision <= revision);
        state.history.revision = revision;
        state.history.compacted = 0;
        state.cut();
    }

    /// Replaces the store by one of another cluster at this revision, with that number of keys, and
    /// ends the streams.
    pub(super) fn change_cluster(&self, revision: i64, keys: usize) {
        let mut state = self.state();
        let history = History {
            cluster: state.history.cluster + 1,
            revision,
            compacted: 0,
            changes: Vec::new(),
        };
        let past = std::mem::replace(&mut state.history, history);
        state.past.push(past);
        state.fill(keys);
        state.cut();
    }

    pub(super) async fn serve(self, stream: DuplexStream) {
        let (this, other) = (self.clone(), self);
        let streams = move |request, reply| this.clone().stream(request, reply);
        serve_streams(stream, WATCH, streams, move |asked| other.answer(asked)).await;
    }

    fn answer(&self, asked: Asked) {
        match asked.path.as_str() {
            "/etcdserverpb.KV/Range" => {
                let token = asked.headers.get("token");
                let token = token.map(|token| token.to_str().unwrap_or_default().to_owned());
                let request = pb::RangeRequest::decode(asked.message.clone()).expect("a range");
                let wants_leader = asked.headers.contains_key("hasleader");
                if self.state().leaderless {
                    if wants_leader {
                        return asked.fail("14", "etcdserver: no leader");
                    }
                    // The request waits for a leader.
                    self.state().unanswered.push(asked);
                    return;
                }
                let outcome = self.state().range(&request, token.as_deref());
                match outcome {
                    Ok(reply) => asked.answer(framed(&reply)),
                    Err((status, message)) => asked.fail(status, message),
                }
            }
            "/etcdserverpb.Auth/Authenticate" => {
                let mut state = self.state();
                state.logins += 1;
                let (header, token) = (state.header(), format!("token-{}", state.logins));
                asked.answer(framed(&pb::AuthenticateResponse { header, token }));
            }
            "/etcdserverpb.Maintenance/Status" => asked.answer(framed(&pb::StatusResponse {
                header: self.state().header(),
                version: "3.6.0".to_owned(),
                ..pb::StatusResponse::default()
            })),
            _ => asked.answer_well(),
        }
    }

    async fn stream(self, request: http::Request<h2::RecvStream>, mut reply: SendResponse<Bytes>) {
        let token = request.headers().get("token");
        let token = token.map(|token| token.to_str().unwrap_or_default().to_owned());
        let (acts, mut arrivals) = mpsc::unbounded_channel();
        let place = {
            let mut state = self.state();
            if state.leaderless && request.headers().contains_key("hasleader") {
                let mut head = head("application/grpc");
                let status = [
                    ("grpc-status", "14"),
                    ("grpc-message", "etcdserver: no leader"),
                ];
                head.headers_mut().extend(headers(&status));
                let _ = reply.send_response(head, true);
                return;
            }
            let live = Vec::new();
            let open = true;
            state.streams.push(Watching { acts, live, open });
            state.streams.len() - 1
        };
        let Ok(mut stream) = reply.send_response(head("application/grpc"), false) else {
            return;
        };
        let mut body = request.into_body();
        let mut bytes = BytesMut::new();
        loop {
            tokio::select! {
                act = arrivals.recv() => match act {
                    Some(Act::Send(frame)) => {
                        let _ = stream.send_data(frame, false);
                    }
                    Some(Act::End) | None => {
                        let pairs = [("grpc-status", "14"), ("grpc-message", "gone")];
                        let _ = stream.send_trailers(headers(&pairs));
                        break;
                    }
                },
                frame = body.data() => {
                    let Some(Ok(frame)) = frame else { break };
                    let _ = body.flow_control().release_capacity(frame.len());
                    bytes.extend_from_slice(&frame);
                    while let Some(message) = whole(&mut bytes) {
                        let message = pb::WatchRequest::decode(message).expect("a request");
                        let request = message.request_union.expect("one of them");
                        self.state().take(place, request, token.as_deref());
                    }
                }
            }
        }
        self.state().streams[place].open = false;
    }
}

impl State {
    fn header(&self) -> Option<pb::ResponseHeader> {
        Some(pb::ResponseHeader {
            cluster_id: self.history.cluster,
            member_id: 1,
            revision: self.history.revision,
            raft_term: 2,
        })
    }

    fn fill(&mut self, keys: usize) {
        for number in 0..keys {
            self.put(format!("k{number:03}").into());
        }
    }

    pub(super) fn put(&mut self, key: Bytes) -> i64 {
        self.writes += 1;
        let value = Bytes::from(format!("v{}", self.writes));
        self.write(vec![(key, Some(value))])
    }

    /// Deletes the existing ones of these keys in one revision.
    pub(super) fn delete(&mut self, keys: &[Bytes]) -> i64 {
        let present = self.history.at(self.history.revision);
        let gone = keys.iter().filter(|key| present.contains_key(*key));
        let gone: BTreeSet<_> = gone.cloned().collect();
        let gone: Vec<_> = gone.into_iter().map(|key| (key, None)).collect();
        if gone.is_empty() {
            return self.history.revision;
        }
        self.write(gone)
    }

    fn write(&mut self, keys: Vec<(Bytes, Option<Bytes>)>) -> i64 {
        self.history.revision += 1;
        let revision = self.history.revision;
        let change = Change { revision, keys };
        let header = self.header();
        if !self.loses {
            for stream in self.streams.iter().filter(|stream| stream.open) {
                for (watch_id, create) in &stream.live {
                    stream.send_events(header, *watch_id, create, &change);
                }
            }
        }
        self.history.changes.push(change);
        revision
    }

    fn cut(&mut self) {
        for stream in &mut self.streams {
            stream.live.clear();
            let _ = stream.acts.send(Act::End);
        }
        self.loses = false;
    }

    fn refuses(&self, token: Option<&str>) -> bool {
        let number = token.and_then(|token| token.strip_prefix("token-")?.parse().ok());
        self.oldest_token > 0 && number.is_none_or(|number: u64| number < self.oldest_token)
    }

    /// Revokes all tokens.
    pub(super) fn revoke_tokens(&mut self) {
        self.oldest_token = self.logins + 1;
    }

    fn range(
        &mut self,
        request: &pb::RangeRequest,
        token: Option<&str>,
    ) -> Result<pb::RangeResponse, (&'static str, &'static str)> {
        self.ranges += 1;
        if !self.range_refusals.is_empty() {
            return Err(self.range_refusals.remove(0));
        }
        if self.refuses(token) {
            return Err(("16", "etcdserver: invalid auth token"));
        }
        let revision = match request.revision {
            0 => self.history.revision,
            revision => revision,
        };
        if revision > self.history.revision {
            let text = "etcdserver: mvcc: required revision is a future revision";
            return Err(("11", text));
        }
        if revision < self.history.compacted {
            let text = "etcdserver: mvcc: required revision has been compacted";
            return Err(("11", text));
        }
        let all = self.history.at(revision);
        let mut chosen: Vec<_> = all
            .into_iter()
            .filter(|(key, _)| is_inside(&request.key, &request.range_end, key))
            .collect();
        let count = chosen.len();
        let limit = usize::try_from(request.limit).unwrap_or(0);
        if limit > 0 {
            chosen.truncate(limit);
        }
        if request.count_only {
            chosen.clear();
        }
        let kvs = chosen
            .into_iter()
            .map(|(key, (revision, value))| pair(key, revision, value))
            .collect::<Vec<_>>();
        Ok(pb::RangeResponse {
            header: self.header(),
            more: limit > 0 && count > limit,
            kvs,
            count: i64::try_from(count).unwrap_or(i64::MAX),
        })
    }

    fn take(&mut self, place: usize, request: RequestUnion, token: Option<&str>) {
        let refused = self.refuses(token);
        let header = self.header();
        let answer = pb::WatchResponse {
            header,
            ..pb::WatchResponse::default()
        };
        let stream = &mut self.streams[place];
        match request {
            RequestUnion::CreateRequest(create) if refused => {
                let reason = "rpc error: code = Unauthenticated desc = etcdserver: invalid auth \
                              token";
                stream.send(&pb::WatchResponse {
                    watch_id: -1,
                    created: true,
                    canceled: true,
                    cancel_reason: reason.to_owned(),
                    ..answer
                });
                drop(create);
            }
            RequestUnion::CreateRequest(create) => {
                self.creations.push(create.start_revision);
                let watch_id = create.watch_id;
                let is_compacted = create.start_revision < self.history.compacted;
                let refuses = match self.compaction {
                    Compaction::Cancels => false,
                    Compaction::Refuses => create.start_revision > 0 && is_compacted,
                    Compaction::RefusesAll => true,
                };
                stream.send(&pb::WatchResponse {
                    watch_id,
                    created: true,
                    canceled: refuses,
                    compact_revision: if refuses {
                        self.history.compacted.max(create.start_revision + 1)
                    } else {
                        0
                    },
                    ..answer
                });
                if refuses {
                    return;
                }
                if create.start_revision > 0 && is_compacted {
                    // The header of etcd's cancellation has no revision.
                    let header = header.map(|header| pb::ResponseHeader {
                        revision: 0,
                        ..header
                    });
                    return stream.send(&pb::WatchResponse {
                        header,
                        watch_id,
                        canceled: true,
                        compact_revision: self.history.compacted,
                        ..pb::WatchResponse::default()
                    });
                }
                for change in &self.history.changes {
                    stream.send_events(header, watch_id, &create, change);
                }
                stream.live.push((watch_id, create));
            }
            RequestUnion::CancelRequest(cancel) => {
                stream.live.retain(|(id, _)| *id != cancel.watch_id);
                stream.send(&pb::WatchResponse {
                    watch_id: cancel.watch_id,
                    canceled: true,
                    ..answer
                });
            }
            // An answer would mean that all events have been sent.
            RequestUnion::ProgressRequest(_) if self.loses => {}
            RequestUnion::ProgressRequest(_) => stream.send(&pb::WatchResponse {
                watch_id: -1,
                ..answer
            }),
        }
    }

    /// Cancels all watches without a reason.
    pub(super) fn cancel_all(&mut self) {
        let header = self.header();
        for stream in &mut self.streams {
            for (watch_id, _) in std::mem::take(&mut stream.live) {
                stream.send(&pb::WatchResponse {
                    header,
                    watch_id,
                    canceled: true,
                    ..pb::WatchResponse::default()
                });
            }
        }
    }
}

impl Watching {
    fn send(&self, message: &pb::WatchResponse) {
        let _ = self.acts.send(Act::Send(framed(message)));
    }

    fn send_events(
        &self,
        header: Option<pb::ResponseHeader>,
        watch_id: i64,
        create: &pb::WatchCreateRequest,
        change: &Change,
    ) {
        if change.revision < create.start_revision {
            return;
        }
        let mine = change.keys.iter();
        let mine = mine.filter(|(key, _)| is_inside(&create.key, &create.range_end, key));
        let events: Vec<_> = mine
            .map(|(key, value)| mvccpb::Event {
                r#type: i32::from(value.is_none()),
                kv: Some(pair(
                    key.clone(),
                    change.revision,
                    value.clone().unwrap_or_default(),
                )),
                prev_kv: None,
            })
            .collect();
        if !events.is_empty() {
            self.send(&pb::WatchResponse {
                header,
                watch_id,
                events,
                ..pb::WatchResponse::default()
            });
        }
    }
}

fn is_inside(start: &Bytes, end: &Bytes, key: &Bytes) -> bool {
    match &end[..] {
        [] => key == start,
        [0] => key >= start,
        _ => key >= start && key < end,
    }
}

fn pair(key: Bytes, mod_revision: i64, value: Bytes) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key,
        value,
        create_revision: mod_revision,
        mod_revision,
        version: 1,
        lease: 0,
    }
}
