//! The messages and the status of the reply to a call.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use h2::SendStream;
use h2::server::SendResponse;
use http::{HeaderValue, Response, header};

use crate::faults::CallName;
use crate::grpc::{self, Code, Status};
use crate::node::Node;
use crate::request::Ended;
use crate::socket::SocketState;
use crate::wire::Encode;

/// The longest message that h2 keeps for a client without room for it, in bytes.
const SHORT: usize = 4 << 10;

/// The bytes of messages from which on they do not wait for others.
const MOST_WAITING: usize = 16 << 10;

/// The reply to a call. As in grpc-go, its head is sent with the first message.
pub(crate) struct Reply {
    respond: SendResponse<Bytes>,
    stream: Option<SendStream<Bytes>>,
    /// Messages that wait for a flush.
    waiting: BytesMut,
    socket: Arc<SocketState>,
    /// The faults that may come before it, and hold its messages back.
    faults: Option<(Arc<Node>, CallName)>,
}

impl Reply {
    pub(crate) fn new(respond: SendResponse<Bytes>, socket: Arc<SocketState>) -> Self {
        Self {
            respond,
            stream: None,
            waiting: BytesMut::new(),
            socket,
            faults: None,
        }
    }

    /// Has the faults of the server come before the reply, and hold its messages back.
    pub(crate) fn obey_faults(&mut self, node: Arc<Node>, name: CallName) {
        self.faults = Some((node, name));
    }

    /// Sends a message, and those that wait for a [`flush`](Self::flush) before it.
    pub(crate) async fn send(&mut self, message: &impl Encode) -> Result<(), Ended> {
        self.feed(message).await?;
        self.flush().await
    }

    /// Has a message wait for a flush, so that several messages are sent in one frame. If many bytes wait,
    /// this sends them.
    pub(crate) async fn feed(&mut self, message: &impl Encode) -> Result<(), Ended> {
        grpc::append_frame(&mut self.waiting, message)?;
        match self.waiting.len() >= MOST_WAITING {
            true => self.flush().await,
            false => Ok(()),
        }
    }

    /// Sends the messages that wait.
    pub(crate) async fn flush(&mut self) -> Result<(), Ended> {
        match self.waiting.is_empty() {
            true => Ok(()),
            false => {
                let frames = self.waiting.split().freeze();
                self.send_frame(frames).await
            }
        }
    }

    /// Sends a message that has its prefix. Waits until the client has room for it, so that a client
    /// that does not read costs the server no more than one message for each stream.
    pub(crate) async fn send_frame(&mut self, mut frame: Bytes) -> Result<(), Ended> {
        if let Some((node, name)) = &self.faults {
            if node.faults().is_active() {
                node.faults().release(name).await;
            }
        }
        let stream = self.open()?;
        while !frame.is_empty() {
            stream.reserve_capacity(frame.len());
            let mut room = stream.capacity();
            while room == 0 {
                room = match poll_fn(|cx| stream.poll_capacity(cx)).await {
                    Some(Ok(room)) => room,
                    Some(Err(_)) | None => return Err(Ended::ByClient),
                };
            }
            let part = frame.split_to(room.min(frame.len()));
            stream.send_data(part, false).map_err(gone)?;
        }
        Ok(())
    }

    /// Causes the faults that are to come before the first bytes of the reply.
    fn begin(&self) {
        if let Some((node, name)) = &self.faults {
            if node.faults().is_active() {
                node.faults().begin_reply(name);
            }
        }
    }

    fn open(&mut self) -> Result<&mut SendStream<Bytes>, Ended> {
        if self.stream.is_none() {
            self.begin();
            let stream = self.respond.send_response(head(), false).map_err(gone)?;
            self.stream = Some(stream);
        }
        self.stream.as_mut().ok_or(Ended::ByClient)
    }

    /// Answers a call with one message that has its prefix, and does not wait. If the client has no room
    /// for a long one, a task sends it.
    pub(crate) fn answer(mut self, frame: Bytes) {
        let has_room = match self.open() {
            Ok(stream) if frame.len() > SHORT => {
                stream.reserve_capacity(frame.len());
                stream.capacity() >= frame.len()
            }
            _ => true,
        };
        if has_room {
            let sent = self
                .open()
                .and_then(|stream| stream.send_data(frame, false).map_err(gone));
            return self.end(sent);
        }
        drop(tokio::spawn(self.send_answer(frame)));
    }

    /// Answers a call with one message that has its prefix, and waits until the client has room for it. From
    /// now on its bytes are counted: the server takes no more calls of a connection with too many of them.
    pub(crate) fn send_answer(mut self, frame: Bytes) -> impl Future<Output = ()> {
        let unsent = SocketState::unsent(&self.socket, frame.len());
        async move {
            let sent = self.send_frame(frame).await;
            self.end(sent);
            drop(unsent);
        }
    }

    /// Whether the client has given the call up. This does not wait.
    pub(crate) async fn is_given_up(&mut self) -> bool {
        poll_fn(|cx| Poll::Ready(self.poll_given_up(cx).is_ready())).await
    }

    /// Waits until the client gives the call up.
    pub(crate) async fn given_up(&mut self) {
        poll_fn(|cx| self.poll_given_up(cx)).await;
    }

    fn poll_given_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let reset = match &mut self.stream {
            Some(stream) => stream.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        reset.map(drop)
    }

    /// Ends the reply.
    pub(crate) fn end(mut self, end: Result<(), Ended>) {
        let status = match end {
            Ok(()) => Status::new(Code::Ok, ""),
            Err(Ended::With(status)) => status,
            Err(Ended::ByClient) => return,
        };
        let trailers = grpc::trailers(&status);
        if self.stream.is_none() {
            self.begin();
        }
        // An error means that the client has given the call up.
        let _ = match self.stream {
            Some(mut stream) => stream.send_trailers(trailers),
            None => {
                let mut head = head();
                head.headers_mut().extend(trailers);
                self.respond.send_response(head, true).map(drop)
            }
        };
    }
}

fn gone(_: h2::Error) -> Ended {
    Ended::ByClient
}

fn head() -> Response<()> {
    let mut head = Response::new(());
    let grpc = HeaderValue::from_static("application/grpc");
    head.headers_mut().insert(header::CONTENT_TYPE, grpc);
    head
}
