//! Feeds the machine any messages in any order: there is no panic and no endless loop, and the
//! revisions of each watch rise.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use etcdex_proto::etcdserverpb::watch_request::RequestUnion;
use etcdex_proto::etcdserverpb::{self as pb, WatchRequest, WatchResponse};
use etcdex_proto::mvccpb::{Event, KeyValue};
use prost::Message as _;

use super::amount::Amount;
use super::backlog::Backlog;
use super::budget::MemoryBudget;
use super::entry::{OwnerId, Spec, WatchRef};
use super::resume::{Note, Step, Watches};
use crate::config::WatchLimits;
use crate::error::{Error, ErrorKind};
use crate::key::KeyRange;
use crate::kv::ResponseHeader;

const WATCHES: u64 = 4;

/// More steps than one event of three watches can need.
const MOST_STEPS: usize = 2_000;

/// Plays `input` as a list of events: a byte that chooses one, then its arguments. Returns the
/// number of delivered batches.
pub(crate) fn watch_stream(mut input: &[u8]) -> usize {
    let mut replay = Replay::new();
    replay.settle();
    while input.has_remaining() {
        replay.event(&mut input);
        replay.settle();
    }
    replay.batches
}

/// Executes the steps of the machine without a network.
struct Replay {
    watches: Watches,
    now: Instant,
    /// The key of the read of the store's revision, while one is under way.
    pin: Option<Bytes>,
    told: HashMap<u64, Delivered>,
    batches: usize,
    server: Server,
}

/// A correct server that answers when the input says so.
#[derive(Default)]
struct Server {
    revision: i64,
    /// IDs of watches to be created, in the order of the requests.
    asked: VecDeque<i64>,
    /// IDs and keys of watches in force.
    created: Vec<i64>,
}

impl Server {
    fn sent(&mut self, request: WatchRequest) {
        if let Some(RequestUnion::CreateRequest(create)) = request.request_union {
            self.asked.push_back(create.watch_id);
        }
    }

    /// Forgets the stream.
    fn lost(&mut self) {
        self.asked.clear();
        self.created.clear();
    }

    /// Answers the oldest creation.
    fn create(&mut self) -> Option<WatchResponse> {
        let watch_id = self.asked.pop_front()?;
        self.created.push(watch_id);
        let header = self.header();
        Some(WatchResponse {
            header,
            watch_id,
            created: true,
            ..WatchResponse::default()
        })
    }

    /// Puts a key, and sends the event to one of the watches.
    fn put(&mut self, choice: u8) -> Option<WatchResponse> {
        self.revision += 1;
        let place = usize::from(choice) % self.created.len().max(1);
        let watch_id = *self.created.get(place)?;
        let kv = KeyValue {
            key: Bytes::from_static(b"k"),
            mod_revision: self.revision,
            ..KeyValue::default()
        };
        let event = Event {
            kv: Some(kv),
            ..Event::default()
        };
        let (header, events) = (self.header(), vec![event]);
        Some(WatchResponse {
            header,
            watch_id,
            events,
            ..WatchResponse::default()
        })
    }

    fn header(&self) -> Option<pb::ResponseHeader> {
        Some(pb::ResponseHeader {
            cluster_id: 7,
            revision: self.revision,
            ..pb::ResponseHeader::default()
        })
    }
}

/// The last revision that was delivered to a watch, and whether the watch has ended.
#[derive(Default)]
struct Delivered {
    revision: i64,
    is_over: bool,
}

impl Replay {
    fn new() -> Self {
        let limits = WatchLimits::default();
        let budget = Arc::new(MemoryBudget::new(limits));
        let mut watches = Watches::new(Arc::clone(&budget), false, 1);
        for number in 1..=WATCHES {
            let limit = Amount {
                bytes: 1 << 20,
                events: 100,
            };
            let backlog = Arc::new(Backlog::new(limit, Arc::clone(&budget)));
            watches.add(WatchRef(number), OwnerId(number % 2), spec(number), backlog);
        }
        Self {
            watches,
            now: Instant::now(),
            pin: None,
            told: HashMap::new(),
            batches: 0,
            server: Server::default(),
        }
    }

    fn event(&mut self, input: &mut &[u8]) {
        let (watches, now) = (&mut self.watches, self.now);
        match byte(input) % 12 {
            0..4 => {
                let length = usize::from(byte(input)).min(input.len());
                let (message, rest) = input.split_at(length);
                *input = rest;
                match WatchResponse::decode(message) {
                    Ok(message) => watches.received(message, now),
                    Err(_) => watches.failed(unavailable(), now),
                }
            }
            4 => {
                watches.failed(unavailable(), now);
                self.server.lost();
            }
            5 => self.now += Duration::from_millis(u64::from(byte(input)) * 200),
            6 => {
                let number = u64::from(byte(input)) % (WATCHES + 1);
                watches.cancel(WatchRef(number));
                self.told.entry(number).or_default().is_over = true;
            }
            7 => {
                self.server.revision += i64::from(byte(input) % 4);
                let header = ResponseHeader {
                    cluster_id: 7,
                    revision: self.server.revision.max(1),
                    ..ResponseHeader::default()
                };
                if self.pin.take().is_some() {
                    watches.pinned(header);
                }
            }
            8 => {
                if let Some(key) = self.pin.take() {
                    watches.unpinned(&key, &Arc::new(unavailable()), now);
                }
            }
            9 => {
                if let Some(message) = self.server.create() {
                    watches.received(message, now);
                }
            }
            10 => {
                if let Some(message) = self.server.put(byte(input)) {
                    watches.received(message, now);
                }
            }
            _ => match byte(input) {
                argument @ 0..2 => watches.progress_is_exact(argument == 0),
                argument => watches.request_progress(OwnerId(u64::from(argument % 2))),
            },
        }
    }

