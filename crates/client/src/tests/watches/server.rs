//! A scripted server of watches: it keeps a history, and a test controls its streams.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use etcdex_proto::etcdserverpb::watch_request::RequestUnion;
use etcdex_proto::{etcdserverpb as pb, mvccpb};
use h2::server::SendResponse;
use prost::Message;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

use super::super::peer::{Asked, Peers, framed, head, headers, serve_streams};

pub(super) const WATCH: &str = "/etcdserverpb.Watch/Watch";

/// The behavior of the server on a creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Manner {
    /// Behaves like etcd.
    #[default]
    Create,
    /// Ignores the ID of the client and gives its own.
    Serial,
    /// Answers nothing.
    Silent,
    /// Ends each stream at once with this status.
    Refuse(&'static str, &'static str),
    /// Refuses the creation with this reason.
    Deny(&'static str),
}

/// One stream as seen by the server.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) requests: Vec<RequestUnion>,
    pub(super) token: Option<String>,
    pub(super) wants_leader: bool,
    /// Whether the stream is open.
    pub(super) open: bool,
    /// The watches, by their IDs.
    live: Vec<(i64, pb::WatchCreateRequest)>,
    acts: Option<mpsc::UnboundedSender<Act>>,
}

enum Act {
    Send(Bytes),
    End(&'static str, &'static str),
}

#[derive(Default)]
pub(super) struct State {
    pub(super) manner: Manner,
    /// If set, `manner` applies only to creations on streams with this token, and others succeed.
    pub(super) stale: Option<String>,
    pub(super) revision: i64,
    history: Vec<(i64, Bytes, Bytes)>,
    pub(super) streams: Vec<Seen>,
    pub(super) ranges: Vec<pb::RangeRequest>,
    /// Whether the last Range required a leader.
    pub(super) range_wanted_leader: bool,
    pub(super) logins: usize,
    /// The error of a Range, if it fails.
    pub(super) range_fails: Option<(&'static str, &'static str)>,
    /// Ranges wait while this is set.
    pub(super) holds_ranges: bool,
    held: Vec<Asked>,
    pub(super) login_fails: bool,
    /// The version that the server reports, if it is not 3.6.0.
    pub(super) version: Option<&'static str>,
    /// The revision in the answer to a request for progress, if it is not the store's.
    pub(super) progress_revision: Option<i64>,
    /// Round trip time.
    pub(super) round_trip: Duration,
    /// Creations that were not answered, with their streams.
    unanswered: Vec<(usize, pb::WatchCreateRequest)>,
}

/// A server; clones are the same one.
#[derive(Clone)]
pub(in crate::tests) struct Server(Arc<Mutex<State>>);

impl Server {
    pub(in crate::tests) fn new() -> Self {
        let state = State {
            revision: 10,
            ..State::default()
        };
        Self(Arc::new(Mutex::new(state)))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while it holds this")
    }

    pub(in crate::tests) fn peers(&self) -> Peers {
        let this = self.clone();
        Peers::one(move |_, stream| this.clone().serve(stream))
    }

    pub(super) fn set_manner(&self, manner: Manner) {
        self.state().manner = manner;
    }

    /// Writes a key and sends the event to its watches.
    pub(super) fn put(&self, key: &str, value: &str) -> i64 {
        let mut state = self.state();
        state.revision += 1;
        let revision = state.revision;
        let entry = (revision, key.to_owned().into(), value.to_owned().into());
        for stream in state.streams.iter().filter(|stream| stream.open) {
            for (id, request) in &stream.live {
                if wants(request, &entry) {
                    stream.send(&notify(*id, revision, &[&entry]));
                }
            }
        }
        state.history.push(entry);
        revision
    }

    /// Ends all streams with a status.
    pub(super) fn end_streams(&self, status: &'static str, message: &'static str) {
        for stream in self.state().streams.iter().filter(|stream| stream.open) {
            stream.act(Act::End(status, message));
        }
    }

    /// Sends a message on each open stream.
    pub(super) fn send(&self, message: &pb::WatchResponse) {
        for stream in self.state().streams.iter().filter(|stream| stream.open) {
            stream.send(message);
        }
    }

    pub(super) fn opened(&self) -> usize {
        self.state().streams.len()
    }

    pub(super) fn open(&self) -> usize {
        self.state().streams.iter().filter(|s| s.open).count()
    }

    /// Returns the number of watches at the server.
    pub(super) fn live(&self) -> usize {
        let state = self.state();
        let open = state.streams.iter().filter(|stream| stream.open);
        open.map(|stream| stream.live.len()).sum()
    }

