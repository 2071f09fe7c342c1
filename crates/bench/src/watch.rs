//! The workloads `watch ...`: watches on a real etcd, behind a proxy that can cut connections.

mod heap;
mod idle;
mod resume;
mod slow;

use std::num::NonZeroUsize;
use std::time::Duration;

use etcdex::Watcher;
use etcdex_testkit::Etcd;
use tokio::task::JoinSet;

use crate::binary;

/// Options of the workloads.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Version of etcd; the newest one on this machine by default
    #[arg(long, global = true)]
    etcd: Option<String>,
    #[command(subcommand)]
    workload: Workload,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Workload {
    /// Measures how long watches take to resume after a cut, and to catch up
    Resume(resume::Options),
    /// Measures the memory of watches without events
    Idle(idle::Options),
    /// Measures a consumer that does not read, beside one that does
    Slow(slow::Options),
}

/// A number of watches, cuts or events.
pub(crate) type Count = NonZeroUsize;

/// Runs the workload and prints its results.
pub fn run(options: &Options) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let etcd = Etcd::start(&binary::find(options.etcd.as_deref())?).await?;
            println!("etcd {}", etcd.version());
            match &options.workload {
                Workload::Resume(options) => resume::run(&etcd, options).await,
                Workload::Idle(options) => idle::run(&etcd, options).await,
                Workload::Slow(options) => slow::run(&etcd, options).await,
            }
        })
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Returns the key of a watch.
fn key(number: usize) -> String {
    format!("/registry/things/{number:08}")
}

/// Adds `watches` watches at once, and waits until the server has created all of them.
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
