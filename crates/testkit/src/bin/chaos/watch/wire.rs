//! Recordings of the messages that servers sent to watches, from the taps of the proxies.
//!
//! Each creation of a watch on a stream begins a recording of its own, from the revision of that
//! request to the end of the stream. The same checkers check it: a violation here is a server's, as
//! the tap is before the faults of the proxy and before the client.

#[cfg(test)]
mod tests;
mod translation;

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use etcdex_proto::etcdserverpb::watch_request::RequestUnion;
use etcdex_proto::etcdserverpb::{WatchRequest, WatchResponse};
use etcdex_testkit::history::{Body, End, Event, Incident, Message, Recording};
use etcdex_testkit::{Delivery, Direction, Passage, Tap};
use prost::Message as _;

use self::translation::{Translation, query};
use crate::clock::Clock;

/// The recordings of all proxies.
#[derive(Default)]
pub(crate) struct WireRecords {
    pub(crate) recordings: Vec<Recording>,
    pub(crate) refusals: Vec<Incident>,
    pub(crate) fragments: usize,
}

/// Time after which a client is expected to use progress that it has received.
const HOLD: Duration = Duration::from_secs(3);
/// Minimum time between two such records of a watch, in microseconds.
const NOTED: u64 = 1_000_000;

/// The end of the reason with which a server refuses a watch because of its stream's token.
///
/// Source: `ErrGRPCInvalidAuthToken` in `api/v3rpc/rpctypes/error.go` of etcd.
const INVALID_TOKEN: &str = "invalid auth token";

/// Records the watches that pass one proxy.
pub(crate) struct Wire {
    name: String,
    clock: Clock,
    /// Whether answers of this server to requests for progress are exact.
    binding: bool,
    stretches: Vec<Stretch>,
    streams: HashMap<(u64, u32), Stream>,
    links: HashMap<u64, Link>,
    translation: Translation,
    /// Watches that a server did not create, or cancelled, with its reason.
    refusals: Vec<Incident>,
    /// Number of fragments that were followed by another one.
    fragments: usize,
    /// Number of messages that could not be decoded.
    pub(crate) broken: u64,
}

/// A watch on one stream.
struct Stretch {
    link: u64,
    recording: Recording,
    /// Number of requests for progress on the stream before the creation of this watch.
    requests_before: u64,
    /// The revision in the answer to the creation.
    created_at: i64,
    /// The progress of each message that has one, with its delivery.
    grounds: Vec<(i64, Delivery)>,
}

/// One stream of watches.
#[derive(Default)]
struct Stream {
    /// Creations without an answer, in order, with the index of their recording.
    asked: VecDeque<usize>,
    /// The index of each watch's recording, and the fragments of an incomplete revision.
    watches: HashMap<i64, (usize, Vec<Event>)>,
    /// Number of requests for progress, and of their answers.
    requests: u64,
    answers: u64,
    /// Watches that the client has cancelled before the answer to their creation.
    cancelled: HashSet<i64>,
    /// The server has refused the token of the stream. The client leaves the stream at that answer,
    /// so no later message of the stream tells it anything.
    is_left: bool,
}

/// When bytes last reached the client over a link.
#[derive(Default)]
struct Link {
    last: Option<Instant>,
    pending: VecDeque<Delivery>,
}

impl Link {
    fn heard(&mut self, delivery: &Delivery) {
        self.pending.push_back(delivery.clone());
        self.look();
    }

    fn look(&mut self) {
        while let Some(at) = self.pending.front().and_then(Delivery::at) {
            self.last = Some(at);
            self.pending.pop_front();
        }
    }
}

impl Stretch {
    /// Returns whether an answer to a request for progress covers this watch.
    ///
    /// Each request has at most one answer, and answers come in order. So answer number n belongs
    /// to request n or a later one. An answer from before the creation of the watch may come after
    /// the answer to the creation, as the two take different paths inside the server. An answer
    /// with a later revision than that of the creation is newer.
    fn is_answered(&self, answers: u64, revision: i64) -> bool {
        answers > self.requests_before || revision > self.created_at
    }
}

