//! From an endpoint to an HTTP/2 connection that answers.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use h2::{Ping, PingPong};
use tokio::task::JoinHandle;

use super::connect_error::{ConnectError, is_end};
use super::dial::{Dialed, Dialer};
use super::link_state::{LinkState, Metered, now};
use crate::config::Options;
use crate::connector::ByteStream;
use crate::endpoint::Endpoint;

/// Number of streams reset by the client whose late frames h2 still recognises.
///
/// At h2's default (50), a late frame for the 51st dropped call counts as an error of the server.
const REMEMBERED_RESETS: usize = 1 << 16;

/// How long such streams are remembered: longer than a connection to a stalled server lasts.
const RESET_MEMORY: Duration = Duration::from_secs(30);

/// Budget for small DATA frames that no call has read yet, in h2's measure (256 minus the size of
/// each): about a million frames. By default h2 derives the budget from the connection window, and
/// with a small window some hundreds of unread replies would end the connection.
const UNREAD_FRAME_BUDGET: usize = 1 << 28;

/// Largest head of a reply, in bytes.
const MAX_HEADER_LIST: u32 = 64 << 10;

/// The options and the dialer that all connections of a client are made with.
#[derive(Clone)]
pub(crate) struct ConnectContext {
    pub(crate) options: Arc<Options>,
    pub(crate) dialer: Arc<Dialer>,
}

/// An HTTP/2 connection that has answered a ping.
pub(crate) struct Handshaken {
    pub(crate) sender: SendRequest<Bytes>,
    pub(crate) task: Task,
    pub(crate) ping_pong: PingPong,
    pub(crate) state: Arc<LinkState>,
    /// Round-trip time of the ping.
    pub(crate) round_trip: Duration,
}

/// The task that drives a connection. Dropping this ends the task.
pub(crate) struct Task(pub(crate) JoinHandle<Result<(), h2::Error>>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Connects, shakes hands, and waits for the answer to a ping.
///
/// The pong proves that a server behind the address speaks HTTP/2. The settings of the server come
/// before its pong, so the number of streams that the server allows is known from here on. The ping
/// does not count for the distance of keep-alive pings: etcd tolerates two pings that come too early,
/// and starts its count over with each reply.
pub(crate) async fn connect(
    endpoint: &Endpoint,
    context: &ConnectContext,
) -> Result<Handshaken, ConnectError> {
    let ConnectContext { options, dialer } = context;
    let open = AtomicBool::new(false);
    let attempt = async {
        let stream = dialer.open(endpoint).await?;
        open.store(true, Ordering::Relaxed);
        let Dialed {
            stream,
            session_error,
        } = dialer.secure(endpoint, stream).await?;
        let partial = dialer.may_send_in_part(endpoint);
        let outcome = greet(stream, options, endpoint.is_secure(), partial).await;
        // The error of the TLS session is more exact than the error that HTTP/2 makes of it.
        outcome.map_err(|error| session_error.get().cloned().unwrap_or(error))
    };
    match tokio::time::timeout(options.connect_timeout, attempt).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ConnectError::with(
            if open.load(Ordering::Relaxed) {
                "it accepted the connection and is silent"
            } else {
                "cannot connect"
            },
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no answer within {:?}", options.connect_timeout),
            ),
        )),
    }
}

/// Starts HTTP/2 on a byte stream, and waits until the server has answered a ping.
async fn greet(
    stream: Box<dyn ByteStream>,
    options: &Options,
    secure: bool,
    partial: bool,
) -> Result<Handshaken, ConnectError> {
    let failed = |error| not_http2(error, secure);
    let state = Arc::new(LinkState::new());
    let stream = Metered {
        partial,
        ended: false,
        stream,
        state: Arc::clone(&state),
    };
    let (sender, mut connection) = builder(options)
        .handshake::<_, Bytes>(stream)
        .await
        .map_err(failed)?;
    // INVARIANT: the first call of `ping_pong` on a connection returns it.
    let Some(mut ping_pong) = connection.ping_pong() else {
        return Err(ConnectError::new("the connection has no ping"));
    };
    let mut task = Task(tokio::spawn(run(connection, Arc::clone(&state))));
    let asked = now();
    ping_pong.send_ping(Ping::opaque()).map_err(failed)?;
    tokio::select! {
        biased;
        ended = &mut task.0 => Err(match ended {
            Ok(Err(error)) => failed(error),
            Ok(Ok(())) | Err(_) => closed_early(secure),
        }),
        pong = poll_fn(|cx| ping_pong.poll_pong(cx)) => {
            pong.map_err(failed)?;
            let round_trip = now().saturating_duration_since(asked);
            state.set_round_trip(round_trip);
            Ok(Handshaken { sender, task, ping_pong, state, round_trip })
        }
    }
}

/// Drives a connection until it has ended, and sends the messages of requests for which h2 has opened
/// a stream.
async fn run(
    mut connection: Connection<Metered, Bytes>,
    state: Arc<LinkState>,
) -> Result<(), h2::Error> {
    poll_fn(move |cx| {
        loop {
            let end = Pin::new(&mut connection).poll(cx);
            state
                .queue
                .set_limit(connection.max_concurrent_send_streams());
            // h2 writes the messages in its next turn.
            if end.is_ready() || !state.queue.send(cx) {
                return end;
            }
        }
    })
    .await
}

fn builder(options: &Options) -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(options.stream_window)
        .initial_connection_window_size(options.connection_window)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_concurrent_reset_streams(REMEMBERED_RESETS)
        .reset_stream_duration(RESET_MEMORY)
        // h2 counts over the whole life of a connection, so any number is too small for a client
        // that runs for months and drops calls now and then.
        .max_local_error_reset_streams(None)
        .data_frame_budget(UNREAD_FRAME_BUDGET);
    builder
}

fn not_http2(error: h2::Error, secure: bool) -> ConnectError {
    if error.get_io().is_some_and(is_end) {
        return closed_early(secure);
    }
    ConnectError::with(
        "it does not speak HTTP/2 as etcd does (is it another service, or https?)",
        io::Error::other(error),
    )
}

fn closed_early(secure: bool) -> ConnectError {
    if secure {
        // The TLS handshake succeeded, so this is neither http nor a port without a server.
        return ConnectError::new(
            "it closed the connection right after the TLS handshake (does it let in only \
             clients with a certificate that it trusts?)",
        );
    }
    ConnectError::new(
        "it accepted the connection and closed it without an answer (is it https? or a proxy \
         without a server behind it?)",
    )
}
