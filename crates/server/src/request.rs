//! The messages of a call's request.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;

use crate::grpc::{Code, Messages, Status};
use crate::kept::Share;

/// The most bytes of messages that have come in part, of all calls of a connection.
const MOST_UNFINISHED: usize = 64 << 20;

/// Why a call ends without having gone well.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The client has given the call up, or its connection has ended: there is no one to answer.
    ByClient,
    /// The server refuses it.
    With(Status),
}

impl<S: Into<Status>> From<S> for Ended {
    fn from(status: S) -> Self {
        Self::With(status.into())
    }
}

/// The messages of a request, in order.
pub(crate) struct Request {
    stream: RecvStream,
    messages: Messages,
    /// The bytes of the message that has come in part.
    unfinished: Share,
}

impl Request {
    /// `limit` is the length of the largest message, in bytes.
    pub(crate) fn new(stream: RecvStream, limit: usize, unfinished: Share) -> Self {
        Self {
            stream,
            messages: Messages::new(limit),
            unfinished,
        }
    }

    /// Returns the next message; `None` after the last one.
    ///
    /// # Cancel safety
    /// No message is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Ended> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Returns the message of a request that has one.
    pub(crate) async fn only(&mut self) -> Result<Bytes, Ended> {
        let message = self.next().await?;
        message.ok_or_else(|| Status::new(Code::Unknown, "EOF").into())
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Ended>> {
        loop {
            if let Some(message) = self.messages.next()? {
                self.unfinished.set(0);
                return Poll::Ready(Ok(Some(message)));
            }
            if self.unfinished.set(self.messages.part()) > MOST_UNFINISHED {
                let text = "etcdex-server: too many requests that have come in part";
                let status = Status::new(Code::ResourceExhausted, text);
                return Poll::Ready(Err(status.into()));
            }
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(bytes)) => {
                    let window = self.stream.flow_control();
                    if window.release_capacity(bytes.len()).is_err() {
                        return Poll::Ready(Err(Ended::ByClient));
                    }
                    self.messages.push(bytes);
                }
                Some(Err(_)) => return Poll::Ready(Err(Ended::ByClient)),
                None if self.messages.part() > 0 => {
                    let status = Status::new(Code::Unknown, "unexpected EOF");
                    return Poll::Ready(Err(status.into()));
                }
                None => return Poll::Ready(Ok(None)),
            }
        }
    }
}
