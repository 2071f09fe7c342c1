//! A TLS session as a byte stream.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::super::connect_error::SessionError;
use super::error::TlsErrors;
use crate::connector::ByteStream;

type Inner = TlsStream<Box<dyn ByteStream>>;

/// A byte stream inside TLS that keeps the reason for which the server has ended the session.
pub(crate) struct Session {
    stream: Inner,
    errors: TlsErrors,
    session_error: SessionError,
    /// Nothing has come in since the handshake.
    is_new: bool,
    /// The error of a write that failed, while the session waits for the server's alert.
    broken: Option<io::Error>,
}

impl Session {
    pub(super) fn new(stream: Inner, errors: TlsErrors) -> Self {
        Self {
            stream,
            errors,
            session_error: SessionError::default(),
            is_new: true,
            broken: None,
        }
    }

    /// Returns the place where the session keeps the reason for its end.
    pub(crate) fn error(&self) -> SessionError {
        Arc::clone(&self.session_error)
    }

    fn note(&mut self, error: &io::Error) {
        self.is_new = false;
        if let Some(why) = self.errors.alert(error) {
            // The first is the cause.
            let _ = self.session_error.set(why);
        }
    }

    /// Writes, and waits for the alert if that fails on a new session.
    ///
    /// A server that refuses a client sends an alert and closes. If the client writes before it
    /// reads, the write fails first, while the alert is on its way. The wait for the alert is
    /// bounded by the time-out of the attempt to connect.
    fn write<T>(
        &mut self,
        cx: &mut Context<'_>,
        act: impl FnOnce(Pin<&mut Inner>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let error = match self.broken.take() {
            Some(error) => error,
            None => match act(Pin::new(&mut self.stream), cx) {
                Poll::Ready(Err(error)) if self.is_new => error,
                outcome => return outcome,
            },
        };
        let mut scratch = [0; 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Pending => {
                    self.broken = Some(error);
                    return Poll::Pending;
                }
                // The bytes are dropped: the stream is broken.
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(Ok(())) => return Poll::Ready(Err(error)),
                Poll::Ready(Err(alert)) => {
                    self.note(&alert);
                    return Poll::Ready(Err(error));
                }
            }
        }
    }
}

impl AsyncRead for Session {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buffer);
        match &outcome {
            Poll::Ready(Ok(())) => self.is_new = false,
            Poll::Ready(Err(error)) => self.note(error),
            Poll::Pending => {}
        }
        outcome
    }
}

impl AsyncWrite for Session {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, |stream, cx| stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(cx, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
