//! The socket of a connection, which can be cut, stalled and slowed down.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The faults of one connection.
#[derive(Debug)]
pub(crate) struct SocketFaults {
    peer: SocketAddr,
    is_cut: AtomicBool,
    is_stalled: AtomicBool,
    leaves: AtomicBool,
    /// The most bytes that are written at once; 0 for no limit.
    fragment: AtomicUsize,
    /// The task of the connection.
    waker: Mutex<Option<Waker>>,
}

impl SocketFaults {
    pub(crate) fn new(peer: SocketAddr) -> Self {
        Self {
            peer,
            is_cut: AtomicBool::new(false),
            is_stalled: AtomicBool::new(false),
            leaves: AtomicBool::new(false),
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

    fn wake(&self) {
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

/// A socket with faults.
pub(crate) struct Socket {
    stream: TcpStream,
    faults: Arc<SocketFaults>,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, faults: Arc<SocketFaults>) -> Self {
        Self { stream, faults }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        std::task::ready!(self.faults.poll(cx))?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.faults.poll(cx))?;
        let part = match self.faults.fragment.load(Relaxed) {
            0 => bytes,
            most => &bytes[..bytes.len().min(most)],
        };
        Pin::new(&mut self.stream).poll_write(cx, part)
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
        if self.faults.fragment.load(Relaxed) != 0 {
            let first = parts.iter().find(|part| !part.is_empty());
            return self.poll_write(cx, first.map_or(&[], |part| part));
        }
        std::task::ready!(self.faults.poll(cx))?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
