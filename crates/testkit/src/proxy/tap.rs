//! Records the messages of a gRPC method that pass a proxy.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::sync::mpsc;

use super::Direction;

/// Size of gRPC's prefix of a message: the compression flag and the length.
const PREFIX: usize = 5;

/// When a message that a [`Proxy`](super::Proxy) has read was written to the receiver's socket.
#[derive(Clone, Debug, Default)]
pub struct Delivery(Arc<OnceLock<Instant>>);

impl Delivery {
    /// Returns the time of the delivery; none before it, and for ever if the link ended before.
    pub fn at(&self) -> Option<Instant> {
        self.0.get().copied()
    }

    pub(super) fn happened(&self, at: Instant) {
        // Set once: a position of a link passes once.
        let _ = self.0.set(at);
    }
}

impl PartialEq for Delivery {
    fn eq(&self, other: &Self) -> bool {
        self.at() == other.at()
    }
}

impl Eq for Delivery {}

/// A message, or the end, of one direction of a call through a [`Proxy`](super::Proxy).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// When the proxy has read it. It may not be delivered: faults come after the tap.
    pub at: Instant,
    /// Number of the link, from 1.
    pub link: u64,
    /// The HTTP/2 stream of the call.
    pub stream: u32,
    /// The direction.
    pub direction: Direction,
    /// When the last byte was delivered.
    pub delivered: Delivery,
    /// The message, as protobuf; none is the end of the call in this direction.
    pub message: Option<Bytes>,
}

/// Receives the recorded messages of one method, in the order of each link.
///
/// The tap holds messages until they are taken, without a limit.
#[derive(Debug)]
pub struct Tap {
    receiver: mpsc::UnboundedReceiver<Passage>,
}

impl Tap {
    pub(super) fn new() -> (mpsc::UnboundedSender<Passage>, Self) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (sender, Self { receiver })
    }

    /// Returns the next message; none once the proxy and its links have ended.
    pub async fn next(&mut self) -> Option<Passage> {
        self.receiver.recv().await
    }

    /// Returns the next message, if there is one already.
    pub fn take(&mut self) -> Option<Passage> {
        self.receiver.try_recv().ok()
    }
}

/// Joins the pieces of one direction of a link to messages.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    calls: HashMap<u32, BytesMut>,
}

impl Assembly {
    /// Takes a piece, and passes on each complete message.
    pub(super) fn take(&mut self, stream: u32, bytes: &[u8], mut whole: impl FnMut(Bytes)) {
        let buffer = self.calls.entry(stream).or_default();
        buffer.extend_from_slice(bytes);
        while let Some(&[_, a, b, c, d]) = buffer.first_chunk::<PREFIX>() {
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            if buffer.len() - PREFIX < length {
                return;
            }
            buffer.advance(PREFIX);
            whole(buffer.split_to(length).freeze());
        }
    }

    pub(super) fn end(&mut self, stream: u32) {
        self.calls.remove(&stream);
    }
}
