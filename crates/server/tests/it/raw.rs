//! gRPC without a client's rules: any bytes, on any path.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, StatusCode};
use prost::Message;

/// The most bytes of a reply that a server may send ahead: of one call, and of all together.
const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;

/// A header of a request.
pub(crate) type Header = (&'static str, String);

/// Connects to a server.
pub(crate) async fn connect(url: &str) -> SendRequest<Bytes> {
    let address = url.strip_prefix("http://").unwrap();
    let socket = tokio::net::TcpStream::connect(address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(socket)
        .await
        .unwrap();
    // A test may end the server first.
    tokio::spawn(async { drop(connection.await) });
    sender
}

/// Returns a message with its prefix.
pub(crate) fn framed(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap();
    [&[0][..], &length.to_be_bytes(), &message].concat()
}

async fn open(
    sender: &SendRequest<Bytes>,
    path: &str,
    content_type: &str,
    header: Option<Header>,
) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
    let mut request =
        Request::post(format!("http://server{path}")).header("content-type", content_type);
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    let mut sender = sender.clone().ready().await?;
    sender.send_request(request.body(()).unwrap(), false)
}

/// The answer to a whole request.
pub(crate) struct Answer {
    pub(crate) http: StatusCode,
    /// The gRPC status.
    pub(crate) code: String,
    pub(crate) text: String,
    /// The messages of the reply, each with its prefix.
    pub(crate) body: Vec<u8>,
}

/// Sends these bytes as the whole request, and returns the answer.
pub(crate) async fn exchange(
    sender: &SendRequest<Bytes>,
    path: &str,
    content_type: &str,
    header: Option<Header>,
    body: Vec<u8>,
) -> Result<Answer, h2::Error> {
    let (response, mut stream) = open(sender, path, content_type, header).await?;
    // A server that refuses the first bytes may not take the others.
    let _ = stream.send_data(body.into(), true);
    let (head, mut stream) = response.await?.into_parts();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    let trailers = stream.trailers().await?.unwrap_or_default();
    let text = |name| {
        let value = trailers.get(name).or_else(|| head.headers.get(name));
        value.map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
    };
    Ok(Answer {
        http: head.status,
        code: text("grpc-status"),
        text: text("grpc-message"),
        body,
    })
}

/// Returns the HTTP status, the gRPC status and the message of the answer to these bytes.
pub(crate) async fn answer(
    sender: &SendRequest<Bytes>,
    path: &str,
    content_type: &str,
    body: Vec<u8>,
) -> (StatusCode, String, String) {
    let answer = exchange(sender, path, content_type, None, body);
    let answer = answer.await.unwrap();
    (answer.http, answer.code, answer.text)
}

/// A call with many messages in both directions.
pub(crate) struct Stream {
    requests: SendStream<Bytes>,
    response: Option<ResponseFuture>,
    head: HeaderMap,
    body: Option<RecvStream>,
    bytes: BytesMut,
    messages: VecDeque<Bytes>,
}

impl Stream {
    pub(crate) async fn open(sender: &SendRequest<Bytes>, path: &str) -> Self {
        Self::open_with(sender, path, None).await
    }

    /// Opens a stream with a header.
    pub(crate) async fn open_with(
        sender: &SendRequest<Bytes>,
        path: &str,
        header: Option<Header>,
    ) -> Self {
        let opened = open(sender, path, "application/grpc", header).await;
        let (response, requests) = opened.unwrap();
        Self {
            requests,
            response: Some(response),
            head: HeaderMap::new(),
            body: None,
            bytes: BytesMut::new(),
            messages: VecDeque::new(),
        }
    }

    pub(crate) fn send(&mut self, message: &impl Message) {
        self.requests
            .send_data(framed(message).into(), false)
            .unwrap();
    }

    /// Ends the requests.
    pub(crate) fn end(&mut self) {
        self.requests.send_data(Bytes::new(), true).unwrap();
    }

    /// Returns the next message; `None` after the last one.
    pub(crate) async fn next<M: Message + Default>(&mut self) -> Option<M> {
        // INVARIANT: a message is taken only when all of it is there, so a dropped future loses none.
        if self.body.is_none() {
            let response = self.response.as_mut().unwrap().await.unwrap();
            let (head, body) = response.into_parts();
            self.head = head.headers;
            self.body = Some(body);
        }
        let body = self.body.as_mut().unwrap();
        while self.messages.is_empty() {
            let data = body.data().await?.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            self.bytes.extend_from_slice(&data);
            while let Some(prefix) = self.bytes.first_chunk::<5>() {
                let [_, length @ ..] = *prefix;
                let length = u32::from_be_bytes(length) as usize;
                if self.bytes.len() < 5 + length {
                    break;
                }
                self.bytes.advance(5);
                self.messages
                    .push_back(self.bytes.split_to(length).freeze());
            }
        }
        let message = self.messages.pop_front()?;
        Some(M::decode(message).unwrap())
    }

    /// Returns the gRPC status after the last message, and its text.
    pub(crate) async fn status(&mut self) -> (String, String) {
        let trailers = self.body.as_mut().unwrap().trailers().await.unwrap();
        // Without a message, the status is in the head.
        let trailers = trailers.unwrap_or_else(|| self.head.clone());
        let text = |name| {
            let value = trailers.get(name);
            value.map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
        };
        (text("grpc-status"), text("grpc-message"))
    }
}

/// Sends one message, and returns the one of the reply, or the status and its text.
pub(crate) async fn call<M: Message + Default>(
    sender: &SendRequest<Bytes>,
    path: &str,
    request: &impl Message,
) -> Result<M, (String, String)> {
    let mut stream = Stream::open(sender, path).await;
    stream.send(request);
    match stream.next().await {
        Some(reply) => Ok(reply),
        None => Err(stream.status().await),
    }
}
