//! The socket of a connection, which can be cut, stalled and slowed down.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The most bytes of replies that wait until their client has room for them, before the server takes no
/// more calls of the connection.
const MOST_UNSENT: usize = 32 << 20;

/// The state of one connection's socket: its faults, and whether its client reads.
#[derive(Debug)]
pub(crate) struct SocketState {
    peer: SocketAddr,
    is_cut: AtomicBool,
    is_stalled: AtomicBool,
    leaves: AtomicBool,
    /// Whether the system takes no more bytes of the server: the client does not read them.
    is_full: AtomicBool,
    /// Bytes of replies that wait until their client has room for them.
    unsent: AtomicUsize,
    /// The most bytes that are written at once; 0 for no limit.
    fragment: AtomicUsize,
    /// The task of the connection.
    waker: Mutex<Option<Waker>>,
}

impl SocketState {
    pub(crate) fn new(peer: SocketAddr) -> Self {
        Self {
            peer,
            is_cut: AtomicBool::new(false),
            is_stalled: AtomicBool::new(false),
            leaves: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
            unsent: AtomicUsize::new(0),
            fragment: AtomicUsize::new(0),
            waker: Mutex::new(None),
        }
    }

    /// Returns the address of the client.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Closes the connection.
    pub(crate) fn cut(&self) {
        self.is_cut.store(true, Relaxed);
        self.wake();
    }

    /// Sends GOAWAY.
    pub(crate) fn go_away(&self) {
        self.leaves.store(true, Relaxed);
        self.wake();
    }

    /// Whether GOAWAY is to be sent, which is asked once.
    pub(crate) fn take_go_away(&self) -> bool {
        self.leaves.load(Relaxed) && self.leaves.swap(false, Relaxed)
    }

    /// Reads and writes nothing, or goes on.
    pub(crate) fn stall(&self, is_stalled: bool) {
        self.is_stalled.store(is_stalled, Relaxed);
        self.wake();
    }

    /// Writes this many bytes at once; 0 for no limit.
    pub(crate) fn fragment(&self, bytes: usize) {
        self.fragment.store(bytes, Relaxed);
    }

    /// Whether the client does not read what the server has for it.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full.load(Relaxed) || self.unsent.load(Relaxed) > MOST_UNSENT
    }

    /// Counts bytes of a reply that wait until the client has room for them.
    pub(crate) fn unsent(socket: &Arc<Self>, bytes: usize) -> Unsent {
        socket.unsent.fetch_add(bytes, Relaxed);
        Unsent {
            socket: Arc::clone(socket),
            bytes,
        }
    }

    fn written(&self, end: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.is_full.store(end.is_pending(), Relaxed);
        end
    }

    /// Wakes the task of the connection.
    pub(crate) fn wake(&self) {
        // ORDER: the task stores its waker before it looks at the faults, which are set by now.
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waker) = &*waker {
            waker.wake_by_ref();
        }
    }

    /// Returns an error if the connection is cut, and waits if it is stalled.
    fn poll(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
        drop(waker);
        if self.is_cut.load(Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        match self.is_stalled.load(Relaxed) {
            true => Poll::Pending,
            false => Poll::Ready(Ok(())),
        }
    }
}

/// Bytes of a reply that wait. They are counted until this is dropped.
pub(crate) struct Unsent {
    socket: Arc<SocketState>,
    bytes: usize,
}

impl Drop for Unsent {
    fn drop(&mut self) {
        let unsent = self.socket.unsent.fetch_sub(self.bytes, Relaxed);
        if unsent > MOST_UNSENT {
            // The connection may take calls again.
            self.socket.wake();
        }
    }
}

/// A socket with faults.
pub(crate) struct Socket {
    stream: TcpStream,
    state: Arc<SocketState>,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, state: Arc<SocketState>) -> Self {
        Self { stream, state }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        std::task::ready!(self.state.poll(cx))?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.state.poll(cx))?;
        let part = match self.state.fragment.load(Relaxed) {
            0 => bytes,
            most => &bytes[..bytes.len().min(most)],
        };
        let end = Pin::new(&mut self.stream).poll_write(cx, part);
        self.state.written(end)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.state.fragment.load(Relaxed) != 0 {
            let first = parts.iter().find(|part| !part.is_empty());
            return self.poll_write(cx, first.map_or(&[], |part| part));
        }
        std::task::ready!(self.state.poll(cx))?;
        let end = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.state.written(end)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
