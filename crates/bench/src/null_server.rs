//! A gRPC server that answers every put and get with the same bytes, at the lowest cost.
//!
//! It runs as a process of its own, so that what the benchmark measures of itself is the client.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::task::{Context, Poll};

use anyhow::Context as _;
use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Connection, SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};

use crate::cores;

mod process;
mod reply;

pub use process::NullServer;
use reply::Reply;

/// So wide that neither side ever waits for the other to read.
const WINDOW: u32 = 16 << 20;

/// How the null server runs.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Stay on this core
    #[arg(long)]
    core: Option<usize>,
}

/// Prints the address, then serves until standard input ends.
pub fn run(options: &Options) -> anyhow::Result<()> {
    if let Some(core) = options.core {
        cores::pin(core).with_context(|| format!("cannot stay on core {core}"))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
        std::thread::spawn(exit_with_stdin);
        loop {
            let (socket, _) = listener.accept().await?;
            tokio::spawn(serve(socket));
        }
    })
}

/// The pipe ends with the process that holds its other end, however that one ends.
fn exit_with_stdin() {
    let mut stdin = std::io::stdin().lock();
    let mut buffer = [0; 64];
    while let Ok(1..) = stdin.read(&mut buffer) {}
    std::process::exit(0);
}

async fn serve(socket: TcpStream) {
    if let Err(error) = answer_all(socket).await {
        eprintln!("null server: {error:#}");
    }
}

async fn answer_all(socket: TcpStream) -> anyhow::Result<()> {
    socket.set_nodelay(true)?;
    let mut connection = h2::server::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        // As etcd's server has it: no limit.
        .max_concurrent_streams(u32::MAX)
        .handshake(socket)
        .await?;
    let mut calls = Calls::new();
    std::future::poll_fn(|context| calls.poll(&mut connection, context)).await
}

/// The calls of one connection whose request has not come to its end yet.
///
/// One task answers them all, for a task each would be most of the server's work.
struct Calls {
    open: Vec<Call>,
    head: Response<()>,
    trailers: HeaderMap,
    put: Bytes,
    range: Bytes,
}

struct Call {
    reply: Reply,
    body: RecvStream,
    respond: SendResponse<Bytes>,
}

impl Calls {
    fn new() -> Self {
        let mut head = Response::new(());
        head.headers_mut().insert(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static("application/grpc"),
        );
        let mut trailers = HeaderMap::new();
        // Both, since etcd's server sends both.
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        trailers.insert("grpc-message", HeaderValue::from_static(""));
        Self {
            open: Vec::new(),
            head,
            trailers,
            put: Reply::Put.framed(),
            range: Reply::Range.framed(),
        }
    }

    fn poll(
        &mut self,
        connection: &mut Connection<TcpStream, Bytes>,
        context: &mut Context<'_>,
    ) -> Poll<anyhow::Result<()>> {
        loop {
            let answered = self.answer_whole(context)?;
            match connection.poll_accept(context) {
                Poll::Ready(Some(call)) => {
                    let (request, respond) = call?;
                    self.open.push(Call::new(request, respond)?);
                }
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                // What was answered just now goes out with the next poll of the connection.
                Poll::Pending if answered => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Answers the calls whose request is there to its end; whether there were any.
    fn answer_whole(&mut self, context: &mut Context<'_>) -> anyhow::Result<bool> {
        let mut answered = false;
        let mut index = 0;
        while index < self.open.len() {
            if self.open[index].poll_end(context)?.is_ready() {
                let call = self.open.swap_remove(index);
                self.answer(call)?;
                answered = true;
            } else {
                index += 1;
            }
        }
        Ok(answered)
    }

    fn answer(&self, mut call: Call) -> anyhow::Result<()> {
        let reply = match call.reply {
            Reply::Put => self.put.clone(),
            Reply::Range => self.range.clone(),
        };
        let mut stream = call.respond.send_response(self.head.clone(), false)?;
        stream.send_data(reply, false)?;
        stream.send_trailers(self.trailers.clone())?;
        Ok(())
    }
}

impl Call {
    fn new(request: Request<RecvStream>, respond: SendResponse<Bytes>) -> anyhow::Result<Self> {
        let path = request.uri().path();
        let reply = Reply::to(path).with_context(|| format!("there is no answer to {path}"))?;
        Ok(Self {
            reply,
            body: request.into_body(),
            respond,
        })
    }

    fn poll_end(&mut self, context: &mut Context<'_>) -> anyhow::Result<Poll<()>> {
        loop {
            match self.body.poll_data(context) {
                // Its share of the window comes back when the stream is dropped.
                Poll::Ready(Some(frame)) => drop(frame?),
                Poll::Ready(None) => return Ok(Poll::Ready(())),
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
    }
}
