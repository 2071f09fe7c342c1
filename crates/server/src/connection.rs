//! One connection: its requests, and their replies.
//!
//! One task reads all requests of a connection and answers them. A task for each request would cost
//! more than most requests. A large range and a compaction that is waited for are done in steps, and
//! other requests of the connection are answered in between.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::server::{Connection, SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use tokio::net::TcpStream;

use crate::grpc::{self, Code, Status};
use crate::kv::LARGEST_CHANGE;
use crate::node::Node;
use crate::service::{self, Progress, Work};

/// The largest request that is read, in bytes: etcd's limit for a request, and its allowance for
/// gRPC.
///
/// Source: etcd, `server/etcdserver/api/v3rpc/grpc.go` (`grpcOverheadBytes`).
const LARGEST_REQUEST: usize = LARGEST_CHANGE + (512 << 10);

/// How many bytes of requests a client may send ahead: of one request, and of all together.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Answers all requests of a connection, until either side ends it.
pub(crate) async fn serve(socket: TcpStream, node: Arc<Node>) -> Result<(), h2::Error> {
    // A connection that does not take the option is only slower.
    let _ = socket.set_nodelay(true);
    let mut connection = h2::server::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        // As in etcd: no limit.
        .max_concurrent_streams(u32::MAX)
        .handshake(socket)
        .await?;
    let mut calls = Calls {
        node,
        open: Vec::new(),
        head: head(),
        good: grpc::trailers(&Status::new(Code::Ok, "")),
    };
    poll_fn(|cx| calls.poll(&mut connection, cx)).await
}

fn head() -> Response<()> {
    let mut head = Response::new(());
    let grpc = HeaderValue::from_static("application/grpc");
    head.headers_mut().insert(header::CONTENT_TYPE, grpc);
    head
}

/// The calls of a connection that are not answered yet.
struct Calls {
    node: Arc<Node>,
    open: Vec<Call>,
    /// The head of each reply.
    head: Response<()>,
    /// The trailers of each reply to a call that went well.
    good: HeaderMap,
}

struct Call {
    respond: SendResponse<Bytes>,
    step: Step,
}

/// The next step of a call.
enum Step {
    /// It reads its request.
    Read { path: String, body: Body },
    /// It works. INVARIANT: `None` only within [`Call::poll`], or once it is answered.
    Work(Option<Work>),
}

/// The request of a call.
struct Body {
    stream: RecvStream,
    /// The bytes so far. Most requests come in one frame, which is not copied.
    bytes: Bytes,
}

impl Calls {
    fn poll(
        &mut self,
        connection: &mut Connection<TcpStream, Bytes>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), h2::Error>> {
        loop {
            let has_answered = self.advance(cx);
            match connection.poll_accept(cx) {
                Poll::Ready(Some(accepted)) => {
                    let (request, respond) = accepted?;
                    self.accept(request, respond);
                }
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                // The next poll of the connection sends the new replies.
                Poll::Pending if has_answered => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn accept(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let is_grpc = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        if !is_grpc {
            let mut refusal = Response::new(());
            *refusal.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            // The client may have given the stream up.
            let _ = respond.send_response(refusal, true);
            return;
        }
        let (parts, stream) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let bytes = Bytes::new();
        let body = Body { stream, bytes };
        let step = Step::Read { path, body };
        self.open.push(Call { respond, step });
    }

    /// Goes on with each call. Returns whether one was answered.
    fn advance(&mut self, cx: &mut Context<'_>) -> bool {
        let mut has_answered = false;
        let mut index = 0;
        while index < self.open.len() {
            let reply = match self.open[index].poll(&self.node, cx) {
                Poll::Pending => {
                    index += 1;
                    continue;
                }
                Poll::Ready(reply) => reply,
            };
            let call = self.open.swap_remove(index);
            if let Some(reply) = reply {
                // An error means that the client has given the stream up.
                let _ = self.answer(call.respond, reply);
                has_answered = true;
            }
        }
        has_answered
    }

    fn answer(
        &self,
        mut respond: SendResponse<Bytes>,
        reply: Result<Bytes, Status>,
    ) -> Result<(), h2::Error> {
        let mut head = self.head.clone();
        match reply {
            Ok(message) => {
                let mut stream = respond.send_response(head, false)?;
                stream.send_data(message, false)?;
                stream.send_trailers(self.good.clone())
            }
            Err(status) => {
                head.headers_mut().extend(grpc::trailers(&status));
                respond.send_response(head, true).map(drop)
            }
        }
    }
}

impl Call {
    /// Returns the reply, and `None` if the client has given the call up.
    fn poll(&mut self, node: &Node, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        if self.respond.poll_reset(cx).is_ready() {
            return Poll::Ready(None);
        }
        let progress = match &mut self.step {
            Step::Read { path, body } => match ready!(body.poll(cx)) {
                None => return Poll::Ready(None),
                Some(message) => message.and_then(|message| service::begin(node, path, message)),
            },
            Step::Work(work) => match work.take() {
                None => return Poll::Ready(None),
                Some(work) => service::step(node, work),
            },
        };
        Poll::Ready(Some(match progress {
            Ok(Progress::Working(work)) => {
                self.step = Step::Work(Some(work));
                // The next step comes after the other calls.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Ok(Progress::Answered(reply)) => Ok(reply),
            Err(status) => Err(status),
        }))
    }
}

impl Body {
    /// Returns the message of the request, and `None` if the stream has ended with an error.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        loop {
            match self.stream.poll_data(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(frame))) => {
                    if self
                        .stream
                        .flow_control()
                        .release_capacity(frame.len())
                        .is_err()
                    {
                        return Poll::Ready(None);
                    }
                    self.push(frame);
                    // A request that is too large is refused before all of it has come.
                    if let Err(status) = grpc::message_length(&self.bytes, LARGEST_REQUEST) {
                        return Poll::Ready(Some(Err(status)));
                    }
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(None),
                Poll::Ready(None) => {
                    let bytes = std::mem::take(&mut self.bytes);
                    return Poll::Ready(Some(grpc::request_message(bytes, LARGEST_REQUEST)));
                }
            }
        }
    }

    fn push(&mut self, frame: Bytes) {
        if self.bytes.is_empty() {
            self.bytes = frame;
            return;
        }
        let mut bytes = BytesMut::from(std::mem::take(&mut self.bytes));
        bytes.extend_from_slice(&frame);
        self.bytes = bytes.freeze();
    }
}