    /// Executes steps until the machine rests. INVARIANT: there is a bounded number of steps.
    fn settle(&mut self) {
        for _ in 0..MOST_STEPS {
            match self.watches.next(self.now, true) {
                Step::Tell(tell) => self.tell(tell.note),
                Step::Pin(key) => self.pin = Some(key),
                Step::Open { .. } => {
                    self.server.lost();
                    self.watches.opened(self.now);
                }
                Step::Close { silent } => {
                    if silent {
                        self.watches.failed(unavailable(), self.now);
                    }
                }
                Step::Send(request) => self.server.sent(request),
                Step::Rest(_) => return,
            }
        }
        panic!("the machine does not come to rest");
    }

    /// INVARIANT: the batches of a watch have rising revisions, and nothing follows its end.
    fn tell(&mut self, note: Note) {
        let (watch, revision, ends) = match &note {
            Note::Created {
                watch, revision, ..
            } => (*watch, revision - 1, false),
            Note::Batch { watch, batch, .. } => {
                let told = self.told.entry(watch.0).or_default();
                let first = batch.events.iter().map(|event| event.kv.mod_revision).min();
                assert!(first.is_some_and(|first| first > told.revision), "{note:?}");
                assert!(batch.revision > told.revision, "{note:?}");
                self.batches += 1;
                (*watch, batch.revision, false)
            }
            Note::Progress {
                watch: Some(watch),
                header,
            } => (*watch, header.revision, false),
            Note::End { watch, .. } | Note::Refused { watch, .. } => (*watch, i64::MAX, true),
            Note::Progress { watch: None, .. }
            | Note::Disconnected { .. }
            | Note::Resumed { .. } => return,
        };
        let told = self.told.entry(watch.0).or_default();
        assert!(!told.is_over, "{note:?} after the end of its watch");
        told.revision = told.revision.max(revision);
        told.is_over = ends;
    }
}

/// The first two watches are from now on, the others from a revision.
fn spec(number: u64) -> Spec {
    Spec {
        range: KeyRange::single(Bytes::from(format!("k{number}"))),
        namespace: None,
        start: i64::try_from(number).unwrap_or(0).saturating_sub(2).max(0),
        no_put: false,
        no_delete: false,
        prev_kv: number == 2,
        progress: number == 1,
        fragment: number == 3,
        read: None,
    }
}

fn byte(input: &mut &[u8]) -> u8 {
    input.try_get_u8().unwrap_or(0)
}

fn unavailable() -> Error {
    Error::new(ErrorKind::Unavailable, "the stream is gone")
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    /// Appends an event: mostly one of a server without faults.
    fn append(rng: &mut Rng, input: &mut Vec<u8>) {
        let choice = match rng.u8(..100) {
            0..10 => 0,
            10..12 => 4,
            12..20 => 5,
            20..21 => 6,
            21..30 => 7,
            30..50 => 9,
            50..95 => 10,
            _ => 11,
        };
        input.push(choice);
        match choice {
            9 | 4 => {}
            0 => {
                let message = message(rng).encode_to_vec();
                input.push(u8::try_from(message.len()).expect("one event is under 255 bytes"));
                input.extend(message);
            }
            _ => input.push(rng.u8(..)),
        }
    }

    /// A message that no server should send.
    fn message(rng: &mut Rng) -> WatchResponse {
        let kv = KeyValue {
            mod_revision: rng.i64(-1..90),
            ..KeyValue::default()
        };
        let event = Event {
            kv: Some(kv),
            ..Event::default()
        };
        WatchResponse {
            header: Some(pb::ResponseHeader {
                cluster_id: rng.u64(6..8),
                revision: rng.i64(-1..90),
                ..pb::ResponseHeader::default()
            }),
            watch_id: rng.i64(-1..6),
            created: rng.u8(..8) == 0,
            canceled: rng.u8(..8) == 0,
            compact_revision: rng.i64(0..4),
            fragment: rng.bool(),
            events: vec![event; rng.usize(..2)],
            ..WatchResponse::default()
        }
    }

    /// `ETCDEX_SEED` repeats a run.
    #[test]
    fn the_machine_accepts_any_messages_in_any_order() {
        let seed = crate::tests::seed::seed();
        println!("ETCDEX_SEED={seed}");
        let mut rng = Rng::with_seed(seed);
        let mut batches = 0;
        for _ in 0..2_000 {
            let mut input = Vec::new();
            for _ in 0..60 {
                append(&mut rng, &mut input);
            }
            if rng.bool() {
                let place = rng.usize(..input.len());
                input[place] = rng.u8(..);
            }
            batches += watch_stream(&input);
        }
        println!("{batches} batches");
        assert!(batches > 2_000, "only {batches} batches were told");
    }
}
