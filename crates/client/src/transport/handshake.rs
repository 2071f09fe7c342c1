//! From an endpoint to an HTTP/2 connection that answers.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Ping, PingPong};
use tokio::task::JoinHandle;

use super::pulse::{Metered, Pulse};
use crate::config::Options;
use crate::connector::Connector;
use crate::endpoint::Endpoint;

/// Streams that we reset and whose late frames are still recognised.
///
/// At h2's default (50), frames of the 51st dropped call count as the server's fault.
const REMEMBERED_RESETS: usize = 1 << 16;

/// How long they are remembered: longer than a stalled server is let live.
const RESET_MEMORY: Duration = Duration::from_secs(30);

/// What small DATA frames nobody has read yet may cost, in h2's own measure (256 minus their
/// size): a million of them. h2 would take it from the connection window, and with a small one
/// some hundreds of unread replies would end the connection.
const UNREAD_FRAME_BUDGET: usize = 1 << 28;

/// The most that the heads of a reply may hold, in bytes.
const MAX_HEADER_LIST: u32 = 64 << 10;

/// An HTTP/2 connection that has answered a ping.
pub(crate) struct Wire {
    pub(crate) sender: SendRequest<Bytes>,
    pub(crate) task: Task,
    pub(crate) ping_pong: PingPong,
    pub(crate) pulse: Arc<Pulse>,
}

/// The task that drives a connection; dropping this ends it.
pub(crate) struct Task(pub(crate) JoinHandle<Result<(), h2::Error>>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why an endpoint could not be reached; shared by all who wait for it.
#[derive(Clone, Debug)]
pub(crate) struct Unreachable {
    what: &'static str,
    source: Option<Arc<io::Error>>,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Unreachable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl Unreachable {
    fn new(what: &'static str) -> Self {
        Self { what, source: None }
    }

    /// A connection that was up broke.
    pub(crate) fn lost(cause: String) -> Self {
        Self::with("the connection was lost", io::Error::other(cause))
    }

    pub(crate) fn with(what: &'static str, source: io::Error) -> Self {
        Self {
            what,
            source: Some(Arc::new(source)),
        }
    }
}

/// Connects, shakes hands, and waits for the answer to a ping.
///
/// The ping proves that a server speaks HTTP/2 behind the address, and as its settings come
/// before its answer, the number of streams that it allows is known from here on. It does not
/// count for the distance of keep-alive pings: etcd bears two that come too early, and forgets
/// them with each reply.
pub(crate) async fn connect(
    endpoint: &Endpoint,
    connector: &dyn Connector,
    options: &Options,
) -> Result<Wire, Unreachable> {
    let open = AtomicBool::new(false);
    let attempt = async {
        let stream = connector
            .connect(endpoint)
            .await
            .map_err(|error| Unreachable::with("cannot connect", error))?;
        open.store(true, Ordering::Relaxed);
        let pulse = Arc::new(Pulse::new());
        let stream = Metered {
            stream,
            pulse: Arc::clone(&pulse),
        };
        let (sender, mut connection) = builder(options)
            .handshake::<_, Bytes>(stream)
            .await
            .map_err(not_http2)?;
        // INVARIANT: the first call of `ping_pong` on a connection returns it.
        let Some(mut ping_pong) = connection.ping_pong() else {
            return Err(Unreachable::new("the connection has no ping"));
        };
        let mut task = Task(tokio::spawn(connection));
        ping_pong.send_ping(Ping::opaque()).map_err(not_http2)?;
        tokio::select! {
            biased;
            ended = &mut task.0 => Err(match ended {
                Ok(Err(error)) => not_http2(error),
                Ok(Ok(())) | Err(_) => closed_early(),
            }),
            pong = poll_fn(|cx| ping_pong.poll_pong(cx)) => {
                pong.map_err(not_http2)?;
                Ok(Wire { sender, task, ping_pong, pulse })
            }
        }
    };
    match tokio::time::timeout(options.connect_timeout, attempt).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Unreachable::with(
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

fn builder(options: &Options) -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(options.stream_window)
        .initial_connection_window_size(options.connection_window)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_concurrent_reset_streams(REMEMBERED_RESETS)
        .reset_stream_duration(RESET_MEMORY)
        // It counts over the whole life of a connection, so any number is too small for a
        // client that lives for months and drops calls now and then.
        .max_local_error_reset_streams(None)
        .data_frame_budget(UNREAD_FRAME_BUDGET);
    builder
}

fn not_http2(error: h2::Error) -> Unreachable {
    if error.get_io().is_some_and(is_end) {
        return closed_early();
    }
    Unreachable::with(
        "it does not speak HTTP/2 as etcd does (is it another service, or https?)",
        io::Error::other(error),
    )
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}

fn closed_early() -> Unreachable {
    Unreachable::new(
        "it accepted the connection and closed it without an answer (is it https? or a proxy \
         without a server behind it?)",
    )
}
