//! `chaos`: watches under faults, and whether they kept etcd's promises.
//!
//! * `args.rs` is the command line, `run.rs` a run from its start to its summary;
//! * `stage.rs` is what it is played on, `faults.rs` what happens there;
//! * `load.rs` writes, `chronicle.rs` keeps the history of it: the truth;
//! * `plan.rs` says which watches there are, `audience.rs` watches, `notes.rs` writes down;
//! * `wire.rs` is what servers sent, whatever came of it; `keys.rs` serves both;
//! * `verdict.rs` compares, `report.rs` tells.
//!
//! docs/reliability/README.md says how to read what it prints.

mod args;
mod audience;
mod chronicle;
mod clock;
mod faults;
mod keys;
mod load;
mod notes;
mod plan;
mod report;
mod run;
mod stage;
mod verdict;
mod wire;

use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use etcdex_testkit::history::Archive;

use args::{Arguments, Verb};

/// A promise was not kept.
const VIOLATION: u8 = 1;
/// There is nothing to judge.
const NO_RUN: u8 = 2;

fn main() -> ExitCode {
    // Its own exit codes are the same: 0 for --help, 2 for what makes no sense.
    let arguments = Arguments::parse();
    let outcome = match arguments.verb {
        Verb::Watch(watch) => run::run(&watch),
        Verb::Check { folder } => check(&folder),
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

/// Judges a recorded run again; says whether all promises were kept.
fn check(folder: &Path) -> io::Result<bool> {
    if !folder.is_dir() {
        let what = format!("{} is no folder with a run", folder.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, what));
    }
    let archive = Archive::at(folder)?;
    let history = archive.read_history()?;
    let watches = archive.read_watches()?;
    let wire = archive.read_wire()?;
    let verdict = verdict::judge(&history, &watches, &wire);
    print!("{}", report::violations(&verdict));
    println!(
        "{} watches, {} changes; violations: {}, of servers: {}, of these seen by a watch: {}",
        watches.len(),
        history.len(),
        verdict.client,
        verdict.server,
        verdict.explained
    );
    Ok(verdict.client.is_empty())
}
