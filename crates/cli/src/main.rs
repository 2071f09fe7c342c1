//! The `etcdex` command: what `etcdctl` does, and a tour for newcomers.
//!
//! * `args/` is the command line, one file for a group of verbs;
//! * `command/` is what the verbs do, one file for a verb;
//! * `output/` is how replies are written, one file for a format.
//!
//! Syntax, output and exit codes are those of `etcdctl`, so that scripts need not change. Where
//! they differ on purpose, the crate's README says so.

mod args;
mod command;
mod duration;
mod failure;
mod output;

use std::process::ExitCode;

use args::{Arguments, Verb};
use failure::Failure;

fn main() -> ExitCode {
    let outcome = args::parse(std::env::args_os()).and_then(|arguments| match arguments {
        Some(arguments) => start(arguments),
        None => Ok(()),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

fn start(arguments: Arguments) -> Result<(), Failure> {
    if let Some(refusal) = arguments.global.security.refusal() {
        return Err(Failure::Usage(refusal.to_owned()));
    }
    let mut runtime = match arguments.verb {
        // It has many callers at once; all others send one request and are gone.
        Verb::Tour(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime.enable_all().build().map_err(Failure::System)?;
    runtime.block_on(command::run(arguments))
}