    /// The IDs of the watches of the newest stream, in the order of their creation.
    pub(super) fn ids(&self) -> Vec<i64> {
        let state = self.state();
        let last = state.streams.last().expect("a stream");
        last.live.iter().map(|(id, _)| *id).collect()
    }

    /// Answers the creations without an answer.
    pub(super) fn answer_late(&self) {
        let mut state = self.state();
        for (place, create) in std::mem::take(&mut state.unanswered) {
            let answer = pb::WatchResponse {
                header: header(state.revision),
                watch_id: create.watch_id,
                created: true,
                ..pb::WatchResponse::default()
            };
            state.streams[place].send(&answer);
            state.streams[place].live.push((create.watch_id, create));
        }
    }

    /// Answers the waiting Ranges, and later ones at once.
    pub(super) fn release_ranges(&self) {
        let held = {
            let mut state = self.state();
            state.holds_ranges = false;
            std::mem::take(&mut state.held)
        };
        held.into_iter().for_each(|asked| self.answer_range(asked));
    }

    pub(super) async fn serve(self, stream: DuplexStream) {
        let (this, other) = (self.clone(), self);
        let streams = move |request, reply| this.clone().stream(request, reply);
        serve_streams(stream, WATCH, streams, move |asked| other.answer(asked)).await;
    }

    pub(super) fn answer(&self, asked: Asked) {
        match asked.path.as_str() {
            "/etcdserverpb.KV/Range" => {
                let range = pb::RangeRequest::decode(asked.message.clone()).expect("a range");
                let mut state = self.state();
                state.ranges.push(range);
                state.range_wanted_leader = asked.headers.contains_key("hasleader");
                if state.holds_ranges {
                    state.held.push(asked);
                } else {
                    drop(state);
                    self.answer_range(asked);
                }
            }
            "/etcdserverpb.Auth/Authenticate" => {
                let mut state = self.state();
                state.logins += 1;
                if state.login_fails {
                    let text = "etcdserver: authentication failed, invalid user ID or password";
                    return asked.fail("3", text);
                }
                let token = format!("token-{}", state.logins);
                let header = header(state.revision);
                asked.answer(framed(&pb::AuthenticateResponse { header, token }));
            }
            "/etcdserverpb.Maintenance/Status" => {
                let state = self.state();
                asked.answer(framed(&pb::StatusResponse {
                    header: header(state.revision),
                    version: state.version.unwrap_or("3.6.0").to_owned(),
                    ..pb::StatusResponse::default()
                }));
            }
            _ => asked.answer_well(),
        }
    }

    fn answer_range(&self, asked: Asked) {
        let state = self.state();
        match state.range_fails {
            Some((status, message)) => asked.fail(status, message),
            None => asked.answer(framed(&pb::RangeResponse {
                header: header(state.revision),
                ..pb::RangeResponse::default()
            })),
        }
    }

