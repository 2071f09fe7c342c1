//! The state of a link: flags and counters that tell whether the connection works.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::stream_queue::StreamQueue;
use crate::connector::ByteStream;
use crate::error::ErrorKind;

/// The state of a link, written by calls, by the byte stream and by the connection's monitor.
pub(crate) struct LinkState {
    flags: AtomicU8,
    /// Number of calls and streams under way.
    open: AtomicUsize,
    origin: Instant,
    /// When bytes last came in, in milliseconds since `origin`.
    heard: AtomicU64,
    /// Number of writes of which the byte stream has taken bytes.
    writes: AtomicU64,
    /// Number of replies that have shown that the member serves.
    served: AtomicU64,
    /// Round-trip time of the handshake's ping, in microseconds.
    round_trip: AtomicU64,
    /// Number of messages of streams that have come.
    messages: AtomicU64,
    /// Requests that wait for a stream.
    pub(crate) queue: StreamQueue,
    /// Wakes the monitor after a change.
    pub(crate) changed: Notify,
    /// Why the client ended the connection, if the client did.
    pub(crate) ending: OnceLock<(ErrorKind, &'static str)>,
}

/// A good reply came over the connection.
const PROVEN: u8 = 1;
/// A ping stays unanswered: new calls should go to another endpoint.
const SUSPECT: u8 = 2;
/// The connection takes no new calls.
const DRAINING: u8 = 4;
/// A call has waited a second for its answer.
const DOUBTED: u8 = 8;
/// The connection broke under a call.
const BROKEN: u8 = 16;
/// A good reply came over the connection since the last pong.
const ANSWERED: u8 = 32;

impl LinkState {
    pub(crate) fn new() -> Self {
        Self {
            flags: AtomicU8::new(0),
            open: AtomicUsize::new(0),
            origin: now(),
            heard: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            served: AtomicU64::new(0),
            round_trip: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            queue: StreamQueue::new(),
            changed: Notify::new(),
            ending: OnceLock::new(),
        }
    }

    fn has(&self, flag: u8) -> bool {
        self.flags.load(Ordering::Relaxed) & flag != 0
    }

    /// Whether new calls should be sent over the connection.
    pub(crate) fn is_fit(&self) -> bool {
        !self.has(SUSPECT | DRAINING)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.has(DRAINING)
    }

    pub(crate) fn is_suspect(&self) -> bool {
        self.has(SUSPECT)
    }

    pub(crate) fn is_proven(&self) -> bool {
        self.has(PROVEN)
    }

    /// Notes that a good reply came over the connection.
    pub(crate) fn prove(&self) {
        const BOTH: u8 = PROVEN | ANSWERED;
        if self.flags.load(Ordering::Relaxed) & BOTH != BOTH {
            self.flags.fetch_or(BOTH, Ordering::Relaxed);
        }
    }

    /// Forgets the good replies so far, which only proved the cluster and say nothing about calls.
    pub(crate) fn unprove(&self) {
        self.flags.fetch_and(!PROVEN, Ordering::Relaxed);
    }

    /// Whether a good reply came over the connection since the last pong.
    pub(crate) fn is_answered(&self) -> bool {
        self.has(ANSWERED)
    }

