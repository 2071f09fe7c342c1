//! The scripted peer: a `Connector` whose streams lead to a server of the test.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::{BufMut, Bytes, BytesMut};
use etcdex_proto::{etcdserverpb as pb, mvccpb};
use h2::server::{Connection, SendResponse};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use prost::Message;
use tokio::io::DuplexStream;

use crate::connector::ByteStream;
use crate::connector::ConnectFuture;
use crate::{Client, ClientBuilder, Connector, Endpoint};

/// The test's handler of a new connection to one endpoint; its arguments are the number, from 0,
/// and the stream.
type Script =
    Arc<dyn Fn(usize, DuplexStream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// Endpoints in memory.
#[derive(Clone, Default)]
pub(crate) struct Peers {
    scripts: Arc<Mutex<HashMap<String, (Script, usize)>>>,
}

impl Peers {
    /// One peer at `http://one:1` that runs `script` on each connection.
    pub(crate) fn one<F>(script: impl Fn(usize, DuplexStream) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::default().and("http://one:1", script)
    }

    pub(crate) fn and<F>(
        self,
        url: &str,
        script: impl Fn(usize, DuplexStream) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let script: Script = Arc::new(move |number, stream| Box::pin(script(number, stream)));
        self.lock().insert(url.to_owned(), (script, 0));
        self
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Script, usize)>> {
        self.scripts
            .lock()
            .expect("no test panics while it holds this")
    }

    /// Number of connections that an endpoint has accepted.
    pub(crate) fn connections(&self, url: &str) -> usize {
        self.lock()[url].1
    }

    pub(crate) fn builder(&self) -> ClientBuilder {
        let mut urls: Vec<_> = self.lock().keys().cloned().collect();
        urls.sort();
        Client::builder().endpoints(urls).connector(self.clone())
    }

    pub(crate) async fn client(&self) -> Client {
        self.builder().connect().await.expect("the client connects")
    }

    /// Returns a client that sends a repeatable call again this number of times.
    pub(crate) async fn client_with_retries(&self, retries: u32) -> Client {
        let connect = self.builder().retries(retries).connect();
        connect.await.expect("the client connects")
    }
}

impl Connector for Peers {
    fn connect(&self, endpoint: &Endpoint) -> ConnectFuture {
        let mut scripts = self.lock();
        let Some((script, count)) = scripts.get_mut(endpoint.url()) else {
            return Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) });
        };
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        tokio::spawn(script(*count, theirs));
        *count += 1;
        Box::pin(async move { Ok(Box::new(ours) as Box<dyn ByteStream>) })
    }
}

/// A request that a peer has received: its path and its message.
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) message: Bytes,
    pub(crate) reply: SendResponse<Bytes>,
}

/// Behavior the handshake of a server with etcd's windows.
pub(crate) async fn handshake(stream: DuplexStream) -> Connection<DuplexStream, Bytes> {
    handshake_with(stream, h2::server::Builder::new()).await
}

pub(crate) async fn handshake_with(
    stream: DuplexStream,
    mut builder: h2::server::Builder,
) -> Connection<DuplexStream, Bytes> {
    builder
        .initial_window_size(1 << 20)
        .initial_connection_window_size(1 << 24)
        // The tests drop ten thousand calls at once; a Go server has no such limit.
        .max_concurrent_reset_streams(1 << 20)
        .max_pending_accept_reset_streams(1 << 20)
        .max_local_error_reset_streams(None)
        .handshake(stream)
        .await
        .expect("the client speaks HTTP/2")
}

/// Reads a request to its end.
pub(crate) async fn read(
    request: Request<h2::RecvStream>,
    reply: SendResponse<Bytes>,
) -> Option<Asked> {
    let (head, mut body) = request.into_parts();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.data().await {
        let frame = frame.ok()?;
        body.flow_control().release_capacity(frame.len()).ok()?;
        whole.extend_from_slice(&frame);
    }
    let mut message = whole.freeze();
    Some(Asked {
        path: head.uri.path().to_owned(),
        headers: head.headers,
        message: message.split_off(5.min(message.len())),
        reply,
    })
}

