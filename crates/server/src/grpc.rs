//! gRPC over HTTP/2: the frame of a message, and the status of a call.
//!
//! It is written apart from the client's framing, so that no mistake is the same at both ends.
//!
//! Source: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>. The texts are those of
//! grpc-go, which etcd uses.

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use prost::Message;

use crate::store;

use crate::wire::Encode;

/// Length of the prefix of a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// A status code of gRPC.
///
/// Source: <https://github.com/grpc/grpc/blob/master/doc/statuscodes.md>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The call went well.
    Ok = 0,
    /// The caller has canceled the call.
    Canceled = 1,
    /// Another error.
    Unknown = 2,
    /// The request makes no sense.
    InvalidArgument = 3,
    /// The time of the call was over.
    DeadlineExceeded = 4,
    /// There is no such thing.
    NotFound = 5,
    /// There is such a thing already.
    AlreadyExists = 6,
    /// The user may not do this.
    PermissionDenied = 7,
    /// There is no room left.
    ResourceExhausted = 8,
    /// The state does not allow this.
    FailedPrecondition = 9,
    /// Another call was in the way.
    Aborted = 10,
    /// A number is too small or too large.
    OutOfRange = 11,
    /// There is no such method.
    Unimplemented = 12,
    /// The server is at fault.
    Internal = 13,
    /// The server cannot answer now.
    Unavailable = 14,
    /// Data is lost.
    DataLoss = 15,
    /// The token is not valid.
    Unauthenticated = 16,
}

/// The end of a call that has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) code: Code,
    pub(crate) message: Cow<'static, str>,
}

impl Status {
    pub(crate) fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        Self { code, message }
    }

    /// Returns the status as a service answers that is a client of etcd itself: the code is lost.
    pub(crate) fn of_a_client(self) -> Self {
        Self::new(Code::Unknown, self.message)
    }

    /// Returns the status as grpc-go writes it into a text.
    pub(crate) fn in_words(&self) -> String {
        let name = self.code.name();
        format!("rpc error: code = {name} desc = {}", self.message)
    }
}

impl Code {
    /// Returns grpc-go's name of the code.
    fn name(self) -> String {
        match self {
            Self::Ok => "OK".to_owned(),
            code => format!("{code:?}"),
        }
    }
}

impl From<store::StoreError> for Status {
    fn from(error: store::StoreError) -> Self {
        let code = match error.code() {
            store::Code::InvalidArgument => Code::InvalidArgument,
            store::Code::NotFound => Code::NotFound,
            store::Code::FailedPrecondition => Code::FailedPrecondition,
            store::Code::PermissionDenied => Code::PermissionDenied,
            store::Code::ResourceExhausted => Code::ResourceExhausted,
            store::Code::OutOfRange => Code::OutOfRange,
            store::Code::DataLoss => Code::DataLoss,
        };
        Self::new(code, error.to_string())
    }
}

/// Checks the prefix at the front of the bytes, as soon as it is complete. Returns the length of the
/// message after it.
fn message_length(bytes: &[u8], limit: usize) -> Result<Option<usize>, Status> {
    let Some(prefix) = bytes.first_chunk::<PREFIX>() else {
        return Ok(None);
    };
    let [flag, length @ ..] = *prefix;
    if flag != 0 {
        let text = "grpc: compressed flag set with identity or empty encoding";
        return Err(Status::new(Code::Internal, text));
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > limit {
        let text = format!("grpc: received message larger than max ({length} vs. {limit})");
        return Err(Status::new(Code::ResourceExhausted, text));
    }
    Ok(Some(length))
}

/// The messages in the bytes of a request, in order.
#[derive(Debug)]
pub(crate) struct Messages {
    /// The length of the largest message, in bytes.
    limit: usize,
    /// The bytes that came last, without what was taken of them.
    bytes: Bytes,
    /// The start of a message that comes in several parts. It grows with the bytes that come, not to
    /// the length that the client says.
    partial: BytesMut,
}

impl Messages {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            bytes: Bytes::new(),
            partial: BytesMut::new(),
        }
    }

    /// Adds bytes. INVARIANT: `next` has returned `None` before.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        debug_assert!(self.bytes.is_empty());
        self.bytes = bytes;
    }

    /// Takes the next message, if all of it has come.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, Status> {
        if self.partial.is_empty() {
            // Most messages come in one part, which is not copied.
            match message_length(&self.bytes, self.limit)? {
                Some(length) if self.bytes.len() >= PREFIX + length => {
                    let mut message = self.bytes.split_to(PREFIX + length);
                    return Ok(Some(message.split_off(PREFIX)));
                }
                _ => {}
            }
        }
        while !self.bytes.is_empty() {
            let length = message_length(&self.partial, self.limit)?.unwrap_or(0);
            let missing = PREFIX + length - self.partial.len();
            let part = self.bytes.split_to(missing.min(self.bytes.len()));
            self.partial.extend_from_slice(&part);
            let length = message_length(&self.partial, self.limit)?;
            if length.is_some_and(|length| self.partial.len() == PREFIX + length) {
                let message = std::mem::take(&mut self.partial).freeze();
                return Ok(Some(message.slice(PREFIX..)));
            }
        }
        Ok(None)
    }

    /// Returns the number of bytes of the message that has come in part.
    pub(crate) fn part(&self) -> usize {
        self.partial.len()
    }
}

