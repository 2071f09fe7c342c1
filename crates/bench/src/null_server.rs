//! A gRPC server that answers every put and get with the same bytes, at the lowest cost.
//!
//! The server is a separate process, so that the benchmark's own process runs only the client.

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

/// Wide enough that neither side ever waits for the other to read.
const WINDOW: u32 = 16 << 20;

/// Options of the null server.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Core to pin the server to
    #[arg(long)]
    core: Option<usize>,
}

/// Prints the server's address, then serves until standard input ends.
pub fn run(options: &Options) -> anyhow::Result<()> {
    if let Some(core) = options.core {
        cores::pin(core).with_context(|| format!("cannot pin the server to core {core}"))?;
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

/// Ends this process when the parent ends, however it ends: the pipe to standard input then closes.
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
        // As in etcd: no limit.
        .max_concurrent_streams(u32::MAX)
        .handshake(socket)
        .await?;
    let mut calls = Calls::new();
    std::future::poll_fn(|context| calls.poll(&mut connection, context)).await
}

/// The calls of one connection whose request has not ended.
///
/// One task answers all calls, because a task for each would be most of the server's work.
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
        // etcd sends both trailers.
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
                // The next poll of the connection sends the new answers.
                Poll::Pending if answered => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Answers the calls whose request has ended. Returns whether there were any.
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
        let reply = Reply::to(path)
            .with_context(|| format!("the null server does not know the method {path}"))?;
        Ok(Self {
            reply,
            body: request.into_body(),
            respond,
        })
    }

    fn poll_end(&mut self, context: &mut Context<'_>) -> anyhow::Result<Poll<()>> {
        loop {
            match self.body.poll_data(context) {
                // Dropping the stream gives its share of the window back.
                Poll::Ready(Some(frame)) => drop(frame?),
                Poll::Ready(None) => return Ok(Poll::Ready(())),
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
    }
}
