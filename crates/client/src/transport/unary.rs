//! One attempt of a unary call: a request out, one message and a status in.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};

use super::failure::Failure;
use super::grpc::{self, MessageReader};
use super::link::{Head, Link, StreamPermit};
use super::report::End;
use super::serving::Begun;
use super::stream::Incoming;
use super::stream_queue::Unsent;
use crate::error::{Code, Outcome};
use crate::method::Method;

/// Time between two checks whether any reply has come over the connection while a call waits. The
/// endpoint is asked again after a period without a reply. An answered probe is a reply, so a slow
/// call alone on its connection costs a probe every other period.
const PATIENCE: Duration = Duration::from_secs(1);

/// A unary call that was handed to a connection.
///
/// Dropping it resets the stream, and no other stream.
pub(crate) struct Exchange {
    state: ExchangeState,
    reader: MessageReader,
    reply: Option<Bytes>,
    shape: Shape,
    /// The message, if the request had to wait for a stream.
    unsent: Option<Unsent>,
    /// The number of writes before the request was handed to h2.
    mark: u64,
    begun: Begun,
    /// When the endpoint is asked again if no reply comes, and the moment since when replies count.
    doubted: Option<(Instant, Begun)>,
    permit: StreamPermit,
}

/// How the server answers.
enum Shape {
    /// One message and a status.
    Unary,
    /// Many messages, of which the exchange waits for the first.
    Messages,
    /// One message for each request. The client's side of the stream stays open until the answer
    /// to the only one is there.
    Requests(SendStream<Bytes>),
}

enum ExchangeState {
    Head(ResponseFuture),
    Body(Body),
    Done,
}

/// The body of a reply: its frames, and the flow control that goes with them.
pub(crate) struct Body {
    stream: RecvStream,
    unreleased: usize,
}

impl Exchange {
    /// Sends `body`, a framed message: HEADERS and one DATA with END_STREAM, which is left out
    /// where the method [takes many requests](Method::takes_many_requests). `local` says that the
    /// member answers it without asking its quorum.
    pub(crate) fn begin(
        permit: StreamPermit,
        method: Method,
        local: bool,
        head: Head<'_>,
        body: Bytes,
        limit: usize,
    ) -> Result<Self, Failure> {
        let link = permit.link();
        let mark = link.state.mark();
        let begun = link.begun(local);
        let stays_open = method.takes_many_requests();
        // h2 checks by itself whether the connection takes requests. Each call has its own clone of
        // the sender and waits for no other call, so `ready()` would only lock once more.
        let open = || {
            link.sender()
                .send_request(link.request(method, head), false)
        };
        let mut shape = if method.answers_by_messages() {
            Shape::Messages
        } else {
            Shape::Unary
        };
        let (response, unsent) = if link.is_full() && !stays_open {
            let queued = link.state.queue.push(open, body);
            let (response, unsent) = queued.map_err(|error| link.refused(error))?;
            (response, Some(unsent))
        } else {
            let (response, mut stream) = open().map_err(|error| link.refused(error))?;
            stream
                .send_data(body, !stays_open)
                .map_err(|error| link.unfinished(error))?;
            if stays_open {
                shape = Shape::Requests(stream);
            }
            (response, None)
        };
        Ok(Self {
            state: ExchangeState::Head(response),
            reader: MessageReader::new(limit),
            reply: None,
            shape,
            unsent,
            mark,
            begun,
            doubted: None,
            permit,
        })
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        self.permit.link()
    }

    /// Whether the request waits for a stream: no server has seen its message.
    pub(crate) fn is_waiting(&self) -> bool {
        self.unsent.as_ref().is_some_and(Unsent::is_waiting)
    }

    /// Takes the request back; returns whether that was possible. If so, no server has seen its message,
    /// and none will.
    pub(crate) fn take_back(&self) -> bool {
        self.unsent.as_ref().is_some_and(Unsent::take_back)
    }

    /// Whether the server has begun to answer.
    pub(crate) fn is_answering(&self) -> bool {
        !matches!(self.state, ExchangeState::Head(_))
    }

    /// Notes that the answer takes long. The connection is pinged, and the endpoint is asked whether it
    /// serves, at most once in a [`PATIENCE`]. A reply to another call counts only for the period in
    /// which it came: the member may have stopped serving after that.
    pub(crate) fn doubt(&mut self, moment: Instant) {
        self.link().state.doubt();
        let (due, begun) = self.doubted.unwrap_or((moment, self.begun));
        if due <= moment {
            self.link().report(begun, End::NoAnswer);
            let begun = self.link().begun(begun.is_local());
            self.doubted = Some((moment + PATIENCE, begun));
        }
    }

    /// Returns the messages after the first one, which [`poll_reply`](Self::poll_reply) has returned.
    /// `None` if the method has one reply.
    pub(crate) fn into_incoming(mut self) -> Option<Incoming> {
        let ExchangeState::Body(body) = std::mem::replace(&mut self.state, ExchangeState::Done)
        else {
            return None;
        };
        Some(Incoming::behind_first(
            body,
            std::mem::replace(&mut self.reader, MessageReader::new(0)),
            self.mark,
            self.begun,
            StreamPermit::new(Arc::clone(self.link())),
        ))
    }

