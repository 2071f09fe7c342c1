//! A connection of HTTP/2: its requests, and their replies.
//!
//! The task of a connection answers short calls itself, as a task for each of them would cost more
//! than the call. Other calls get a task of their own: streams, requests that have not come as a
//! whole, large ranges, and compactions that are waited for.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Connection, SendResponse};
use http::{Response, StatusCode, header};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::context::{Context, Peer};
use crate::faults::CallName;
use crate::kept::Kept;
use crate::node::Node;
use crate::reply::Reply;
use crate::request::{Ended, Request};
use crate::service::{self, Method, Progress, Unary, Work};
use crate::socket::SocketState;

/// The bytes by which a message may be longer than the largest request.
///
/// Source: etcd, `server/etcdserver/api/v3rpc/grpc.go` (`grpcOverheadBytes`).
const GRPC_OVERHEAD: usize = 512 << 10;

/// How many bytes of requests a client may send ahead: of one request, and of all together.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Number of calls that a client may cancel before the server has got to them. At h2's default (20), a
/// client that gives up many calls at once loses its connection, and all its other calls.
const CANCELED_CALLS: usize = 1 << 14;

/// Budget for small DATA frames that no call has read yet, in h2's measure (256 minus the size of each):
/// some 280,000 frames. A stream of watches reads no requests while its client reads no responses.
const UNREAD_FRAME_BUDGET: usize = 1 << 26;

/// The longest head of a request, in bytes, as HTTP/2 counts it.
const LARGEST_HEAD: u32 = 64 << 10;

/// The most bytes of the reply to one call that h2 keeps for its client.
const SEND_BUFFER: usize = 128 << 10;

/// The most calls that are taken before the first of them is answered.
const MOST_AT_ONCE: usize = 1_024;

/// A call that has come.
type Arrived = (http::Request<RecvStream>, SendResponse<Bytes>);

/// Answers all requests of a connection, until either side ends it.
///
/// # Errors
/// The client has gone, or does not speak HTTP/2.
pub(crate) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    node: &Arc<Node>,
    socket: &Arc<SocketState>,
    peer: Peer,
) -> Result<(), h2::Error> {
    let mut connection = h2::server::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(LARGEST_HEAD)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_streams(node.options().max_concurrent_streams)
        .max_pending_accept_reset_streams(CANCELED_CALLS)
        // h2 counts over the whole life of a connection, so any number is too small for one that lasts.
        .max_local_error_reset_streams(None)
        .data_frame_budget(UNREAD_FRAME_BUDGET)
        .handshake(stream)
        .await?;
    let client = Client {
        node: Arc::clone(node),
        peer,
        socket: Arc::clone(socket),
        unfinished: Kept::default(),
    };
    let mut calls = Vec::new();
    let mut is_open = true;
    while is_open {
        is_open = poll_fn(|cx| {
            if socket.take_go_away() {
                connection.graceful_shutdown();
            }
            poll_calls(&mut connection, socket, &mut calls, cx)
        })
        .await?;
        for (request, respond) in calls.drain(..) {
            client.accept(request, respond).await;
        }
    }
    Ok(())
}

/// Takes the calls that have come. Returns whether the connection is open.
///
/// h2 writes what there is to write at each poll. So all calls that have come are taken before the first
/// one is answered, and their replies are written together. While the client does not read its replies,
/// its calls are not taken, so the replies that the server keeps for it are bounded.
fn poll_calls(
    connection: &mut Connection<impl AsyncRead + AsyncWrite + Unpin, Bytes>,
    socket: &SocketState,
    calls: &mut Vec<Arrived>,
    cx: &mut std::task::Context<'_>,
) -> Poll<Result<bool, h2::Error>> {
    while calls.len() < MOST_AT_ONCE {
        if socket.is_full() {
            if let Poll::Ready(end) = connection.poll_closed(cx) {
                return Poll::Ready(end.map(|()| false));
            }
            if socket.is_full() {
                break;
            }
        }
        match connection.poll_accept(cx) {
            Poll::Ready(Some(call)) => calls.push(call?),
            Poll::Ready(None) => return Poll::Ready(Ok(false)),
            Poll::Pending => break,
        }
    }
    match calls.is_empty() {
        true => Poll::Pending,
        false => Poll::Ready(Ok(true)),
    }
}

