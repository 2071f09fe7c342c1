//! `chaos`: runs etcdex under faults, and checks whether the guarantees of etcd hold.
//!
//! * `args.rs` is the command line, `setup.rs` starts the servers with proxies before them;
//! * `store.rs` reads the history of the store, after the run;
//! * `ending.rs` checks, prints and records a run, and checks a recorded run again;
//! * `logs.rs` keeps the logs of the servers and of the clients in a recording;
//! * `faults.rs` disturbs servers and connections, for every workload;
//! * `watch.rs` is the workload that checks watches, `calls.rs` checks calls, `leases.rs` checks
//!   leases and locks. Each workload has a file, a folder and a command of its own.
//!
//! docs/reliability/README.md explains the output.

mod args;
mod calls;
mod clock;
mod ending;
mod faults;
mod leases;
mod logs;
mod setup;
mod store;
mod watch;

use std::io;
use std::process::ExitCode;

use clap::Parser as _;

use args::{Arguments, Command};

/// A guarantee was violated.
const VIOLATION: u8 = 1;
/// The run could not be done.
const NO_RUN: u8 = 2;

fn main() -> ExitCode {
    // clap has the same exit codes: 0 for --help, 2 for invalid arguments.
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Command::Watch(watch) => watch::run(&watch),
        Command::Calls(calls) => calls::run(&calls),
        Command::Leases(leases) => leases::run(&leases),
        Command::Check { folder } => ending::check(&folder),
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

/// Runs `play` on a runtime of its own. Prints the seed in the first and the last line.
fn with_seed<P>(seed: Option<u64>, play: impl FnOnce(u64) -> P) -> io::Result<bool>
where
    P: Future<Output = io::Result<bool>>,
{
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(play(seed));
    println!("seed {seed}");
    outcome
}
