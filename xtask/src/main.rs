//! Chores of the workspace: `cargo xtask <chore>`.

mod api;
mod etcd;
mod generate;
mod test;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
Chores of the etcdex workspace.

Usage: cargo xtask <CHORE>

Chores:
  api [--check]    write crates/client/public-api.txt (--check: fail if it differs)
  gen [--check]    write crates/proto/src/gen from the .proto files (--check: fail if it differs)
  etcd [VERSION..] put real etcd binaries under target/etcd/<version>/
  test [ARG..]     get real etcd, and run every test of the workspace
  tidy             check layers, pure files, words and names
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (chore, rest) = match arguments.split_first() {
        Some((chore, rest)) => (chore.as_str(), rest),
        None => ("help", &[][..]),
    };
    let outcome = match chore {
        "api" => api::run(rest),
        "gen" => generate::run(rest),
        "etcd" => etcd::run(rest),
        "test" => test::run(rest),
        "tidy" => tidy::run(rest),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        unknown => {
            eprint!("error: there is no chore '{unknown}'\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the root of the workspace.
fn workspace() -> PathBuf {
    // The variable at run time is right even if the workspace has moved since the build.
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or(package.clone(), Path::to_path_buf)
}