/// The client of a connection, whose calls are taken.
struct Client {
    node: Arc<Node>,
    peer: Peer,
    socket: Arc<SocketState>,
    /// Bytes of requests that have come in part.
    unfinished: Kept,
}

impl Client {
    /// Answers a call, or starts a task that does. This does not wait.
    async fn accept(&self, request: http::Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let is_grpc = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        if !is_grpc {
            let mut refusal = Response::new(());
            *refusal.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            // The client may have given the stream up.
            let _ = respond.send_response(refusal, true);
            return;
        }
        let mut reply = Reply::new(respond, Arc::clone(&self.socket));
        let method = match Method::of(request.uri().path()) {
            Ok(method) => method,
            Err(status) => return reply.end(Err(status.into())),
        };
        let limit = self.node.options().max_request_bytes;
        let limit = limit.saturating_add(GRPC_OVERHEAD);
        let context = Context::new(Arc::clone(&self.node), &self.peer, request.headers());
        let name = || CallName {
            peer: self.peer.address,
            path: request.uri().path().to_owned(),
            requires_leader: context.requires_leader(),
        };
        let is_faulty = self.node.faults().is_active();
        let name = (is_faulty || matches!(method, Method::Task(_))).then(name);
        let mut request = Request::new(request.into_body(), limit, self.unfinished.share());
        match (method, name) {
            (method, Some(name)) => {
                reply.obey_faults(Arc::clone(&self.node), name.clone());
                drop(tokio::spawn(run(context, method, name, request, reply)));
            }
            (Method::Unary(begin), None) => {
                match poll_fn(|cx| Poll::Ready(request.poll_next(cx))).await {
                    Poll::Ready(message) => answer(context, begin, message, reply),
                    Poll::Pending => drop(tokio::spawn(async move {
                        let message = request.next().await;
                        answer(context, begin, message, reply);
                    })),
                }
            }
            // It has a name.
            (Method::Task(_), None) => {}
        }
    }
}

/// Carries out a call in a task, as the faults allow.
async fn run(
    context: Context,
    method: Method,
    name: CallName,
    mut request: Request,
    mut reply: Reply,
) {
    let faults = context.node().faults();
    let passed = tokio::select! {
        passed = faults.pass(&name) => passed,
        () = reply.given_up() => return,
    };
    if let Err(status) = passed {
        return reply.end(Err(status.into()));
    }
    match method {
        Method::Unary(begin) => {
            let message = request.next().await;
            answer(context, begin, message, reply);
        }
        Method::Task(task) => {
            let end = tokio::select! {
                end = task(&context, request, &mut reply) => end,
                status = faults.leader_lost(&name) => Err(status.into()),
            };
            reply.end(end);
        }
    }
}

/// Answers a call that has got its message, or starts a task that does.
fn answer(context: Context, begin: Unary, message: Result<Option<Bytes>, Ended>, reply: Reply) {
    match message.and_then(|message| Ok(service::begin(&context, begin, message)?)) {
        Ok(Progress::Answered(frame)) => reply.answer(frame),
        Ok(Progress::Working(work)) => drop(tokio::spawn(finish(context, work, reply))),
        Err(end) => reply.end(Err(end)),
    }
}

/// Goes on with a call in steps. Other calls come in between.
async fn finish(context: Context, mut work: Work, mut reply: Reply) {
    while !reply.is_given_up().await {
        match service::step(context.node(), work) {
            Ok(Progress::Working(rest)) => work = rest,
            Ok(Progress::Answered(frame)) => return reply.send_answer(frame).await,
            Err(status) => return reply.end(Err(status.into())),
        }
        tokio::task::yield_now().await;
    }
}
