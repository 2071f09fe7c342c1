//! The `etcdex-bench` command.

use std::process::ExitCode;

use clap::{ColorChoice, Parser, Subcommand};
use etcdex_bench::{null_server, server, unary, watch};

/// Measures etcdex beside other clients, in one run.
#[derive(Debug, Parser)]
#[command(name = "etcdex-bench", version, color = ColorChoice::Never)]
struct Arguments {
    #[command(subcommand)]
    workload: Workload,
}

#[derive(Debug, Subcommand)]
enum Workload {
    /// Puts and gets against a server that does nothing; the clients take turns
    Unary(unary::Options),
    /// The embedded server beside real etcd, which does not wait for its disk: calls, a large range,
    /// watches; memory with --memory
    Server(server::Options),
    /// Watches on a real etcd: resuming, memory, slow consumers
    Watch(watch::Options),
    /// Runs the server of the other workloads, which ends when its standard input ends
    #[command(hide = true)]
    NullServer(null_server::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().workload {
        Workload::Unary(options) => unary::run(&options),
        Workload::Server(options) => server::run(&options),
        Workload::Watch(options) => watch::run(&options),
        Workload::NullServer(options) => null_server::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