/// A server that handles the streams of a method by `streams`, and answers each other request by
/// `answer`, each in a task of its own.
pub(crate) async fn serve_streams<F>(
    stream: DuplexStream,
    method: &'static str,
    streams: impl Fn(Request<h2::RecvStream>, SendResponse<Bytes>) -> F + Clone + Send + 'static,
    answer: impl Fn(Asked) + Clone + Send + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connection = handshake(stream).await;
    while let Some(Ok((request, reply))) = connection.accept().await {
        let (streams, answer) = (streams.clone(), answer.clone());
        tokio::spawn(async move {
            if request.uri().path() == method {
                streams(request, reply).await;
            } else if let Some(asked) = read(request, reply).await {
                answer(asked);
            }
        });
    }
}

/// A server that answers each request by `answer`, in a task of its own.
pub(crate) async fn serve<F>(
    stream: DuplexStream,
    answer: impl Fn(Asked) -> F + Clone + Send + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connection = handshake(stream).await;
    while let Some(Ok((request, reply))) = connection.accept().await {
        let answer = answer.clone();
        tokio::spawn(async move {
            if let Some(asked) = read(request, reply).await {
                answer(asked).await;
            }
        });
    }
}

/// A server that answers this number of requests, each in a task of its own, and breaks the
/// connection at the next one.
pub(crate) async fn serve_some(
    stream: DuplexStream,
    requests: usize,
    answer: impl Fn(Asked) + Copy + Send + 'static,
) {
    let mut connection = handshake(stream).await;
    for _ in 0..requests {
        let Some(Ok((request, reply))) = connection.accept().await else {
            return;
        };
        tokio::spawn(async move {
            if let Some(asked) = read(request, reply).await {
                answer(asked);
            }
        });
    }
    let _request = connection.accept().await;
}

/// A server that answers each request like an etcd with a single pair.
pub(crate) async fn serve_well(stream: DuplexStream) {
    serve(stream, |asked| async { asked.answer_well() }).await;
}

pub(crate) fn framed(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.encoded_len()).expect("small"));
    message.encode(&mut frame).expect("the buffer has room");
    frame.freeze()
}

pub(crate) fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| {
            let value = HeaderValue::from_str(value).expect("a header value");
            (HeaderName::from_static(name), value)
        })
        .collect()
}

pub(crate) fn head(content_type: &'static str) -> Response<()> {
    let mut head = Response::new(());
    head.headers_mut().insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static(content_type),
    );
    head
}

pub(crate) fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader {
        revision,
        ..pb::ResponseHeader::default()
    })
}

pub(crate) fn range_reply(value: impl Into<Bytes>) -> pb::RangeResponse {
    pb::RangeResponse {
        header: header(2),
        kvs: vec![mvccpb::KeyValue {
            key: Bytes::from_static(b"k"),
            value: value.into(),
            ..mvccpb::KeyValue::default()
        }],
        count: 1,
        ..pb::RangeResponse::default()
    }
}

impl Asked {
    /// Answers with bytes and a status of OK.
    pub(crate) fn answer(mut self, body: Bytes) {
        // The client may have closed the stream.
        let _ = self.try_answer(body, headers(&[("grpc-status", "0")]));
    }

    pub(crate) fn try_answer(&mut self, body: Bytes, trailers: HeaderMap) -> Result<(), h2::Error> {
        let mut stream = self.reply.send_response(head("application/grpc"), false)?;
        stream.send_data(body, false)?;
        stream.send_trailers(trailers)
    }

    /// Answers with an error status in the head, without a message, as Go servers do.
    pub(crate) fn fail(mut self, status: &str, message: &str) {
        let mut head = head("application/grpc");
        head.headers_mut().extend(headers(&[
            ("grpc-status", status),
            ("grpc-message", message),
        ]));
        let _ = self.reply.send_response(head, true);
    }

    pub(crate) fn answer_well(self) {
        let body = match self.path.as_str() {
            "/etcdserverpb.KV/Range" => framed(&range_reply("v")),
            "/etcdserverpb.KV/Put" => framed(&pb::PutResponse {
                header: header(2),
                ..pb::PutResponse::default()
            }),
            _ => framed(&pb::TxnResponse {
                header: header(2),
                succeeded: true,
                ..pb::TxnResponse::default()
            }),
        };
        self.answer(body);
    }
}

/// Polls a call once.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F) -> std::task::Poll<F::Output> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    Pin::new(future).poll(&mut cx)
}
