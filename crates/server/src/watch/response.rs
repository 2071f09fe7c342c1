//! PURE: the responses that tell a watch of changes.

use etcdex_proto::etcdserverpb as pb;
use prost::Message as _;

use crate::store::WatchEvent;
use crate::wire::{WatchResponse, event_field_length};

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
    type Item = WatchResponse;

    fn next(&mut self) -> Option<WatchResponse> {
        self.events.peek()?;
        let mut rest = self.template.clone();
        let mut length = pb::WatchResponse {
            fragment: true,
            ..self.template.clone()
        }
        .encoded_len();
        let (mut events, mut last) = (Vec::new(), None);
        while let Some(next) = self.events.peek() {
            let main = next.change.revision().main;
            length += event_field_length(next);
            if let Some(last) = last {
                let is_within = last == main;
                if length >= SPLIT && (!is_within || self.fragment) {
                    rest.fragment = is_within;
                    break;
                }
            }
            last = Some(main);
            events.extend(self.events.next());
        }
        Some(WatchResponse { rest, events })
    }
}
