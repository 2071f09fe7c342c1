//! `cargo xtask test`: gets real etcd, and runs every test of the workspace.

use std::process::Command;

use anyhow::{Context, Result, bail};

const USAGE: &str = "\
Gets real etcd binaries, and runs every test of the workspace on them.

Usage: cargo xtask test [ARGUMENT..]

Each ARGUMENT goes to cargo test. With CI=true in the environment, a version of
etcd that cannot be got is a failure; otherwise its tests are skipped with a
message.
";

/// All features of the client but two: `tls-aws-lc` takes longer to build than everything else, for
/// the same code; the labels of `metrics` add allocations to each call, which the tests count.
const FEATURES: &str = "etcdex/serde,etcdex/tls,etcdex/snapshot,etcdex/srv";

/// Runs the chore.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if arguments
        .first()
        .is_some_and(|first| first == "--help" || first == "-h")
    {
        print!("{USAGE}");
        return Ok(());
    }
    crate::etcd::run(&[])?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["test", "--workspace", "--features", FEATURES])
        .args(arguments);
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        // Most tests wait for a server more than they compute.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        cargo.env("RUST_TEST_THREADS", (cores + 1).to_string());
    }
    if std::env::var("CI").is_ok_and(|ci| ci == "true") {
        cargo.env("ETCDEX_REQUIRE_ETCD", "1");
    }
    let status = cargo.status().context("cargo cannot be started")?;
    if !status.success() {
        bail!("tests failed");
    }
    Ok(())
}
