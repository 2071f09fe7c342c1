//! The HTTP/2 frames in a stream of bytes, as they pass.
//!
//! Source: RFC 9113, sections 3.4 (preface), 4.1 (frames), 6.1, 6.2, 6.10 (padding, priority,
//! header blocks); RFC 7541 (HPACK), which `loona-hpack` decodes.

use std::collections::HashMap;
use std::sync::Arc;

use loona_hpack::Decoder;

use super::Direction;

/// What a client says first.
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
    /// A piece of a body: in gRPC, of messages.
    Data,
    /// The head or the trailers of a call, with its CONTINUATION frames.
    Headers,
    /// The end of one call by force.
    RstStream,
    /// The settings of a side, and their acknowledgement.
    Settings,
    /// A ping, and its answer.
    Ping,
    /// A side that takes no more calls.
    GoAway,
    /// Room for more bytes.
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

/// A frame that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passing<'a> {
    pub(super) kind: FrameKind,
    pub(super) stream: u32,
    /// Of the call, where it is known.
    pub(super) method: Option<&'a str>,
    /// Its first byte, counted from the start of the link in this direction.
    pub(super) start: u64,
    /// The byte after its last.
    pub(super) end: u64,
}

/// What the two directions of a link know of its calls.
#[derive(Debug, Default)]
pub(super) struct Calls {
    methods: HashMap<u32, Arc<str>>,
}

impl Calls {
    pub(super) fn method(&self, stream: u32) -> Option<&Arc<str>> {
        self.methods.get(&stream)
    }
}

/// What a [`Scanner`] tells as bytes pass.
pub(super) trait Observer {
    /// A frame passes: told with its head; for HEADERS, at the end of the header block.
    fn frame(&mut self, frame: Passing<'_>);
    /// A piece of the body of a call of this method.
    fn body(&mut self, stream: u32, method: &Arc<str>, bytes: &[u8]);
    /// Nothing more comes of this call in this direction.
    fn end(&mut self, stream: u32, method: &Arc<str>);
}

/// Follows one direction of a link. On anything that is not HTTP/2 in plain text it stops
/// looking, and tells nothing more.
pub(super) struct Scanner {
    direction: Direction,
    state: State,
    /// Bytes of this direction so far.
    position: u64,
    /// Only clients' are decoded: servers' heads hold nothing that is looked for.
    hpack: Decoder<'static>,
    block: Block,
}

enum State {
    /// So much of the preface has come.
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

/// A header block under way.
#[derive(Default)]
struct Block {
    start: u64,
    /// Those of the HEADERS frame that began it.
    flags: u8,
    bytes: Vec<u8>,
}

impl Scanner {
    pub(super) fn new(direction: Direction) -> Self {
        let mut hpack = Decoder::new();
        // A client may use as much as the server allows, which is not looked at here.
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

    /// Whether it has stopped looking.
    pub(super) fn is_inert(&self) -> bool {
        matches!(self.state, State::Inert)
    }

    /// Takes the next bytes.
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
        // The first frame of a server is its SETTINGS; what begins otherwise is not HTTP/2.
        let first = head.start == 0;
        if first && self.direction == Direction::ToClient && head.code != 0x4 {
            self.state = State::Inert;
            return;
        }
        // HEADERS, which CONTINUATION frames (0x9) may follow.
        if head.code == 0x1 {
            self.block = Block {
                start: head.start,
                flags: head.flags,
                bytes: Vec::new(),
            };
        }
        match FrameKind::of(head.code) {
            // Told when its method is known.
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

    /// A piece of a frame's payload, maybe its last.
    fn payload(
        &mut self,
        head: Head,
        bytes: &[u8],
        over: bool,
        calls: &mut Calls,
        observer: &mut impl Observer,
    ) {
        match FrameKind::of(head.code) {
            // Nobody pads these; the padding of one that is padded would be taken for a message.
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
                // From here on the table of HPACK is not the sender's.
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
        // A client that has said all still listens.
        if self.direction == Direction::ToClient {
            calls.methods.remove(&stream);
        }
    }

    /// The `:path` in a header block, if it has one; none at all if it cannot be read.
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
