//! The workloads `watch ...`: watches on a real etcd, behind a proxy that can cut.

mod heap;
mod idle;
mod resume;
mod slow;

use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::Context;
use etcdex::Watcher;
use etcdex_testkit::{Binaries, Etcd};
use tokio::task::JoinSet;

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The version of etcd; the newest one that is there, if not given
    #[arg(long, global = true)]
    etcd: Option<String>,
    #[command(subcommand)]
    workload: Workload,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Workload {
    /// How long watches take to be in force again after a cut, and to be caught up
    Resume(resume::Options),
    /// How much memory watches take on which nothing happens
    Idle(idle::Options),
    /// A consumer that reads nothing, beside one that does
    Slow(slow::Options),
}

/// How many watches, or changes.
pub(crate) type Count = NonZeroUsize;

/// Runs the workload and prints what it measured.
pub fn run(options: &Options) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let etcd = start(options.etcd.as_deref()).await?;
            println!("etcd {}", etcd.version());
            match &options.workload {
                Workload::Resume(options) => resume::run(&etcd, options).await,
                Workload::Idle(options) => idle::run(&etcd, options).await,
                Workload::Slow(options) => slow::run(&etcd, options).await,
            }
        })
}

async fn start(version: Option<&str>) -> anyhow::Result<Etcd> {
    let binaries = Binaries::find()?;
    let binary = match version {
        Some(version) => binaries.of(version.parse()?),
        None => binaries.newest(),
    };
    let binary = binary.with_context(|| {
        format!(
            "there is no such etcd here ({}): cargo xtask etcd",
            binaries.summary()
        )
    })?;
    Ok(Etcd::start(binary).await?)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The key of a watch.
fn key(number: usize) -> String {
    format!("/registry/things/{number:08}")
}

/// Adds so many watches at once, and waits until all are in force.
async fn add(watcher: &Watcher, watches: usize) -> anyhow::Result<()> {
    let mut adding = JoinSet::new();
    for number in 0..watches {
        adding.spawn(watcher.watch(key(number)).no_timeout());
    }
    while let Some(added) = adding.join_next().await {
        added??;
    }
    Ok(())
}
