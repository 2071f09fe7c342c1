//! gRPC's framing and status on top of HTTP/2.
//!
//! Source: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

use std::borrow::Cow;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use prost::Message;

use super::failure::Failure;
use crate::error::{Code, ErrorKind, Outcome, Retry, classify};

/// A message's prefix: one byte of flags, four of length.
const PREFIX: usize = 5;

const GRPC_STATUS: &str = "grpc-status";
const GRPC_MESSAGE: &str = "grpc-message";

/// Largest part of a server's message that an error text quotes, in bytes.
const QUOTE_LIMIT: usize = 512;

/// Encodes a message with its prefix into one buffer of just its size.
pub(crate) fn frame(message: &impl Message, limit: usize) -> Result<Bytes, Failure> {
    let length = message.encoded_len();
    let Some(prefix) = u32::try_from(length).ok().filter(|_| length <= limit) else {
        return Err(Failure::not_sent(
            ErrorKind::MessageTooLarge,
            format!(
                "the request has {length} bytes, over max_send_size ({limit}); send less, \
                 or raise it together with the server's --max-request-bytes"
            ),
            Retry::Never,
        ));
    };
    let mut buffer = BytesMut::with_capacity(PREFIX + length);
    buffer.put_u8(0);
    buffer.put_u32(prefix);
    message.encode_raw(&mut buffer);
    Ok(buffer.freeze())
}

/// Cuts the bytes of a reply's body into messages.
///
/// A message within one DATA frame is a slice of it; one that spans several is gathered once,
/// when all of it is there. INVARIANT: nothing is reserved on the word of a length prefix.
#[derive(Debug)]
pub(crate) struct MessageReader {
    /// Bytes not yet consumed: the current piece. The pieces after it are in `tail`.
    head: Bytes,
    tail: Vec<Bytes>,
    buffered: usize,
    limit: usize,
}

impl MessageReader {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            head: Bytes::new(),
            tail: Vec::new(),
            buffered: 0,
            limit,
        }
    }

    /// Takes the payload of a DATA frame.
    pub(crate) fn push(&mut self, frame: Bytes) {
        // Empty frames are allowed, and would fill `tail`.
        if frame.is_empty() {
            return;
        }
        self.buffered += frame.len();
        if self.head.is_empty() {
            self.head = frame;
        } else {
            self.tail.push(frame);
        }
    }

    /// Whether a part of a message is there.
    pub(crate) fn is_amid_message(&self) -> bool {
        self.buffered > 0
    }

    /// Returns the number of bytes that are no whole message yet, or were not taken.
    pub(crate) fn buffered(&self) -> usize {
        self.buffered
    }

    /// Returns the next whole message, or `None` when bytes are missing.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        if self.buffered < PREFIX {
            return Ok(None);
        }
        if self.head.len() < PREFIX {
            self.gather();
        }
        let length = self.message_length()?;
        if self.buffered < PREFIX + length {
            return Ok(None);
        }
        if self.head.len() < PREFIX + length {
            self.gather();
        }
        self.buffered -= PREFIX + length;
        self.head.advance(PREFIX);
        let message = self.head.split_to(length);
        if self.head.is_empty() && !self.tail.is_empty() {
            self.gather();
        }
        Ok(Some(message))
    }

    /// Returns the length that the prefix in `head` announces.
    fn message_length(&self) -> Result<usize, Failure> {
        let mut prefix = &self.head[..PREFIX];
        let flag = prefix.get_u8();
        let length = prefix.get_u32() as usize;
        if flag != 0 {
            return Err(Failure::violation(format!(
                "a message is marked as compressed ({flag}), which was not agreed on"
            )));
        }
        if length > self.limit {
            return Err(Failure::answered(
                ErrorKind::MessageTooLarge,
                format!(
                    "the reply has {length} bytes, over max_receive_size ({}); raise it, or read \
                     in pages with Client::list",
                    self.limit
                ),
            ));
        }
        Ok(length)
    }

    /// Joins all pieces into one.
    fn gather(&mut self) {
        if self.tail.is_empty() {
            return;
        }
        if self.head.is_empty() && self.tail.len() == 1 {
            self.head = self.tail.remove(0);
            return;
        }
        let mut whole = BytesMut::with_capacity(self.buffered);
        whole.put_slice(&self.head);
        for piece in self.tail.drain(..) {
            whole.put_slice(&piece);
        }
        self.head = whole.freeze();
    }
}