    /// Returns the bytes of the reply's message when its status is OK. If the method answers by many
    /// messages, this returns the first one as soon as it has come.
    pub(crate) fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Failure>> {
        let outcome = ready!(self.poll_states(cx));
        // ORDER: the client's side ends before the reply's stream is dropped, so that the server ends
        // the call in good order. The drop alone would reset the stream.
        if let Shape::Requests(request) = &mut self.shape {
            // The server may have ended the call already.
            let _ = request.send_data(Bytes::new(), true);
        }
        if outcome.is_err() || !self.has_messages() {
            self.state = ExchangeState::Done;
        }
        if is_good(&outcome) {
            self.link().state.prove();
        }
        let end = outcome.as_ref().map_or_else(End::Failed, |_| End::Reply);
        self.link().report(self.begun, end);
        Poll::Ready(outcome)
    }

    fn poll_states(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Failure>> {
        loop {
            match &mut self.state {
                ExchangeState::Head(response) => {
                    let response = match ready!(Pin::new(response).poll(cx)) {
                        Ok(response) => response,
                        Err(error) => return Poll::Ready(Err(self.unanswered(error))),
                    };
                    grpc::check_head(response.status(), response.headers())?;
                    if response.body().is_end_stream() || grpc::has_status(response.headers()) {
                        grpc::check_status(response.headers())?;
                        return Poll::Ready(Err(missing_message()));
                    }
                    self.state = ExchangeState::Body(Body::new(response.into_body()));
                }
                ExchangeState::Body(body) => {
                    let frame = ready!(body.poll_frame(cx))
                        .map_err(|error| self.permit.link().broken(error, self.mark))?;
                    match frame {
                        Some(frame) => {
                            self.take(frame)?;
                            if !matches!(self.shape, Shape::Unary) {
                                if let Some(reply) = self.reply.take() {
                                    return Poll::Ready(Ok(reply));
                                }
                            }
                        }
                        None => {
                            let trailers = ready!(body.poll_trailers(cx))
                                .map_err(|error| self.permit.link().broken(error, self.mark))?;
                            return Poll::Ready(self.conclude(trailers));
                        }
                    }
                }
                // INVARIANT: `Call` drops an exchange that has answered.
                ExchangeState::Done => return Poll::Pending,
            }
        }
    }

    /// Returns the failure for an error of h2 that came instead of the head of a reply.
    fn unanswered(&self, error: h2::Error) -> Failure {
        let mut failure = self.link().broken(error, self.mark);
        if self.take_back() {
            failure.error = failure.error.with_outcome(Outcome::NotSent);
        }
        failure
    }

    fn take(&mut self, frame: Bytes) -> Result<(), Failure> {
        if self.reply.is_some() && !frame.is_empty() {
            return Err(Failure::violation("the reply has more than one message"));
        }
        self.reader.push(frame);
        match self.reader.next()? {
            Some(_) if self.reader.is_amid_message() && !self.has_messages() => {
                Err(Failure::violation("the reply has more than one message"))
            }
            Some(message) => {
                self.reply = Some(message);
                Ok(())
            }
            None => match &mut self.state {
                ExchangeState::Body(body) => body
                    .release()
                    .map_err(|error| self.permit.link().broken(error, self.mark)),
                ExchangeState::Head(_) | ExchangeState::Done => Ok(()),
            },
        }
    }

    fn has_messages(&self) -> bool {
        matches!(self.shape, Shape::Messages)
    }

    fn conclude(&mut self, trailers: Option<http::HeaderMap>) -> Result<Bytes, Failure> {
        let trailers =
            trailers.ok_or_else(|| Failure::violation("the reply ends without a grpc-status"))?;
        grpc::check_status(&trailers)?;
        if self.reader.is_amid_message() {
            return Err(Failure::violation("the reply's message is cut off"));
        }
        self.reply.take().ok_or_else(missing_message)
    }
}

/// Whether this answer, also if it is a refusal, came from a server that works.
fn is_good(outcome: &Result<Bytes, Failure>) -> bool {
    match outcome {
        Ok(_) => true,
        Err(failure) => failure
            .error
            .code()
            .is_some_and(|code| code != Code::Unavailable),
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !matches!(self.state, ExchangeState::Done) {
            self.link().report(self.begun, End::NoAnswer);
        }
    }
}

fn missing_message() -> Failure {
    Failure::violation("the reply has a status of OK and no message")
}

impl Body {
    pub(crate) fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            unreleased: 0,
        }
    }

    /// Returns the next DATA frame, or `None` when trailers or nothing follow.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, h2::Error>> {
        let Some(frame) = ready!(self.stream.poll_data(cx)) else {
            return Poll::Ready(Ok(None));
        };
        let frame = frame?;
        self.unreleased += frame.len();
        Poll::Ready(Ok(Some(frame)))
    }

    /// Lets the server send as much again as was received.
    ///
    /// A complete reply does not need this: the end of its stream gives the window back, and one lock
    /// and one wake-up are saved. For an incomplete reply it is required, or the server would wait for
    /// a window that is never opened.
    pub(crate) fn release(&mut self) -> Result<(), h2::Error> {
        if self.unreleased == 0 {
            return Ok(());
        }
        self.stream
            .flow_control()
            .release_capacity(std::mem::take(&mut self.unreleased))
    }

    /// Returns the number of bytes that were received and not released.
    pub(crate) fn unreleased(&self) -> usize {
        self.unreleased
    }

    pub(crate) fn poll_trailers(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<http::HeaderMap>, h2::Error>> {
        self.stream.poll_trailers(cx)
    }
}
