//! Parses the HTTP/2 frames of a byte stream.
//!
//! Source: RFC 9113, sections 3.4 (preface), 4.1 (frames), 6.1, 6.2, 6.10 (padding, priority,
//! header blocks); RFC 7541 (HPACK), which `loona-hpack` decodes.

use std::collections::HashMap;
use std::sync::Arc;

use loona_hpack::Decoder;

use super::Direction;

/// The connection preface of a client.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD: usize = 9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// A kind of HTTP/2 frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FrameKind {
    /// DATA: a piece of a body, in gRPC of messages.
    Data,
    /// HEADERS: the head or the trailers of a call, with its CONTINUATION frames.
    Headers,
    /// RST_STREAM: the reset of a call.
    RstStream,
    /// SETTINGS, and their acknowledgement.
    Settings,
    /// PING, and its answer.
    Ping,
    /// GOAWAY.
    GoAway,
    /// WINDOW_UPDATE.
    WindowUpdate,
}

impl FrameKind {
    fn of(code: u8) -> Option<Self> {
        Some(match code {
            0x0 => Self::Data,
            0x1 | 0x9 => Self::Headers,
            0x3 => Self::RstStream,
            0x4 => Self::Settings,
            0x6 => Self::Ping,
            0x7 => Self::GoAway,
            0x8 => Self::WindowUpdate,
            _ => return None,
        })
    }
}

/// A frame that passes the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passing<'a> {
    pub(super) kind: FrameKind,
    pub(super) stream: u32,
    /// The method of the call, if it is known.
    pub(super) method: Option<&'a str>,
    /// Position of the first byte, from the start of the link in this direction.
    pub(super) start: u64,
    /// Position after the last byte.
    pub(super) end: u64,
}

/// The calls of a link, for both directions.
#[derive(Debug, Default)]
pub(super) struct Calls {
    methods: HashMap<u32, Arc<str>>,
}

impl Calls {
    pub(super) fn method(&self, stream: u32) -> Option<&Arc<str>> {
        self.methods.get(&stream)
    }
}

/// Receives the events of a [`Scanner`].
pub(super) trait Observer {
    /// A frame passes: called at its head, and for HEADERS at the end of the header block.
    fn frame(&mut self, frame: Passing<'_>);
    /// A piece of the body of a call of this method.
    fn body(&mut self, stream: u32, method: &Arc<str>, bytes: &[u8]);
    /// This direction of a call has ended.
    fn end(&mut self, stream: u32, method: &Arc<str>);
}

/// Parses one direction of a link. It stops at bytes that are not HTTP/2 in plain text, without
/// further events.
pub(super) struct Scanner {
    direction: Direction,
    state: State,
    /// Number of bytes of this direction so far.
    position: u64,
    /// Decoder of header blocks of clients; those of servers have no method.
    hpack: Decoder<'static>,
    block: Block,
}

enum State {
    /// Number of bytes of the preface that have come.
    Preface(usize),
    Head([u8; HEAD], usize),
    Payload(Head, usize),
    Inert,
}

#[derive(Clone, Copy)]
struct Head {
    code: u8,
    flags: u8,
    stream: u32,
    length: usize,
    start: u64,
}

/// An incomplete header block.
#[derive(Default)]
struct Block {
    start: u64,
    /// The flags of the HEADERS frame that began the block.
    flags: u8,
    bytes: Vec<u8>,
}

impl Scanner {
    pub(super) fn new(direction: Direction) -> Self {
        let mut hpack = Decoder::new();
        // A client may use a table as large as the server allows; the scanner does not parse that
        // setting.
        hpack.set_max_allowed_table_size(1 << 20);
        Self {
            direction,
            state: match direction {
                Direction::ToServer => State::Preface(0),
                Direction::ToClient => State::Head([0; HEAD], 0),
            },
            position: 0,
            hpack,
            block: Block::default(),
        }
    }

    /// Returns whether the scanner has stopped.
    pub(super) fn is_inert(&self) -> bool {
        matches!(self.state, State::Inert)
    }

    /// Parses the next bytes.
    pub(super) fn scan(
        &mut self,
        mut bytes: &[u8],
        calls: &mut Calls,
        observer: &mut impl Observer,
    ) {
        while !bytes.is_empty() && !self.is_inert() {
            let taken = self.step(bytes, calls, observer);
            self.position += taken as u64;
            bytes = &bytes[taken..];
        }
    }

    fn step(&mut self, bytes: &[u8], calls: &mut Calls, observer: &mut impl Observer) -> usize {
        match &mut self.state {
            State::Inert => bytes.len(),
            State::Preface(done) => {
                let count = bytes.len().min(PREFACE.len() - *done);
                if bytes[..count] != PREFACE[*done..*done + count] {
                    self.state = State::Inert;
                    return bytes.len();
                }
                *done += count;
                if *done == PREFACE.len() {
                    self.state = State::Head([0; HEAD], 0);
                }
                count
            }
            State::Head(head, done) => {
                let count = bytes.len().min(HEAD - *done);
                head[*done..*done + count].copy_from_slice(&bytes[..count]);
                *done += count;
                if *done == HEAD {
                    let start = self.position + count as u64 - HEAD as u64;
                    let head = Head::read(*head, start);
                    self.begin(head, calls, observer);
                }
                count
            }
            State::Payload(head, left) => {
                let head = *head;
                let count = bytes.len().min(*left);
                *left -= count;
                let over = *left == 0;
                self.payload(head, &bytes[..count], over, calls, observer);
                count
            }
        }
    }

