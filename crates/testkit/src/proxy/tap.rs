//! The messages of a gRPC method, as a proxy sees them.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::sync::mpsc;

use super::Direction;

/// gRPC's prefix of a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// When something that a [`Proxy`](super::Proxy) took in was handed to its receiver's socket.
#[derive(Clone, Debug, Default)]
pub struct Delivery(Arc<OnceLock<Instant>>);

impl Delivery {
    /// When; none as long as it has not been, and for ever if its link ended before.
    pub fn at(&self) -> Option<Instant> {
        self.0.get().copied()
    }

    pub(super) fn happened(&self, at: Instant) {
        // It happens once: a position of a link passes once.
        let _ = self.0.set(at);
    }
}

impl PartialEq for Delivery {
    fn eq(&self, other: &Self) -> bool {
        self.at() == other.at()
    }
}

impl Eq for Delivery {}

/// Something that a [`Proxy`](super::Proxy) saw of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// When it came to the proxy. Whether it left it again is another matter: faults come
    /// after.
    pub at: Instant,
    /// Which link of the proxy, counted from 1.
    pub link: u64,
    /// Which call of the link: its stream in HTTP/2.
    pub stream: u32,
    /// From where to where.
    pub direction: Direction,
    /// When the last byte of it left the proxy.
    pub delivered: Delivery,
    /// A message, as protobuf; none is the end of the call in this direction.
    pub message: Option<Bytes>,
}

/// What was heard of the calls of one method, in the order of each link.
///
/// It holds what has not been taken yet, without a limit.
#[derive(Debug)]
pub struct Tap {
    receiver: mpsc::UnboundedReceiver<Passage>,
}

impl Tap {
    pub(super) fn new() -> (mpsc::UnboundedSender<Passage>, Self) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (sender, Self { receiver })
    }

    /// The next; none once the proxy and its links are gone.
    pub async fn next(&mut self) -> Option<Passage> {
        self.receiver.recv().await
    }

    /// The next that is there already.
    pub fn take(&mut self) -> Option<Passage> {
        self.receiver.try_recv().ok()
    }
}

/// Puts messages together from the pieces of one direction of a link.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    calls: HashMap<u32, BytesMut>,
}

impl Assembly {
    /// Takes a piece; gives each message that is whole by it.
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