impl Wire {
    pub(crate) fn new(name: String, clock: Clock, binding: bool) -> Self {
        Self {
            name,
            clock,
            binding,
            stretches: Vec::new(),
            streams: HashMap::new(),
            links: HashMap::new(),
            translation: Translation::default(),
            refusals: Vec::new(),
            fragments: 0,
            broken: 0,
        }
    }

    /// Records the messages of a tap, until the proxy is dropped.
    pub(crate) async fn listen(mut self, mut tap: Tap) -> Self {
        while let Some(passage) = tap.next().await {
            self.hear(&passage);
        }
        self
    }

    /// Adds the recordings of this proxy to those of the others.
    pub(crate) fn tell(mut self, all: &mut WireRecords) {
        self.settle();
        let recordings = self.stretches.into_iter().map(|stretch| stretch.recording);
        all.recordings.extend(recordings);
        all.refusals.extend(self.refusals);
        all.fragments += self.fragments;
    }

    /// Records the progress that clients have had for a while, over links that stayed open.
    fn settle(&mut self) {
        for link in self.links.values_mut() {
            link.look();
        }
        for stretch in &mut self.stretches {
            let alive = self.links.get(&stretch.link).and_then(|link| link.last);
            let mut noted = 0;
            for (revision, delivery) in stretch.grounds.drain(..) {
                let held = delivery.at().map(|at| at + HOLD);
                let Some(held) = held.filter(|held| alive >= Some(*held)) else {
                    continue;
                };
                let at = self.clock.at(held);
                if at >= noted + NOTED {
                    noted = at;
                    let body = Body::Settled { revision };
                    stretch.recording.messages.push(Message { at, body });
                }
            }
            stretch.recording.messages.sort_by_key(|message| message.at);
        }
    }

    fn hear(&mut self, passage: &Passage) {
        let place = (passage.link, passage.stream);
        let Some(message) = &passage.message else {
            if passage.direction == Direction::ToClient {
                self.streams.remove(&place);
            }
            return;
        };
        let at = self.clock.at(passage.at);
        let heard = match passage.direction {
            Direction::ToServer => self.asked(place, message, at),
            Direction::ToClient => {
                let link = self.links.entry(passage.link).or_default();
                link.heard(&passage.delivered);
                self.answered(place, message, at, &passage.delivered)
            }
        };
        self.broken += u64::from(heard.is_none());
    }