    pub(super) async fn stream(
        self,
        request: http::Request<h2::RecvStream>,
        mut reply: SendResponse<Bytes>,
    ) {
        let text = |name: &str| {
            let value = request.headers().get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let (sender, mut acts) = mpsc::unbounded_channel();
        let (place, manner) = {
            let mut state = self.state();
            let refused = matches!(state.manner, Manner::Refuse(..));
            state.streams.push(Seen {
                token: text("token"),
                wants_leader: text("hasleader").is_some(),
                open: !refused,
                acts: Some(sender),
                ..Seen::default()
            });
            (state.streams.len() - 1, state.manner)
        };
        if let Manner::Refuse(status, message) = manner {
            let mut head = head("application/grpc");
            head.headers_mut().extend(headers(&[
                ("grpc-status", status),
                ("grpc-message", message),
            ]));
            let _ = reply.send_response(head, true);
            return;
        }
        let Ok(mut stream) = reply.send_response(head("application/grpc"), false) else {
            return;
        };
        let mut body = request.into_body();
        let mut bytes = BytesMut::new();
        let (under_way, mut arrivals) = mpsc::unbounded_channel();
        let this = self.clone();
        tokio::spawn(async move {
            while let Some((due, request)) = arrivals.recv().await {
                tokio::time::sleep_until(due).await;
                this.take(place, request);
            }
        });
        loop {
            tokio::select! {
                act = acts.recv() => match act {
                    Some(Act::Send(frame)) => {
                        let _ = stream.send_data(frame, false);
                    }
                    Some(Act::End(status, message)) => {
                        let pairs = [("grpc-status", status), ("grpc-message", message)];
                        let _ = stream.send_trailers(headers(&pairs));
                        break;
                    }
                    None => break,
                },
                frame = body.data() => {
                    let Some(Ok(frame)) = frame else { break };
                    let _ = body.flow_control().release_capacity(frame.len());
                    bytes.extend_from_slice(&frame);
                    let due = tokio::time::Instant::now() + self.state().round_trip;
                    while let Some(message) = whole(&mut bytes) {
                        let message = pb::WatchRequest::decode(message).expect("a request");
                        let request = message.request_union.expect("one of them");
                        let _ = under_way.send((due, request));
                    }
                }
            }
        }
        let mut state = self.state();
        state.streams[place].open = false;
    }

    fn take(&self, place: usize, request: RequestUnion) {
        let mut state = self.state();
        let State {
            streams,
            manner,
            stale,
            history,
            revision,
            unanswered,
            progress_revision,
            ..
        } = &mut *state;
        let stream = &mut streams[place];
        stream.requests.push(request.clone());
        let answer = pb::WatchResponse {
            header: header(*revision),
            ..pb::WatchResponse::default()
        };
        match request {
            RequestUnion::CreateRequest(create) => {
                let is_stale = stale.is_none() || *stale == stream.token;
                let manner = if is_stale { *manner } else { Manner::Create };
                let watch_id = match manner {
                    Manner::Silent | Manner::Refuse(..) => {
                        return unanswered.push((place, create));
                    }
                    Manner::Serial => stream.free_id(),
                    Manner::Create if create.watch_id == 0 => stream.free_id(),
                    Manner::Create => create.watch_id,
                    Manner::Deny(reason) => {
                        return stream.send(&pb::WatchResponse {
                            watch_id: -1,
                            created: true,
                            canceled: true,
                            cancel_reason: reason.to_owned(),
                            ..answer
                        });
                    }
                };
                stream.send(&pb::WatchResponse {
                    watch_id,
                    created: true,
                    ..answer
                });
                for entry in history.iter().filter(|entry| wants(&create, entry)) {
                    stream.send(&notify(watch_id, *revision, &[entry]));
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
            RequestUnion::ProgressRequest(_) => stream.send(&pb::WatchResponse {
                header: header(progress_revision.unwrap_or(*revision)),
                watch_id: -1,
                ..answer
            }),
        }
    }
}

impl Seen {
    fn act(&self, act: Act) {
        if let Some(acts) = &self.acts {
            let _ = acts.send(act);
        }
    }

    /// Returns an unused ID.
    fn free_id(&self) -> i64 {
        let is_free = |id: &i64| self.live.iter().all(|(taken, _)| taken != id);
        (0..).find(is_free).expect("there are free IDs")
    }

    fn send(&self, message: &pb::WatchResponse) {
        self.act(Act::Send(framed(message)));
    }

    pub(super) fn creations(&self) -> Vec<&pb::WatchCreateRequest> {
        let creations = self.requests.iter().filter_map(|request| match request {
            RequestUnion::CreateRequest(create) => Some(create),
            _ => None,
        });
        creations.collect()
    }

    pub(super) fn cancels(&self) -> Vec<i64> {
        let cancels = self.requests.iter().filter_map(|request| match request {
            RequestUnion::CancelRequest(cancel) => Some(cancel.watch_id),
            _ => None,
        });
        cancels.collect()
    }
}

/// Takes the first message of the buffer, if it is complete.
pub(super) fn whole(bytes: &mut BytesMut) -> Option<Bytes> {
    let length = (bytes.get(1..5)?).get_u32() as usize;
    (bytes.len() >= 5 + length).then(|| bytes.split_to(5 + length).freeze().split_off(5))
}

fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader {
        cluster_id: 7,
        member_id: 1,
        revision,
        raft_term: 2,
    })
}

fn wants(request: &pb::WatchCreateRequest, entry: &(i64, Bytes, Bytes)) -> bool {
    let (revision, key, _) = entry;
    let end = &request.range_end;
    let inside = match &end[..] {
        [] => *key == request.key,
        [0] => *key >= request.key,
        _ => *key >= request.key && key < end,
    };
    inside && *revision >= request.start_revision
}

/// Makes the events as etcd sends them, put by put.
pub(super) fn notify(
    watch_id: i64,
    revision: i64,
    entries: &[&(i64, Bytes, Bytes)],
) -> pb::WatchResponse {
    let events = entries.iter().map(|(revision, key, value)| mvccpb::Event {
        r#type: 0,
        kv: Some(mvccpb::KeyValue {
            key: key.clone(),
            value: value.clone(),
            create_revision: *revision,
            mod_revision: *revision,
            version: 1,
            lease: 0,
        }),
        prev_kv: None,
    });
    pb::WatchResponse {
        header: header(revision),
        watch_id,
        events: events.collect(),
        ..pb::WatchResponse::default()
    }
}
