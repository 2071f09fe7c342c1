//! PURE: the responses that tell a watch of changes.

use etcdex_proto::{etcdserverpb as pb, mvccpb};
use prost::{Message, length_delimiter_len};

use crate::kv::pair;
use crate::store::WatchEvent;

/// Length of the tag of the field `events`, in bytes.
const FIELD_TAG: usize = 1;

/// The length from which on a response is split, in bytes.
///
/// Source: etcd, `server/etcdserver/api/v3rpc/watch.go` (`sendFragments`): the largest request, and
/// the allowance for gRPC.
const SPLIT: usize = 2 << 20;

/// The responses for some changes, each made when it is needed.
///
/// A response is split between two revisions if it would be large, and within a revision only if the
/// client takes fragments. etcd sends one response for all changes that it has read; a client
/// cannot tell, because etcd reads them in batches.
pub(super) struct Responses {
    template: pb::WatchResponse,
    events: std::iter::Peekable<std::vec::IntoIter<WatchEvent>>,
    fragment: bool,
}

impl Responses {
    /// `template` is a response without events, and `fragment` whether the client takes fragments.
    pub(super) fn new(
        template: pb::WatchResponse,
        events: Vec<WatchEvent>,
        fragment: bool,
    ) -> Self {
        Self {
            template,
            events: events.into_iter().peekable(),
            fragment,
        }
    }
}

impl Iterator for Responses {
    type Item = pb::WatchResponse;

    fn next(&mut self) -> Option<pb::WatchResponse> {
        self.events.peek()?;
        let mut response = self.template.clone();
        let mut length = pb::WatchResponse {
            fragment: true,
            ..self.template.clone()
        }
        .encoded_len();
        let mut last = None;
        while let Some(next) = self.events.peek() {
            let main = next.change.revision().main;
            let event = event(next);
            let event_length = event.encoded_len();
            length += FIELD_TAG + length_delimiter_len(event_length) + event_length;
            if let Some(last) = last {
                let is_within = last == main;
                if length >= SPLIT && (!is_within || self.fragment) {
                    response.fragment = is_within;
                    break;
                }
            }
            last = Some(main);
            response.events.push(event);
            self.events.next();
        }
        Some(response)
    }
}

fn event(event: &WatchEvent) -> mvccpb::Event {
    let kind = match event.change.is_tombstone() {
        true => mvccpb::event::EventType::Delete,
        false => mvccpb::event::EventType::Put,
    };
    mvccpb::Event {
        r#type: kind.into(),
        kv: Some(pair(&event.change)),
        prev_kv: event.prev_kv.as_ref().map(pair),
    }
}
