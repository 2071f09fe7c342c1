//! Answers of servers to requests for locks, as a proxy receives them.

use std::sync::Arc;

use etcdex_proto::v3lockpb::LockResponse;
use etcdex_testkit::leases::Reply;
use etcdex_testkit::{Direction, Tap};
use prost::Message as _;

use crate::clock::Clock;

/// Records the answers that pass one proxy.
pub(super) struct Replies {
    tap: Tap,
    clock: Clock,
}

impl Replies {
    pub(super) fn new(tap: Tap, clock: Clock) -> Self {
        Self { tap, clock }
    }

    /// Returns all answers so far.
    pub(super) fn heard(mut self) -> Vec<Reply> {
        let mut replies = Vec::new();
        while let Some(passage) = self.tap.take() {
            let message = passage
                .message
                .filter(|_| passage.direction == Direction::ToClient);
            let Some(message) = message else { continue };
            // An answer that cannot be decoded is left out. Every version sends this message.
            if let Ok(reply) = LockResponse::decode(message) {
                replies.push(Reply {
                    key: Arc::from(String::from_utf8_lossy(&reply.key)),
                    at: self.clock.at(passage.at),
                });
            }
        }
        replies
    }
}
