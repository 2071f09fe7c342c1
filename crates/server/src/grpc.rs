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

/// Length of the prefix of a message: whether it is compressed, and its length.
pub(crate) const PREFIX: usize = 5;

/// A status code of gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Ok = 0,
    Unknown = 2,
    InvalidArgument = 3,
    NotFound = 5,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    DataLoss = 15,
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
pub(crate) fn message_length(bytes: &[u8], limit: usize) -> Result<Option<usize>, Status> {
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

/// Returns the message of a request that has ended.
pub(crate) fn request_message(mut bytes: Bytes, limit: usize) -> Result<Bytes, Status> {
    match message_length(&bytes, limit)? {
        // As grpc-go does, the server takes no notice of what follows.
        Some(length) if bytes.len() >= PREFIX + length => {
            bytes.truncate(PREFIX + length);
            Ok(bytes.split_off(PREFIX))
        }
        None if bytes.is_empty() => Err(Status::new(Code::Unknown, "EOF")),
        _ => Err(Status::new(Code::Unknown, "unexpected EOF")),
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
pub(crate) fn frame(message: &impl Message) -> Result<Bytes, Status> {
    let length = message.encoded_len();
    let too_large = |_| {
        let text = format!("grpc: message too large ({length} bytes)");
        Status::new(Code::ResourceExhausted, text)
    };
    let prefix = u32::try_from(length).map_err(too_large)?;
    let mut frame = BytesMut::with_capacity(PREFIX + length);
    frame.put_u8(0);
    frame.put_u32(prefix);
    // INVARIANT: the buffer has room for `encoded_len` bytes, which is the only cause of an error.
    let _ = message.encode(&mut frame);
    Ok(frame.freeze())
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
    fn a_request_has_a_whole_message_within_the_limit() {
        let code = |bytes: &'static [u8]| request_message(Bytes::from_static(bytes), 3);
        assert_eq!(code(b"\0\0\0\0\x03abc"), Ok(Bytes::from_static(b"abc")));
        assert_eq!(code(b"\0\0\0\0\0"), Ok(Bytes::new()));
        assert_eq!(code(b"\0\0\0\0\x01ab"), Ok(Bytes::from_static(b"a")));
        let cases: [(&[u8], Code); 5] = [
            (b"", Code::Unknown),
            (b"\0\0\0\0", Code::Unknown),
            (b"\0\0\0\0\x03ab", Code::Unknown),
            (b"\x01\0\0\0\x01a", Code::Internal),
            (b"\0\0\0\0\x04abcd", Code::ResourceExhausted),
        ];
        for (bytes, expected) in cases {
            let error = code(bytes).expect_err("no message");
            assert_eq!(error.code, expected, "{bytes:?}");
        }
    }
}