/// Checks the head of a reply. After `Ok`, the body is one of gRPC.
pub(crate) fn check_head(status: StatusCode, headers: &HeaderMap) -> Result<(), Failure> {
    if status != StatusCode::OK {
        // A gRPC status in the head says more than the HTTP status.
        if headers.contains_key(GRPC_STATUS) {
            check_status(headers)?;
        }
        return Err(http_failure(status));
    }
    let content_type = headers
        .get(http::header::CONTENT_TYPE)
        .map_or(&b""[..], http::HeaderValue::as_bytes);
    if !content_type.starts_with(b"application/grpc") {
        return Err(Failure::violation(format!(
            "it answers with content-type '{}': this is no gRPC server",
            quote(content_type)
        )));
    }
    Ok(())
}

/// Whether the reply consists of the head alone ("trailers only").
pub(crate) fn has_status(headers: &HeaderMap) -> bool {
    headers.contains_key(GRPC_STATUS)
}

/// Reads the status that ends a call.
pub(crate) fn check_status(trailers: &HeaderMap) -> Result<(), Failure> {
    let Some(status) = trailers.get(GRPC_STATUS) else {
        return Err(Failure::violation("the reply ends without a grpc-status"));
    };
    // The common case reads no other header.
    if status.as_bytes() == b"0" {
        return Ok(());
    }
    let number = std::str::from_utf8(status.as_bytes())
        .ok()
        .and_then(|digits| digits.parse::<u32>().ok());
    let Some(number) = number else {
        return Err(Failure::violation(format!(
            "grpc-status is '{}', which is no number",
            quote(status.as_bytes())
        )));
    };
    if number == 0 {
        return Ok(());
    }
    let code = Code::from_number(number);
    let message = trailers
        .get(GRPC_MESSAGE)
        .map_or(Cow::Borrowed(""), |text| unescape(text.as_bytes()));
    let class = classify(code, &message);
    let text = if message.is_empty() {
        Cow::Owned(format!("the server answered {code} (status {number})"))
    } else {
        Cow::Owned(quote(message.as_bytes()))
    };
    Err(Failure::status(class, code, text))
}

/// Decodes `grpc-message`, which is percent-encoded. Invalid parts stay as they came.
fn unescape(text: &[u8]) -> Cow<'_, str> {
    percent_encoding::percent_decode(text).decode_utf8_lossy()
}

/// Returns the text of a server for an error: printable, on one line, and of limited length.
fn quote(text: &[u8]) -> String {
    let end = text.len().min(QUOTE_LIMIT);
    let mut quoted: String = String::from_utf8_lossy(&text[..end])
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if end < text.len() {
        quoted.push('…');
    }
    quoted
}