/// Decodes a request.
pub(crate) fn decode<M: Message + Default>(message: Bytes) -> Result<M, Status> {
    M::decode(message).map_err(|error| {
        let text = format!("grpc: error unmarshalling request: {error}");
        Status::new(Code::Internal, text)
    })
}

/// Returns a message with its prefix.
pub(crate) fn frame(message: &impl Encode) -> Result<Bytes, Status> {
    let mut frame = BytesMut::new();
    append_frame(&mut frame, message)?;
    Ok(frame.freeze())
}

/// Appends a message with its prefix.
pub(crate) fn append_frame(frames: &mut BytesMut, message: &impl Encode) -> Result<(), Status> {
    let length = message.encoded_length();
    let too_large = |_| {
        let text = format!("grpc: message too large ({length} bytes)");
        Status::new(Code::ResourceExhausted, text)
    };
    let prefix = u32::try_from(length).map_err(too_large)?;
    frames.reserve(PREFIX + length);
    frames.put_u8(0);
    frames.put_u32(prefix);
    message.append_to(frames);
    Ok(())
}

/// Returns the trailers of a call.
pub(crate) fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert("grpc-status", HeaderValue::from(status.code as u16));
    // INVARIANT: `percent_encoded` returns only visible ASCII and spaces.
    if let Ok(text) = HeaderValue::try_from(percent_encoded(&status.message)) {
        trailers.insert("grpc-message", text);
    }
    trailers
}

/// Writes a message for a header: other bytes than visible ASCII and spaces, and `%`, as `%` and two
/// hexadecimal digits.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | ..b' ' | 0x7f.. => {
                // Writing to a string does not fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
            _ => encoded.push(char::from(byte)),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_message_is_visible_ascii() {
        assert_eq!(percent_encoded("no key: 7 %"), "no key: 7 %25");
        assert_eq!(percent_encoded("ü\n"), "%C3%BC%0A");
        let trailers = trailers(&Status::new(Code::OutOfRange, "100%"));
        assert_eq!(trailers["grpc-status"], "11");
        assert_eq!(trailers["grpc-message"], "100%25");
    }

    #[test]
    fn messages_are_the_same_however_they_are_cut() {
        let bytes = b"\0\0\0\0\x03abc\0\0\0\0\0\0\0\0\0\x01d\0\0\0\0\x02e";
        for size in 1..=bytes.len() {
            let mut messages = Messages::new(3);
            let mut found = Vec::new();
            for part in bytes.chunks(size) {
                messages.push(Bytes::from_static(part));
                while let Some(message) = messages.next().expect("all are short") {
                    found.push(message);
                }
            }
            assert_eq!(found, [&b"abc"[..], b"", b"d"], "in parts of {size} bytes");
            assert!(messages.part() > 0);
        }
    }

    #[test]
    fn a_message_is_refused_by_its_prefix() {
        let cases: [(&[u8], Code); 2] = [
            (b"\x01\0\0\0\x01", Code::Internal),
            (b"\0\0\0\0\x04", Code::ResourceExhausted),
        ];
        for (bytes, expected) in cases {
            for size in 1..=bytes.len() {
                let mut messages = Messages::new(3);
                let error = bytes.chunks(size).find_map(|part| {
                    messages.push(Bytes::from_static(part));
                    messages.next().err()
                });
                assert_eq!(error.expect("it is refused").code, expected, "{bytes:?}");
            }
        }
    }
}
