//! Requests that wait until the server allows one more stream.
//!
//! h2 takes any number of requests. It keeps those above the server's limit in a queue, which its
//! connection task empties in their order, and does not tell which request has left that queue. So
//! the message of a request that may have to wait is held back here, and handed to h2 when h2 has
//! opened the stream. Until then the request can be taken back: a server that has only the head of a
//! request does nothing.
//!
//! The task that drives the connection empties the queue, and not the calls: a call that is not polled
//! delays no other one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use h2::client::ResponseFuture;

use crate::mutex::Mutex;

/// The requests of a connection that wait for a stream.
pub(crate) struct StreamQueue {
    /// Number of streams that the server allows at once.
    limit: AtomicUsize,
    /// The messages in the order in which h2 opens their streams. A message that was taken back stays
    /// until it is the first, as its stream stays in h2's queue.
    waiting: Mutex<VecDeque<Arc<Message>>>,
}

/// A message that h2 does not have yet; `None` once h2 has it, or it was taken back.
type Message = Mutex<Option<(SendStream<Bytes>, Bytes)>>;

/// The message of a request that waits for a stream, as its call sees it.
///
/// Dropping it takes the message back: a call that was given up keeps neither the message nor the
/// connection.
pub(crate) struct Unsent(Arc<Message>);

impl Unsent {
    /// Takes the message back; returns whether that was possible. If so, it is never sent.
    pub(crate) fn take_back(&self) -> bool {
        // The stream is dropped without the lock: the drop locks h2's state.
        let message = self.0.lock().take();
        message.is_some()
    }

    /// Whether the message is still waiting.
    pub(crate) fn is_waiting(&self) -> bool {
        self.0.lock().is_some()
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.take_back();
    }
}

impl StreamQueue {
    pub(crate) fn new() -> Self {
        Self {
            // h2 assumes no limit before the server has sent its settings.
            limit: AtomicUsize::new(usize::MAX),
            waiting: Mutex::default(),
        }
    }

    /// Returns the number of streams that the server allows at once.
    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Notes the number of streams that the server allows at once.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Has `open` hand the head of a request to h2, and holds its message back until h2 has opened the
    /// stream.
    pub(crate) fn push(
        &self,
        open: impl FnOnce() -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error>,
        message: Bytes,
    ) -> Result<(ResponseFuture, Unsent), h2::Error> {
        // ORDER: the queue is locked before h2 gets the head. So the queue has the order of h2's own,
        // and the task that opens the stream finds the message here.
        let mut waiting = self.waiting.lock();
        let (response, mut stream) = open()?;
        // h2 grants no capacity before the stream is open. One byte is enough to notice that.
        stream.reserve_capacity(1);
        let message = Arc::new(Mutex::new(Some((stream, message))));
        waiting.push_back(Arc::clone(&message));
        Ok((response, Unsent(message)))
    }

    /// Hands the messages to h2 whose streams are open; returns whether there was any. Called by the
    /// task that drives the connection, which is woken when h2 opens the next stream.
    pub(crate) fn send(&self, cx: &mut Context<'_>) -> bool {
        let mut waiting = self.waiting.lock();
        let before = waiting.len();
        while let Some(first) = waiting.front() {
            if poll_send(first, cx).is_pending() {
                break;
            }
            waiting.pop_front();
        }
        waiting.len() < before
    }
}

/// Hands a message to h2 as soon as its stream is open; ready, too, when there is nothing to send.
fn poll_send(message: &Message, cx: &mut Context<'_>) -> Poll<()> {
    let mut slot = message.lock();
    let Some((stream, _)) = &mut *slot else {
        return Poll::Ready(());
    };
    while stream.capacity() == 0 {
        match ready!(stream.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            // The stream has ended, and its call gets the error. The message stays here and is never sent.
            Some(Err(_)) | None => return Poll::Ready(()),
        }
    }
    // ORDER: from here on the message counts as sent, also if h2 returns an error.
    if let Some((mut stream, message)) = slot.take() {
        let _ = stream.send_data(message, true);
    }
    Poll::Ready(())
}