    /// Returns the number of replies that have shown that the member serves.
    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Notes that a reply has shown that the member serves.
    pub(crate) fn serve(&self) {
        self.served.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of messages of streams that have come.
    pub(crate) fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// Notes that a message of a stream has come.
    pub(crate) fn message(&self) {
        self.messages.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the connection still takes requests, as far as a call can tell.
    pub(crate) fn is_connected(&self) -> bool {
        !self.has(DRAINING | BROKEN)
    }

    /// Notes that a pong came over the connection.
    pub(crate) fn pong(&self) {
        self.flags.fetch_and(!ANSWERED, Ordering::Relaxed);
    }

    pub(crate) fn set_suspect(&self, suspect: bool) {
        if suspect {
            self.flags.fetch_or(SUSPECT, Ordering::Relaxed);
        } else {
            self.flags.fetch_and(!SUSPECT, Ordering::Relaxed);
        }
    }

    /// Notes that a call failed with the connection.
    pub(crate) fn note_broken(&self) {
        self.flags.fetch_or(BROKEN, Ordering::Relaxed);
    }

    /// Whether calls failed, or are about to fail, with the connection.
    pub(crate) fn is_broken(&self) -> bool {
        self.has(BROKEN) || self.open() > 0
    }

    /// Takes no new calls from now on: the connection is to be replaced.
    pub(crate) fn drain(&self) {
        self.flags.fetch_or(DRAINING, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// Asks the monitor for a ping, as a call has waited long for its answer.
    pub(crate) fn doubt(&self) {
        if self.flags.fetch_or(DOUBTED, Ordering::Relaxed) & DOUBTED == 0 {
            self.changed.notify_one();
        }
    }

    pub(crate) fn take_doubt(&self) -> bool {
        self.flags.fetch_and(!DOUBTED, Ordering::Relaxed) & DOUBTED != 0
    }

    /// Returns the number of calls and streams under way.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub(crate) fn enter(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a call or stream as under way, only while fewer than `limit` are; returns whether it did.
    pub(crate) fn try_enter(&self, limit: usize) -> bool {
        self.open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
                (open < limit).then_some(open + 1)
            })
            .is_ok()
    }

    pub(crate) fn leave(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Notes the round-trip time of the handshake's ping.
    pub(crate) fn set_round_trip(&self, taken: Duration) {
        let taken = u64::try_from(taken.as_micros()).unwrap_or(u64::MAX);
        self.round_trip.store(taken, Ordering::Relaxed);
    }

    /// Returns the round-trip time of the handshake's ping.
    pub(crate) fn round_trip(&self) -> Duration {
        Duration::from_micros(self.round_trip.load(Ordering::Relaxed))
    }

    /// Returns when bytes last came in.
    pub(crate) fn heard(&self) -> Instant {
        self.origin + Duration::from_millis(self.heard.load(Ordering::Relaxed))
    }

    /// Returns the number of writes so far. While the number stays the same, the byte stream takes
    /// nothing, so nothing that h2 got in that time can have reached the server.
    pub(crate) fn mark(&self) -> u64 {
        self.writes.load(Ordering::Acquire)
    }

    /// ORDER: the task that drives the connection calls this, and so before that task can tell any
    /// call that the connection broke.
    ///
    /// INVARIANT: each write of which bytes may have left is counted. If a write that fails may have
    /// sent a part (`partial`), a failure counts too.
    fn note_write(&self, outcome: &Poll<io::Result<usize>>, partial: bool) {
        match outcome {
            Poll::Ready(Ok(1..)) => {}
            Poll::Ready(Err(_)) if partial => {}
            _ => return,
        }
        self.writes.fetch_add(1, Ordering::Release);
    }

    fn hear(&self) {
        let elapsed = now().saturating_duration_since(self.origin).as_millis();
        self.heard.store(
            u64::try_from(elapsed).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }
}

/// The clock of the runtime, which tests may stop.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A byte stream that notes when bytes come in.
pub(crate) struct Metered {
    pub(crate) stream: Box<dyn ByteStream>,
    pub(crate) state: Arc<LinkState>,
    /// Whether a write that fails may have sent a part.
    pub(crate) partial: bool,
    /// Whether the incoming side has ended.
    pub(crate) ended: bool,
}

impl Metered {
    /// Discards a write once the incoming side has ended.
    ///
    /// INVARIANT: for calls the end of the incoming side is the end of the connection, and a call of
    /// which no byte has left is sent over another one. So no byte may leave after that end, although
    /// h2 would still write what it has.
    fn discard(&self, length: usize) -> Option<Poll<io::Result<usize>>> {
        self.ended.then_some(Poll::Ready(Ok(length)))
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let heard = buffer.filled().len() > before;
        if heard {
            self.state.hear();
        }
        self.ended |= match &outcome {
            Poll::Ready(Ok(())) => !heard && buffer.remaining() > 0,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        outcome
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(discarded) = self.discard(bytes.len()) {
            return discarded;
        }
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.state.note_write(&outcome, self.partial);
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        if let Some(discarded) = self.discard(length) {
            return discarded;
        }
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.state.note_write(&outcome, self.partial);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
