//! What servers sent to watches, put together from what proxies heard.
//!
//! Each time a watch is created on a stream it is a recording of its own, from that request's
//! revision to the end of the stream. The same checkers judge it: what they find here the
//! servers have done, before any fault of a proxy and before the client had a part in it.

#[cfg(test)]
mod tests;
mod translation;

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;
use etcdex_proto::etcdserverpb::watch_request::RequestUnion;
use etcdex_proto::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use etcdex_testkit::history::{Body, End, Event, Incident, Message, Recording};
use etcdex_testkit::{Direction, Passage, Tap};
use prost::Message as _;

use self::translation::{Translation, query};
use crate::clock::Clock;

/// What was heard on all proxies.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) recordings: Vec<Recording>,
    pub(crate) refusals: Vec<Incident>,
    pub(crate) fragments: usize,
}

/// Listens to one proxy.
pub(crate) struct Wire {
    name: String,
    clock: Clock,
    recordings: Vec<Recording>,
    streams: HashMap<(u64, u32), Stream>,
    translation: Translation,
    /// Watches that a server did not create, or cancelled, and what it said.
    refusals: Vec<Incident>,
    /// Messages that were followed by more of the same revision.
    fragments: usize,
    /// Messages that are no messages of watches.
    pub(crate) broken: u64,
}

/// One stream of watches.
#[derive(Default)]
struct Stream {
    /// Those that were asked for and not answered, in that order.
    asked: VecDeque<WatchCreateRequest>,
    /// Where each is recorded, and what has come of a revision that is not whole.
    watches: HashMap<i64, (usize, Vec<Event>)>,
    /// Those that the client has cancelled before it was told that they are in force.
    cancelled: HashSet<i64>,
}

impl Wire {
    pub(crate) fn new(name: String, clock: Clock) -> Self {
        Self {
            name,
            clock,
            recordings: Vec::new(),
            streams: HashMap::new(),
            translation: Translation::default(),
            refusals: Vec::new(),
            fragments: 0,
            broken: 0,
        }
    }

    /// Takes down what is heard, until the proxy is gone.
    pub(crate) async fn listen(mut self, mut tap: Tap) -> Self {
        while let Some(passage) = tap.next().await {
            self.hear(&passage);
        }
        self
    }

    /// Adds what it has heard to what others have.
    pub(crate) fn tell(self, all: &mut Heard) {
        all.recordings.extend(self.recordings);
        all.refusals.extend(self.refusals);
        all.fragments += self.fragments;
    }

    fn hear(&mut self, passage: &Passage) {
        let place = (passage.link, passage.stream);
        let Some(message) = &passage.message else {
            if passage.direction == Direction::ToClient {
                self.streams.remove(&place);
            }
            return;
        };
        let heard = match passage.direction {
            Direction::ToServer => self.asked(place, message),
            Direction::ToClient => self.answered(place, message, self.clock.at(passage.at)),
        };
        self.broken += u64::from(heard.is_none());
    }

    fn asked(&mut self, place: (u64, u32), message: &Bytes) -> Option<()> {
        let request = WatchRequest::decode(message.clone()).ok()?;
        let stream = self.streams.entry(place).or_default();
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => stream.asked.push_back(create),
            // From here on nothing is promised: what was on its way may come, and etcd leaves
            // out what was there before.
            Some(RequestUnion::CancelRequest(cancel)) => {
                if stream.watches.remove(&cancel.watch_id).is_none() {
                    stream.cancelled.insert(cancel.watch_id);
                }
            }
            Some(RequestUnion::ProgressRequest(_)) | None => {}
        }
        Some(())
    }

    fn answered(&mut self, place: (u64, u32), message: &Bytes, at: u64) -> Option<()> {
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
        // It may be gone from the map already: a watch that was cancelled says no more.
        let stream = self.streams.get_mut(&place)?;
        if response.watch_id == -1 {
            // A watch that was refused, which is of no stream.
            if response.created || response.canceled {
                return Some(());
            }
            for (number, _) in stream.watches.values() {
                let body = Body::Progress { revision: header };
                let messages = &mut self.recordings[*number].messages;
                messages.push(Message { at, body });
            }
            return Some(());
        }
        let Some((number, pieces)) = stream.watches.get_mut(&response.watch_id) else {
            return Some(());
        };
        let messages = &mut self.recordings[*number].messages;
        let mut push = |body| messages.push(Message { at, body });
        let is_progress = events.is_empty() && !response.created && !response.canceled;
        pieces.extend(events);
        if !response.fragment && !pieces.is_empty() {
            let events = std::mem::take(pieces);
            push(Body::Batch {
                header,
                revision: events.iter().map(Event::revision).max().unwrap_or(0),
                events,
            });
        } else if is_progress && !response.fragment {
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

    /// One a stream will do: a token that is not taken refuses a thousand watches.
    fn refused(&mut self, place: (u64, u32), response: &WatchResponse, at: u64) {
        // What the client has cancelled itself has no reason.
        if response.cancel_reason.is_empty() {
            return;
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

    /// Answers come in the order of the requests; the id is the one that was asked for, if one
    /// was, and -1 if the watch was refused.
    fn created(&mut self, place: (u64, u32), response: &WatchResponse, at: u64) -> Option<()> {
        let stream = self.streams.get_mut(&place)?;
        let create = stream.asked.pop_front()?;
        if stream.cancelled.remove(&response.watch_id) {
            return Some(());
        }
        if response.watch_id == -1 || (response.canceled && response.compact_revision == 0) {
            return Some(());
        }
        let mut query = query(&create);
        if query.start_revision == 0 {
            // From now on: what the store was at when it was asked, or later.
            query.start_revision = response.header.map_or(0, |header| header.revision) + 1;
        }
        let number = self.recordings.len();
        self.recordings.push(Recording {
            name: format!(
                "{} link {} stream {} watch {}",
                self.name, place.0, place.1, response.watch_id
            ),
            messages: vec![Message {
                at,
                body: Body::Created {
                    revision: query.start_revision,
                },
            }],
            query,
        });
        stream
            .watches
            .insert(response.watch_id, (number, Vec::new()));
        Some(())
    }
}