/// Returns the failure for an HTTP status that did not come from a gRPC server.
///
/// A gateway may have passed the request on before it gave up. So only the statuses that refuse
/// a request for its content count as `Rejected`. Not among them are 408, which gateways also send
/// when the server behind them was slow; 429, which may come from the server behind; 499, by which
/// nginx notes that the client went away; 500 and above.
///
/// Sources: RFC 9110, section 15.5; `doc/http-grpc-status-mapping.md` of grpc.
fn http_failure(status: StatusCode) -> Failure {
    use Outcome::{Rejected, Unknown};
    let (kind, outcome, retry) = match status.as_u16() {
        401 => (ErrorKind::InvalidToken, Rejected, Retry::Never),
        403 => (ErrorKind::PermissionDenied, Rejected, Retry::Never),
        404 => (ErrorKind::Unimplemented, Rejected, Retry::Never),
        400 | 405 | 407 | 411 | 413 | 414 | 415 | 417 | 421 | 426 | 431 => {
            (ErrorKind::Protocol, Rejected, Retry::Never)
        }
        408 | 429 | 502 | 503 | 504 => (ErrorKind::Unavailable, Unknown, Retry::Elsewhere),
        499 => (ErrorKind::Cancelled, Unknown, Retry::Never),
        _ => (ErrorKind::Protocol, Unknown, Retry::Never),
    };
    Failure::new(
        kind,
        outcome,
        format!("it answers with HTTP status {status} instead of gRPC"),
        retry,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for message in messages {
            bytes.put_u8(0);
            bytes.put_u32(u32::try_from(message.len()).expect("small"));
            bytes.put_slice(message);
        }
        bytes
    }

    fn trailers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    http::HeaderName::from_static(name),
                    http::HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    fn error(outcome: Result<(), Failure>) -> crate::Error {
        outcome.expect_err("it was taken").error
    }

    proptest! {
        /// However the bytes are cut into frames, the same messages come out.
        #[test]
        fn messages_do_not_depend_on_frames(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
            cuts in prop::collection::vec(1..20usize, 0..40),
        ) {
            let bytes = Bytes::from(framed(&messages));
            let mut reader = MessageReader::new(1 << 20);
            let mut found = Vec::new();
            let mut rest = bytes;
            let mut cuts = cuts.into_iter();
            while !rest.is_empty() {
                let cut = cuts.next().unwrap_or(rest.len()).min(rest.len());
                reader.push(rest.split_to(cut));
                while let Some(message) = reader.next().map_err(|f| TestCaseError::fail(f.error.to_string()))? {
                    found.push(message.to_vec());
                }
            }
            prop_assert!(!reader.is_amid_message());
            prop_assert_eq!(found, messages);
        }

        #[test]
        fn no_bytes_make_it_panic(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..10)) {
            let mut reader = MessageReader::new(64);
            'frames: for frame in frames {
                reader.push(frame.into());
                loop {
                    match reader.next() {
                        Ok(Some(message)) => prop_assert!(message.len() <= 64),
                        Ok(None) => break,
                        Err(_) => break 'frames,
                    }
                }
            }
        }
    }

    #[test]
    fn a_message_in_one_frame_is_a_slice_of_it() {
        let frame = Bytes::from(framed(&[b"hello".to_vec()]));
        let mut reader = MessageReader::new(100);
        reader.push(frame.clone());
        let message = reader.next().ok().flatten().expect("whole");
        assert_eq!(message.as_ptr(), frame[PREFIX..].as_ptr());
    }

    #[test]
    fn a_long_prefix_reserves_nothing_and_names_the_setting() {
        let mut reader = MessageReader::new(1000);
        reader.push(Bytes::from_static(b"\0\xff\xff\xff\xff"));
        let failure = reader.next().expect_err("it was taken");
        assert!(failure.error.to_string().contains("max_receive_size"));
        assert_eq!(failure.error.kind(), ErrorKind::MessageTooLarge);
    }

    #[test]
    fn a_status_is_percent_decoded_and_classified() {
        let status = trailers(&[
            ("grpc-status", "11"),
            (
                "grpc-message",
                "etcdserver: mvcc: required%20revision has been compacted",
            ),
        ]);
        let error = error(check_status(&status));
        assert_eq!(error.kind(), ErrorKind::Compacted);
        assert_eq!(
            error.message(),
            "etcdserver: mvcc: required revision has been compacted"
        );
        assert_eq!(error.outcome(), Outcome::Rejected);
    }

    #[test]
    fn a_status_that_is_none_is_a_violation() {
        for wrong in [
            trailers(&[]),
            trailers(&[("grpc-status", "")]),
            trailers(&[("grpc-status", "x")]),
            trailers(&[("grpc-status", "-1")]),
            trailers(&[("grpc-status", "99999999999999")]),
        ] {
            assert_eq!(error(check_status(&wrong)).kind(), ErrorKind::Protocol);
        }
        let unlisted = error(check_status(&trailers(&[("grpc-status", "77")])));
        assert_eq!(unlisted.code(), Some(Code::Unknown));
    }

    #[test]
    fn a_head_that_is_not_grpcs_is_told() {
        let html = trailers(&[("content-type", "text/html")]);
        assert!(
            error(check_head(StatusCode::OK, &html))
                .to_string()
                .contains("text/html")
        );
        let bad_gateway = error(check_head(StatusCode::BAD_GATEWAY, &html));
        assert_eq!(bad_gateway.kind(), ErrorKind::Unavailable);
        assert_eq!(bad_gateway.outcome(), Outcome::Unknown);
        for status in (400..600).filter_map(|number| StatusCode::from_u16(number).ok()) {
            let refused = matches!(
                status.as_u16(),
                400 | 401 | 403 | 404 | 405 | 407 | 411 | 413 | 414 | 415 | 417 | 421 | 426 | 431
            );
            let outcome = error(check_head(status, &html)).outcome();
            assert_eq!(outcome == Outcome::Rejected, refused, "{status}");
            assert_ne!(outcome, Outcome::NotSent, "{status}");
        }
        let grpc = trailers(&[("content-type", "application/grpc+proto")]);
        assert!(check_head(StatusCode::OK, &grpc).is_ok());
    }

    #[test]
    fn text_of_a_peer_is_tamed() {
        let long = "a\nb".repeat(1000);
        let quoted = quote(long.as_bytes());
        assert!(quoted.len() < 600 && !quoted.contains('\n'));
    }
}
