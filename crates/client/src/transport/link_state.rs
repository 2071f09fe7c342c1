//! The signs of life of a connection.

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

/// The signs of life of a connection, written by calls, by the byte stream and by the
/// connection's monitor.
pub(crate) struct LinkState {
    flags: AtomicU8,
    /// Calls and streams under way.
    open: AtomicUsize,
    origin: Instant,
    /// Milliseconds from `origin` until bytes last came in.
    heard: AtomicU64,
    /// How often the byte stream has taken bytes.
    writes: AtomicU64,
    /// How many replies have shown that the member serves.
    served: AtomicU64,
    /// Microseconds that the ping of the handshake has taken.
    round_trip: AtomicU64,
    /// How many messages of streams have come.
    messages: AtomicU64,
    /// Requests that wait for a stream.
    pub(crate) queue: StreamQueue,
    /// Something happened that the monitor has to look at.
    pub(crate) stir: Notify,
    /// Why we ended the connection, if it was us.
    pub(crate) ending: OnceLock<(ErrorKind, &'static str)>,
}

/// A good reply came over it.
const PROVEN: u8 = 1;
/// A ping stays unanswered: new calls had better go elsewhere.
const SUSPECT: u8 = 2;
/// It takes no new calls.
const DRAINING: u8 = 4;
/// A call has waited a second for its answer.
const DOUBTED: u8 = 8;
/// It broke under a call.
const BROKEN: u8 = 16;
/// A good reply came over it since the last pong.
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
            stir: Notify::new(),
            ending: OnceLock::new(),
        }
    }

    fn has(&self, flag: u8) -> bool {
        self.flags.load(Ordering::Relaxed) & flag != 0
    }

    /// Whether new calls should be sent over it.
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

    /// A good reply came over it.
    pub(crate) fn prove(&self) {
        const BOTH: u8 = PROVEN | ANSWERED;
        if self.flags.load(Ordering::Relaxed) & BOTH != BOTH {
            self.flags.fetch_or(BOTH, Ordering::Relaxed);
        }
    }

    /// The good replies so far were those of a proof, and say nothing of calls.
    pub(crate) fn unprove(&self) {
        self.flags.fetch_and(!PROVEN, Ordering::Relaxed);
    }

    /// Whether a good reply came over it since the last pong.
    pub(crate) fn is_answered(&self) -> bool {
        self.has(ANSWERED)
    }

    /// Returns the number of replies that have shown that the member serves.
    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// A reply has shown that the member serves.
    pub(crate) fn serve(&self) {
        self.served.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of messages of streams that have come.
    pub(crate) fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// A message of a stream has come.
    pub(crate) fn message(&self) {
        self.messages.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the connection still takes requests, as far as a call can tell.
    pub(crate) fn is_connected(&self) -> bool {
        !self.has(DRAINING | BROKEN)
    }

    /// A pong came over it.
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

    /// A call was broken off with the connection.
    pub(crate) fn note_broken(&self) {
        self.flags.fetch_or(BROKEN, Ordering::Relaxed);
    }

    /// Whether its end took calls with it: those that know it already, or will in a moment.
    pub(crate) fn is_broken(&self) -> bool {
        self.has(BROKEN) || self.open() > 0
    }

    /// The server takes no new streams on it: it is to be replaced.
    pub(crate) fn drain(&self) {
        self.flags.fetch_or(DRAINING, Ordering::Relaxed);
        self.stir.notify_one();
    }

    /// A call has waited long for its answer: somebody should ping.
    pub(crate) fn doubt(&self) {
        if self.flags.fetch_or(DOUBTED, Ordering::Relaxed) & DOUBTED == 0 {
            self.stir.notify_one();
        }
    }

    pub(crate) fn take_doubt(&self) -> bool {
        self.flags.fetch_and(!DOUBTED, Ordering::Relaxed) & DOUBTED != 0
    }

    /// Calls and streams under way.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub(crate) fn enter(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// Enters only while fewer than `limit` are under way.
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

    /// Notes the round trip of the ping that proved the connection.
    pub(crate) fn set_round_trip(&self, taken: Duration) {
        let taken = u64::try_from(taken.as_micros()).unwrap_or(u64::MAX);
        self.round_trip.store(taken, Ordering::Relaxed);
    }

    /// How long the network takes for a question and its answer, as seen in the handshake.
    pub(crate) fn round_trip(&self) -> Duration {
        Duration::from_micros(self.round_trip.load(Ordering::Relaxed))
    }

    /// When bytes last came in.
    pub(crate) fn heard(&self) -> Instant {
        self.origin + Duration::from_millis(self.heard.load(Ordering::Relaxed))
    }

    /// A mark in what was written. As long as it stays the same, the byte stream has taken
    /// nothing since: nothing that came to h2 after it can have reached the server.
    pub(crate) fn mark(&self) -> u64 {
        self.writes.load(Ordering::Acquire)
    }

    /// ORDER: it is called by the task that drives the connection, and so before that task
    /// can tell any call that the connection broke.
    ///
    /// INVARIANT: whatever may have left is counted. Where a write that fails may have sent a
    /// part (`partial`), a failure counts too.
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
    /// Nothing comes in any more.
    pub(crate) ended: bool,
}

impl Metered {
    /// What is written once nothing comes in any more.
    ///
    /// INVARIANT: calls hear of the end of the incoming side as the end of the connection, and
    /// those of which nothing has left go elsewhere. So nothing may leave after it, although
    /// h2 would write out what it still has.
    fn swallow(&self, length: usize) -> Option<Poll<io::Result<usize>>> {
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
        if let Some(swallowed) = self.swallow(bytes.len()) {
            return swallowed;
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
        if let Some(swallowed) = self.swallow(length) {
            return swallowed;
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
