//! Calls that stay open: messages of one side or both, until either ends.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use h2::client::ResponseFuture;

use super::failure::Failure;
use super::grpc::{self, MessageReader};
use super::link::{Head, Link, StreamPermit};
use super::report::End;
use super::serving::Begun;
use super::unary::Body;
use crate::error::{ErrorKind, Retry};
use crate::method::Method;

/// The window that small messages have used is given back in steps of this size, in bytes.
const RELEASE_STEP: usize = 16 << 10;

/// The client's side of an open call.
///
/// Dropping it without [`finish`](Outgoing::finish) leaves the call open; dropping both sides
/// resets it.
pub(crate) struct Outgoing {
    stream: SendStream<Bytes>,
}

/// The server's side of an open call.
pub(crate) struct Incoming {
    stage: Stage,
    reader: MessageReader,
    mark: u64,
    begun: Begun,
    permit: StreamPermit,
}

enum Stage {
    /// gRPC's Go servers send the head together with the first message.
    Head(ResponseFuture),
    Body(Body),
    Done,
}

/// Opens a call; nothing is awaited, the head of the reply included.
pub(crate) fn open(
    permit: StreamPermit,
    method: Method,
    head: Head<'_>,
    limit: usize,
) -> Result<(Outgoing, Incoming), Failure> {
    let link = permit.link();
    let mark = link.state.mark();
    let begun = link.begun(method.is_local());
    let (response, stream) = link
        .sender()
        .send_request(link.request(method, head), false)
        .map_err(|error| link.refused(error))?;
    let incoming = Incoming {
        stage: Stage::Head(response),
        reader: MessageReader::new(limit),
        mark,
        begun,
        permit,
    };
    Ok((Outgoing { stream }, incoming))
}

impl Outgoing {
    /// Sends one framed message as soon as the server's window has any room, so that a server
    /// that does not read costs no more memory here than one message.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, nothing of the message was sent.
    pub(crate) async fn send(&mut self, frame: Bytes) -> Result<(), Failure> {
        self.stream.reserve_capacity(frame.len());
        while self.stream.capacity() == 0 && !frame.is_empty() {
            let granted = poll_fn(|cx| self.stream.poll_capacity(cx)).await;
            match granted {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(Failure::from_h2(error)),
                None => return Err(over()),
            }
        }
        self.stream.send_data(frame, false).map_err(|_| over())
    }

    /// Ends the client's side: no more messages follow.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "streams that end by themselves come later")
    )]
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.stream
            .send_data(Bytes::new(), true)
            .map_err(|_| over())
    }
}

/// The failure of a message on a stream that the server has ended. The incoming side has the reason.
fn over() -> Failure {
    Failure::not_sent(
        ErrorKind::Unavailable,
        "the server has ended the stream",
        Retry::Later,
    )
}

impl Incoming {
    /// Makes the incoming side of a call whose first message was already taken.
    pub(super) fn behind_first(
        body: Body,
        reader: MessageReader,
        mark: u64,
        begun: Begun,
        permit: StreamPermit,
    ) -> Self {
        Self {
            stage: Stage::Body(body),
            reader,
            mark,
            begun,
            permit,
        }
    }

    /// Returns the link that the messages come over.
    pub(crate) fn link(&self) -> &Arc<Link> {
        self.permit.link()
    }

    /// Reports that no answer has come in the time that the stream's owner allows. The connection is
    /// pinged, and the endpoint is asked whether it serves.
    pub(crate) fn report_no_answer(&self) {
        self.link().state.doubt();
        self.link().report(self.begun, End::NoAnswer);
    }

    /// Returns the number of bytes of an incomplete message that have come.
    pub(crate) fn incomplete(&self) -> usize {
        self.reader.buffered()
    }

    /// Returns the next message; `None` when the server has ended the call with a status of OK.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn message(&mut self) -> Result<Option<Bytes>, Failure> {
        poll_fn(|cx| self.poll_message(cx)).await
    }

    pub(crate) fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, Failure>> {
        let outcome = ready!(self.poll_stages(cx));
        match &outcome {
            Ok(Some(_)) => {
                self.link().state.prove();
                self.link().state.message();
                self.link().report(self.begun, End::Reply);
            }
            Ok(None) => self.stage = Stage::Done,
            Err(failure) => {
                self.link().report(self.begun, End::Failed(failure));
                self.stage = Stage::Done;
            }
        }
        Poll::Ready(outcome)
    }

    fn poll_stages(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failure>> {
        loop {
            if let Some(message) = self.reader.next()? {
                return Poll::Ready(Ok(Some(message)));
            }
            let broken = |error| self.permit.link().broken(error, self.mark);
            let amid_message = self.reader.is_amid_message();
            match &mut self.stage {
                Stage::Head(response) => {
                    let response = ready!(Pin::new(response).poll(cx)).map_err(broken)?;
                    grpc::check_head(response.status(), response.headers())?;
                    if grpc::has_status(response.headers()) {
                        return Poll::Ready(grpc::check_status(response.headers()).map(|()| None));
                    }
                    self.stage = Stage::Body(Body::new(response.into_body()));
                }
                Stage::Body(body) => {
                    // All complete messages were taken: the server may send as much again.
                    if amid_message || body.unreleased() >= RELEASE_STEP {
                        body.release().map_err(broken)?;
                    }
                    match ready!(body.poll_frame(cx)).map_err(broken)? {
                        Some(frame) => self.reader.push(frame),
                        None => {
                            let trailers = ready!(body.poll_trailers(cx)).map_err(broken)?;
                            return Poll::Ready(self.conclude(trailers.as_ref()));
                        }
                    }
                }
                Stage::Done => return Poll::Ready(Ok(None)),
            }
        }
    }

    fn conclude(&self, trailers: Option<&http::HeaderMap>) -> Result<Option<Bytes>, Failure> {
        let Some(trailers) = trailers else {
            return Err(Failure::violation("the stream ends without a grpc-status"));
        };
        grpc::check_status(trailers)?;
        if self.reader.is_amid_message() {
            return Err(Failure::violation("the stream's last message is cut off"));
        }
        Ok(None)
    }
}
