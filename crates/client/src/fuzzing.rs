//! Entry points for fuzzing: each takes any bytes, and panics when a rule is broken.
//!
//! The targets in `fuzz/` run them under libFuzzer (`--cfg fuzzing`). Unit tests beside the rules
//! run them for a second each.

/// The body of a reply, in any frames.
pub fn grpc_reader(input: &[u8]) {
    crate::transport::fuzz::grpc_reader(input);
}

/// The status and the message at the end of a reply.
pub fn grpc_status(input: &[u8]) {
    crate::transport::fuzz::grpc_status(input);
}

/// The messages of a watch stream, in any order with losses, time and cancellations.
pub fn watch_stream(input: &[u8]) {
    crate::watch::fuzz::watch_stream(input);
}