    fn begin(&mut self, head: Head, calls: &mut Calls, observer: &mut impl Observer) {
        // The first frame of an HTTP/2 server is SETTINGS.
        let first = head.start == 0;
        if first && self.direction == Direction::ToClient && head.code != 0x4 {
            self.state = State::Inert;
            return;
        }
        // CONTINUATION frames (0x9) may follow HEADERS.
        if head.code == 0x1 {
            self.block = Block {
                start: head.start,
                flags: head.flags,
                bytes: Vec::new(),
            };
        }
        match FrameKind::of(head.code) {
            // Reported when the method is known.
            Some(FrameKind::Headers) | None => {}
            Some(kind) => observer.frame(Passing {
                kind,
                stream: head.stream,
                method: calls.method(head.stream).map(AsRef::as_ref),
                start: head.start,
                end: head.end(),
            }),
        }
        self.state = State::Payload(head, head.length);
        if head.length == 0 {
            self.payload(head, &[], true, calls, observer);
        }
    }

    /// Handles a piece of a frame's payload, which may be the last one.
    fn payload(
        &mut self,
        head: Head,
        bytes: &[u8],
        over: bool,
        calls: &mut Calls,
        observer: &mut impl Observer,
    ) {
        match FrameKind::of(head.code) {
            // gRPC implementations do not pad DATA; padding would be parsed as a message.
            Some(FrameKind::Data) if head.flags & PADDED == 0 => {
                if let Some(method) = calls.method(head.stream) {
                    observer.body(head.stream, method, bytes);
                }
            }
            Some(FrameKind::Headers) => self.block.bytes.extend_from_slice(bytes),
            _ => {}
        }
        if !over {
            return;
        }
        self.state = State::Head([0; HEAD], 0);
        match FrameKind::of(head.code) {
            Some(FrameKind::Headers) if head.flags & END_HEADERS != 0 => {
                self.block_over(head, calls, observer);
            }
            Some(FrameKind::Data) if head.flags & END_STREAM != 0 => {
                self.stream_over(head.stream, calls, observer);
            }
            Some(FrameKind::RstStream) => {
                self.stream_over(head.stream, calls, observer);
                calls.methods.remove(&head.stream);
            }
            _ => {}
        }
    }

    fn block_over(&mut self, head: Head, calls: &mut Calls, observer: &mut impl Observer) {
        let block = std::mem::take(&mut self.block);
        if self.direction == Direction::ToServer {
            let Some(method) = self.decode(&block.bytes, block.flags) else {
                // From here on the HPACK table differs from the sender's.
                self.state = State::Inert;
                return;
            };
            if let Some(method) = method {
                calls.methods.insert(head.stream, method);
            }
        }
        observer.frame(Passing {
            kind: FrameKind::Headers,
            stream: head.stream,
            method: calls.method(head.stream).map(AsRef::as_ref),
            start: block.start,
            end: head.end(),
        });
        if block.flags & END_STREAM != 0 {
            self.stream_over(head.stream, calls, observer);
        }
    }

    fn stream_over(&self, stream: u32, calls: &mut Calls, observer: &mut impl Observer) {
        if let Some(method) = calls.method(stream) {
            observer.end(stream, method);
        }
        // The server's side of the call is still open.
        if self.direction == Direction::ToClient {
            calls.methods.remove(&stream);
        }
    }

    /// Returns the `:path` of a header block, if it has one; the outer option is none if the block
    /// cannot be decoded.
    fn decode(&mut self, mut block: &[u8], flags: u8) -> Option<Option<Arc<str>>> {
        if flags & PADDED != 0 {
            let (&padding, rest) = block.split_first()?;
            block = rest.get(..rest.len().checked_sub(padding.into())?)?;
        }
        if flags & PRIORITY != 0 {
            block = block.get(5..)?;
        }
        let mut path = None;
        self.hpack
            .decode_with_cb(block, |name, value| {
                if *name == *b":path" {
                    path = Some(String::from_utf8_lossy(&value).into());
                }
            })
            .ok()?;
        Some(path)
    }
}

impl Head {
    fn read(bytes: [u8; HEAD], start: u64) -> Self {
        let [a, b, c, code, flags, stream @ ..] = bytes;
        Self {
            code,
            flags,
            stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
            length: u32::from_be_bytes([0, a, b, c]) as usize,
            start,
        }
    }

    fn end(&self) -> u64 {
        self.start + (HEAD + self.length) as u64
    }
}
