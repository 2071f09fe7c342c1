//! A minimal gRPC call over the `h2` crate, as the baseline of the other clients.

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

/// Time limit of a call. The header `grpc-timeout` has the same value.
const TIMEOUT: Duration = Duration::from_secs(5);
const GRPC_TIMEOUT: HeaderValue = HeaderValue::from_static("5S");

/// Length of a message's prefix: a flag for compression, and the length of the message.
const PREFIX: usize = 5;

/// One connection with bare calls: no retries, no other endpoints, no tokens.
#[derive(Clone, Debug)]
pub struct RawH2 {
    connection: SendRequest<Bytes>,
    /// Prepared heads of the two calls. A clone is cheaper than a new one.
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
        // An error of the connection also reaches every call in flight.
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
        // A new clone has no stream that waits to be opened, so it is always ready.
        let (reply, mut stream) = self.connection.clone().send_request(head.clone(), false)?;
        stream.send_data(framed(message)?, true)?;
        let (head, mut body) = reply.await?.into_parts();
        ensure!(head.status == StatusCode::OK, "HTTP {}", head.status);
        let reply = read(&mut body).await?;
        match body.trailers().await? {
            Some(trailers) => check(&trailers)?,
            // A reply with an error may have only a head.
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
        reply.header.context("the reply has no header").map(drop)
    }

    async fn get(&self, key: Bytes) -> anyhow::Result<usize> {
        let request = RangeRequest {
            key,
            ..RangeRequest::default()
        };
        let reply: RangeResponse = self.call(&self.range, &request).await?;
        let found = reply.kvs.first().context("the reply has no key")?;
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
    ensure!(frame.len() >= PREFIX, "the reply has no prefix");
    ensure!(frame.get_u8() == 0, "the reply is compressed");
    let length = usize::try_from(frame.get_u32())?;
    ensure!(length == frame.len(), "the length in the prefix is wrong");
    Ok(frame)
}

async fn read(body: &mut RecvStream) -> anyhow::Result<Bytes> {
    let mut whole = Bytes::new();
    while let Some(frame) = body.data().await {
        let frame = frame?;
        whole = if whole.is_empty() {
            // A small reply is one frame, which is not copied. Dropping the stream gives its
            // share of the window back.
            frame
        } else {
            body.flow_control().release_capacity(frame.len())?;
            [whole, frame].concat().into()
        };
    }
    Ok(whole)
}

fn check(headers: &HeaderMap) -> anyhow::Result<()> {
    let status = headers
        .get("grpc-status")
        .context("the reply has no grpc-status")?;
    if status == "0" {
        return Ok(());
    }
    let message = headers.get("grpc-message");
    bail!("gRPC status {status:?}, message {message:?}")
}
