//! Any bytes as the body and as the status of a reply.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use super::{GRPC_MESSAGE, GRPC_STATUS, MessageReader, check_status};

/// Larger than a part of what a fuzzer makes, so that the limit is met too.
const LIMIT: usize = 300;

/// Reads `input` as a body in frames, and again as one frame. INVARIANT: both give the same
/// messages and the same end.
pub(crate) fn grpc_reader(input: &[u8]) {
    let (cuts, body) = input.split_at(input.len().min(8));
    let body = Bytes::copy_from_slice(body);
    let mut frames = Vec::new();
    let mut rest = body.clone();
    for cut in cuts {
        frames.push(rest.split_to(usize::from(*cut).min(rest.len())));
    }
    frames.push(rest);
    let in_frames = read(frames);
    assert_eq!(in_frames, read(vec![body]), "the frames make a difference");
}

/// Reads `input` as a status, of which the first byte is the code, and a message.
pub(crate) fn grpc_status(input: &[u8]) {
    let (code, message) = input.split_at(input.len().min(2));
    let mut trailers = HeaderMap::new();
    for (name, value) in [(GRPC_STATUS, code), (GRPC_MESSAGE, message)] {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            trailers.insert(name, value);
        }
    }
    let outcome = check_status(&trailers);
    let number = std::str::from_utf8(code)
        .ok()
        .and_then(|code| code.parse().ok());
    let is_ok = number == Some(0_u32);
    assert_eq!(outcome.is_ok(), is_ok, "code {code:?}");
    if let Err(failure) = outcome {
        assert!(!failure.error.to_string().is_empty());
    }
}

/// Returns the messages, and the text of the error or the number of bytes that are left.
fn read(frames: Vec<Bytes>) -> (Vec<Bytes>, Result<usize, String>) {
    let mut reader = MessageReader::new(LIMIT);
    let mut messages = Vec::new();
    for frame in frames {
        reader.push(frame);
        loop {
            match reader.next() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(failure) => return (messages, Err(failure.error.to_string())),
            }
        }
    }
    (messages, Ok(reader.buffered()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_body_is_read_alike_in_any_frames(input in prop::collection::vec(prop_oneof![4 => 0..6u8, 1 => any::<u8>()], 0..200)) {
            grpc_reader(&input);
        }

        #[test]
        fn any_status_is_understood(input in prop::collection::vec(any::<u8>(), 0..60)) {
            grpc_status(&input);
        }
    }
}
