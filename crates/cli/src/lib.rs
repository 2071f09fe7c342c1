//! The `etcdex` command: `etcdctl` in Rust, and a tour for newcomers.
//!
//! * `args/` is the command line, one file for a group of verbs;
//! * `command/` runs the verbs, one file for a verb;
//! * `output/` writes the replies, one file for a format;
//! * `tour/` is a program of its own, which the verb `tour` starts.
//!
//! Syntax, output and exit codes are those of `etcdctl`, so that scripts run unchanged. The
//! crate's README lists the deliberate differences.
//!
//! The program is a library so that the fuzz targets reach its parser. It has no API for others.

mod args;
mod command;
mod duration;
mod failure;
mod interrupt;
#[cfg(feature = "server")]
mod log;
mod output;
mod tour;

use std::process::ExitCode;

use args::{Arguments, Verb};
use failure::Failure;

/// Runs the command with the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    let outcome = args::parse(std::env::args_os()).and_then(|arguments| match arguments {
        Some(arguments) => start(arguments),
        None => Ok(()),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Parses `input` as a command line, for the fuzz targets.
#[cfg(fuzzing)]
pub fn fuzz_command_line(input: &[u8]) {
    args::fuzz::command_line(input);
}

fn start(arguments: Arguments) -> Result<(), Failure> {
    if let Some(conflict) = arguments.global.security.conflict() {
        return Err(Failure::Usage(conflict.to_owned()));
    }
    let mut runtime = match arguments.verb {
        // The tour has many callers at once; every other verb sends one request.
        Verb::Tour(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime.enable_all().build().map_err(Failure::System)?;
    runtime.block_on(command::run(arguments))
}
