//! Chores of the workspace: `cargo xtask <chore>`.

mod api;
mod etcd;
mod generate;
mod test;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "\
Chores of the etcdex workspace.

Usage: cargo xtask <CHORE>

Chores:
  api [--check]    write crates/client/public-api.txt (--check: only say whether it differs)
  gen [--check]    write crates/proto/src/gen from the .proto files (--check: only say whether it differs)
  etcd [VERSION..] put real etcd binaries under target/etcd/<version>/
  test [ARG..]     get real etcd, and run every test of the workspace
  tidy             check that each layer uses only the layers below it
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
