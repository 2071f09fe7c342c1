//! `chaos`: etcdex under faults, and whether etcd's promises were kept.
//!
//! * `args.rs` is the command line, `stage.rs` the servers with proxies before them;
//! * `store.rs` reads the history of the store, when all is over;
//! * `faults.rs` disturbs servers and connections, whatever runs on them;
//! * `watch.rs` is the workload that judges watches, `calls.rs` judges calls, `leases.rs` leases
//!   and locks. Each workload has a file and a folder of
//!   its own and a verb on the command line.
//!
//! docs/reliability/README.md says how to read what it prints.

mod args;
mod calls;
mod clock;
mod faults;
mod leases;
mod stage;
mod store;
mod watch;

use std::io;
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
        Verb::Calls(calls) => calls::run(&calls),
        Verb::Leases(leases) => leases::run(&leases),
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

/// Plays a run on a runtime of its own. Its seed is the first line and the last.
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
