//! HTTP/2 frames by hand, for servers that send what no HTTP/2 library would.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, split};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:status: 200` of HPACK's static table.
const STATUS_OK: u8 = 0x88;

/// One frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header that HPACK does not index.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).expect("under 127");
    let mut bytes = vec![0, length(name)];
    bytes.extend(name.bytes());
    bytes.push(length(value));
    bytes.extend(value.bytes());
    bytes
}

pub(super) fn data(stream: u32, payload: &[u8]) -> Vec<u8> {
    frame(DATA, 0, stream, payload)
}

pub(super) fn reply_head(stream: u32) -> Vec<u8> {
    let mut block = vec![STATUS_OK];
    block.extend(literal("content-type", "application/grpc"));
    frame(HEADERS, END_HEADERS, stream, &block)
}

pub(super) fn trailers(stream: u32) -> Vec<u8> {
    frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        stream,
        &literal("grpc-status", "0"),
    )
}

/// The server allows so many streams at once from now on.
pub(super) fn stream_limit(limit: u32) -> Vec<u8> {
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    let setting = MAX_CONCURRENT_STREAMS.to_be_bytes();
    let payload = [&setting[..], &limit.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &payload)
}

/// GOAWAY: the server processes streams up to `last` only.
pub(super) fn go_away(last: u32) -> Vec<u8> {
    const NO_ERROR: u32 = 0;
    let payload = [last.to_be_bytes(), NO_ERROR.to_be_bytes()].concat();
    frame(GOAWAY, 0, 0, &payload)
}

/// A complete and correct reply.
pub(super) fn reply(stream: u32, message: &[u8]) -> Vec<u8> {
    [reply_head(stream), data(stream, message), trailers(stream)].concat()
}

/// Performs the handshake, and answers each request with the bytes that `answer` makes for its stream.
pub(super) async fn answer_with(stream: DuplexStream, answer: impl Fn(u32) -> Vec<u8>) {
    let (sender, receiver) = unbounded_channel();
    let _ = sender.send(frame(SETTINGS, 0, 0, &[]));
    serve(stream, (sender, receiver), answer).await;
}

/// The same with frames of the test's own: what comes through the channel is sent, beginning with
/// the server's settings.
pub(super) async fn serve(
    stream: DuplexStream,
    (sender, mut receiver): (UnboundedSender<Vec<u8>>, UnboundedReceiver<Vec<u8>>),
    answer: impl Fn(u32) -> Vec<u8>,
) {
    let (mut stream, mut writer) = split(stream);
    let writing = async {
        while let Some(bytes) = receiver.recv().await {
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = writing => {}
        () = read(&mut stream, &sender, answer) => {}
    }
}

async fn read(
    stream: &mut (impl AsyncReadExt + Unpin),
    sender: &UnboundedSender<Vec<u8>>,
    answer: impl Fn(u32) -> Vec<u8>,
) {
    let mut preface = [0; 24];
    if stream.read_exact(&mut preface).await.is_err() {
        return;
    }
    let mut head = [0; 9];
    while stream.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        if stream.read_exact(&mut payload).await.is_err() {
            return;
        }
        let answer = match (head[3], head[4] & ACK) {
            (SETTINGS, 0) => frame(SETTINGS, ACK, 0, &[]),
            (PING, 0) => frame(PING, ACK, 0, &payload),
            (DATA, END_STREAM) => answer(u32::from_be_bytes([head[5], head[6], head[7], head[8]])),
            _ => continue,
        };
        if sender.send(answer).is_err() {
            return;
        }
    }
}
