//! Runs the verbs: one file for a verb.

mod del;
mod endpoint;
mod get;
mod put;
mod range;
#[cfg(feature = "server")]
mod serve;
mod tour;
mod version;

use std::ffi::OsString;

use crate::args::{Arguments, Verb};
use crate::failure::Failure;

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let global = &arguments.global;
    match arguments.verb {
        Verb::Put(put) => put::run(global, put).await,
        Verb::Get(get) => get::run(global, get).await,
        Verb::Del(del) => del::run(global, del).await,
        Verb::Endpoint(endpoint) => endpoint::run(global, endpoint).await,
        Verb::Tour(_) => tour::run(global).await,
        #[cfg(feature = "server")]
        Verb::Serve(serve) => serve::run(global, *serve).await,
        Verb::Version => version::run(),
    }
}

/// Returns the bytes of an argument, which need not be UTF-8.
fn bytes(argument: OsString) -> Vec<u8> {
    argument.into_encoded_bytes()
}
