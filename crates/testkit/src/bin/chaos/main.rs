//! `chaos`: etcdex under faults, and whether etcd's promises were kept.
//!
//! * `args.rs` is the command line, `stage.rs` the servers with proxies before them;
//! * `faults.rs` disturbs servers and connections, whatever runs on them;
//! * `watch.rs` is the workload that judges watches. Each workload has a file and a folder of
//!   its own and a verb on the command line.
//!
//! docs/reliability/README.md says how to read what it prints.

mod args;
mod clock;
mod faults;
mod stage;
mod watch;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Arguments, Verb};

/// A promise was not kept.
const VIOLATION: u8 = 1;
/// There is nothing to judge.
const NO_RUN: u8 = 2;

fn main() -> ExitCode {
    // Its own exit codes are the same: 0 for --help, 2 for what makes no sense.
    let arguments = Arguments::parse();
    let outcome = match arguments.verb {
        Verb::Watch(watch) => watch::run(&watch),
        Verb::Check { folder } => watch::check(&folder),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(VIOLATION),
        Err(error) => {
            eprintln!("chaos: {error}");
            ExitCode::from(NO_RUN)
        }
    }
}
