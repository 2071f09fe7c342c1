//! The least that an honest gRPC call over the `h2` crate can be: the yardstick of the others.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use etcdex_proto::etcdserverpb::{PutRequest, PutResponse, RangeRequest, RangeResponse};
use etcdex_proto::method;
use h2::RecvStream;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use prost::Message;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Peer;

const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// The time for a call, which is also what its `grpc-timeout` says.
const TIMEOUT: Duration = Duration::from_secs(5);
const GRPC_TIMEOUT: HeaderValue = HeaderValue::from_static("5S");

/// A flag for compression and the length of the message.
const PREFIX: usize = 5;

/// One connection, and calls on it with nothing around them: no second try, no other endpoint,
/// no token.
#[derive(Clone, Debug)]
pub struct RawH2 {
    connection: SendRequest<Bytes>,
    /// The heads of the two calls, to be cloned: that is cheaper than to build them.
    put: Request<()>,
    range: Request<()>,
}

impl RawH2 {
    /// Connects, and spawns the task that drives the connection.
    pub async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (connection, driver) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .enable_push(false)
            .handshake(socket)
            .await?;
        // Its error also reaches every call that is under way.
        tokio::spawn(driver);
        Ok(Self {
            connection,
            put: head(address, method::kv::PUT)?,
            range: head(address, method::kv::RANGE)?,
        })
    }

    async fn call<R>(&self, head: &Request<()>, message: &impl Message) -> anyhow::Result<R>
    where
        R: Message + Default,
    {
        timeout(TIMEOUT, self.exchange(head, message))
            .await
            .context("no reply in time")?
    }

    async fn exchange<R>(&self, head: &Request<()>, message: &impl Message) -> anyhow::Result<R>
    where
        R: Message + Default,
    {
        // A fresh clone has no stream that waits to be opened, and so is always ready.
        let (reply, mut stream) = self.connection.clone().send_request(head.clone(), false)?;
        stream.send_data(framed(message)?, true)?;
        let (head, mut body) = reply.await?.into_parts();
        ensure!(head.status == StatusCode::OK, "HTTP {}", head.status);
        let reply = read(&mut body).await?;
        match body.trailers().await? {
            Some(trailers) => check(&trailers)?,
            // An error may come with the head alone.
            None => check(&head.headers)?,
        }
        Ok(R::decode(unframed(reply)?)?)
    }
}

impl Peer for RawH2 {
    async fn put(&self, key: Bytes, value: Bytes) -> anyhow::Result<()> {
        let request = PutRequest {
            key,
            value,
            ..PutRequest::default()
        };
        let reply: PutResponse = self.call(&self.put, &request).await?;
        reply.header.context("a reply without a header").map(drop)
    }

    async fn get(&self, key: Bytes) -> anyhow::Result<usize> {
        let request = RangeRequest {
            key,
            ..RangeRequest::default()
        };
        let reply: RangeResponse = self.call(&self.range, &request).await?;
        let found = reply.kvs.first().context("the key is not there")?;
        Ok(found.value.len())
    }
}

fn head(address: SocketAddr, path: &str) -> anyhow::Result<Request<()>> {
    Ok(Request::builder()
        .method(Method::POST)
        .uri(format!("http://{address}{path}"))
        .header(header::TE, "trailers")
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::USER_AGENT, "raw-h2")
        .header("grpc-timeout", GRPC_TIMEOUT)
        .body(())?)
}

fn framed(message: &impl Message) -> anyhow::Result<Bytes> {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length)?);
    message.encode(&mut frame)?;
    Ok(frame.freeze())
}

fn unframed(mut frame: Bytes) -> anyhow::Result<Bytes> {
    ensure!(frame.len() >= PREFIX, "a reply without a prefix");
    ensure!(frame.get_u8() == 0, "a reply that is compressed");
    let length = usize::try_from(frame.get_u32())?;
    ensure!(length == frame.len(), "a reply of another length");
    Ok(frame)
}

async fn read(body: &mut RecvStream) -> anyhow::Result<Bytes> {
    let mut whole = Bytes::new();
    while let Some(frame) = body.data().await {
        let frame = frame?;
        whole = if whole.is_empty() {
            // A small reply is one frame and stays where it is. Its share of the window comes
            // back when the stream is dropped.
            frame
        } else {
            body.flow_control().release_capacity(frame.len())?;
            [whole, frame].concat().into()
        };
    }
    Ok(whole)
}

fn check(headers: &HeaderMap) -> anyhow::Result<()> {
    let status = headers.get("grpc-status").context("no grpc-status")?;
    if status == "0" {
        return Ok(());
    }
    let message = headers.get("grpc-message");
    bail!("gRPC status {status:?}, message {message:?}")
}