    fn asked(&mut self, place: (u64, u32), message: &Bytes, at: u64) -> Option<()> {
        let request = WatchRequest::decode(message.clone()).ok()?;
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => {
                let number = self.stretches.len();
                let body = Body::Asked {
                    revision: create.start_revision,
                };
                let recording = Recording {
                    name: self.name_of(place, create.watch_id),
                    query: query(&create),
                    messages: vec![Message { at, body }],
                };
                let stream = self.streams.entry(place).or_default();
                self.stretches.push(Stretch {
                    link: place.0,
                    recording,
                    requests_before: stream.requests,
                    created_at: i64::MAX,
                    grounds: Vec::new(),
                });
                stream.asked.push_back(number);
            }
            // No guarantee holds after the cancel: events under way may still come, and etcd leaves
            // the pair before out.
            Some(RequestUnion::CancelRequest(cancel)) => {
                let stream = self.streams.entry(place).or_default();
                match stream.watches.remove(&cancel.watch_id) {
                    Some((number, _)) => {
                        let body = Body::Cancelled;
                        let messages = &mut self.stretches[number].recording.messages;
                        messages.push(Message { at, body });
                    }
                    None => drop(stream.cancelled.insert(cancel.watch_id)),
                }
            }
            Some(RequestUnion::ProgressRequest(_)) => {
                let stream = self.streams.entry(place).or_default();
                stream.requests += 1;
                for (number, _) in stream.watches.values() {
                    let body = Body::Requested;
                    let messages = &mut self.stretches[*number].recording.messages;
                    messages.push(Message { at, body });
                }
            }
            None => {}
        }
        Some(())
    }

    fn name_of(&self, place: (u64, u32), watch_id: i64) -> String {
        let (link, stream) = place;
        format!("{} link {link} stream {stream} watch {watch_id}", self.name)
    }

    fn answered(
        &mut self,
        place: (u64, u32),
        message: &Bytes,
        at: u64,
        delivery: &Delivery,
    ) -> Option<()> {
        let response = WatchResponse::decode(message.clone()).ok()?;
        let header = response.header.map_or(0, |header| header.revision);
        if response.canceled && response.compact_revision == 0 {
            self.refused(place, &response, at);
        }
        if response.created {
            self.created(place, &response, at)?;
        }
        self.fragments += usize::from(response.fragment);
        let events: Vec<Event> = response
            .events
            .iter()
            .map(|event| self.translation.event(event))
            .collect();
        // The watch may have been removed already: a cancelled watch gets no more records.
        let stream = self.streams.get_mut(&place)?;
        if response.watch_id == -1 {
            // A refused watch, which is on no stream.
            if response.created || response.canceled {
                return Some(());
            }
            stream.answers += 1;
            for (number, _) in stream.watches.values() {
                let stretch = &mut self.stretches[*number];
                let binding = self.binding && stretch.is_answered(stream.answers, header);
                let revision = header;
                let body = Body::Answered { revision, binding };
                stretch.recording.messages.push(Message { at, body });
            }
            return Some(());
        }
        let Some((number, pieces)) = stream.watches.get_mut(&response.watch_id) else {
            return Some(());
        };
        let stretch = &mut self.stretches[*number];
        let messages = &mut stretch.recording.messages;
        let mut push = |body| messages.push(Message { at, body });
        let is_left = stream.is_left;
        let mut ground = |revision| {
            if !is_left {
                stretch.grounds.push((revision, delivery.clone()));
            }
        };
        let is_progress = events.is_empty() && !response.created && !response.canceled;
        pieces.extend(events);
        if !response.fragment && !pieces.is_empty() {
            let events = std::mem::take(pieces);
            let revision = events.iter().map(Event::revision).max().unwrap_or(0);
            ground(revision);
            push(Body::Batch {
                header,
                revision,
                events,
            });
        } else if is_progress && !response.fragment {
            ground(header);
            push(Body::Progress { revision: header });
        }
        if response.canceled {
            if response.compact_revision != 0 {
                let revision = response.compact_revision;
                push(Body::Ended(End::Compacted { revision }));
            }
            stream.watches.remove(&response.watch_id);
        }
        Some(())
    }
    /// Records one refusal for each stream: an invalid token refuses a thousand watches.
    fn refused(&mut self, place: (u64, u32), response: &WatchResponse, at: u64) {
        // A watch that the client has cancelled has no reason.
        if response.cancel_reason.is_empty() {
            return;
        }
        if response.cancel_reason.contains(INVALID_TOKEN) {
            self.streams.entry(place).or_default().is_left = true;
        }
        let what = format!(
            "{} link {} stream {}: {}",
            self.name, place.0, place.1, response.cancel_reason
        );
        if self.refusals.last().is_none_or(|last| last.what != what) {
            self.refusals.push(Incident {
                at,
                kind: "refused by a server".to_owned(),
                what,
            });
        }
    }

    /// Answers come in the order of the requests. The ID is the requested one, if there was one,
    /// and -1 if the watch was refused.
    fn created(&mut self, place: (u64, u32), response: &WatchResponse, at: u64) -> Option<()> {
        let stream = self.streams.get_mut(&place)?;
        let number = stream.asked.pop_front()?;
        let cancelled = stream.cancelled.remove(&response.watch_id);
        if response.watch_id == -1 || (response.canceled && response.compact_revision == 0) {
            return Some(());
        }
        if !cancelled {
            let place = (number, Vec::new());
            stream.watches.insert(response.watch_id, place);
        }
        let name = self.name_of(place, response.watch_id);
        let header = response.header.map_or(0, |header| header.revision);
        self.stretches[number].created_at = header;
        let recording = &mut self.stretches[number].recording;
        recording.name = name;
        if recording.query.start_revision == 0 {
            // From now on: the revision of the store at the request, or a later one.
            recording.query.start_revision = header + 1;
        }
        let revision = recording.query.start_revision;
        let bodies = [
            Some(Body::Created { revision }),
            cancelled.then_some(Body::Cancelled),
        ];
        let messages = bodies.into_iter().flatten();
        recording
            .messages
            .extend(messages.map(|body| Message { at, body }));
        Some(())
    }
}
