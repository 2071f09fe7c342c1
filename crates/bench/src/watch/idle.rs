//! The memory of watches without events.

use etcdex::Client;
use etcdex_testkit::Etcd;
use tokio::task::JoinSet;

use super::{Count, add, heap, key};

/// Options of the workload.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// Number of watches
    #[arg(long, default_value = "100000")]
    watches: Count,
    /// One `WatchStream` for each watch, instead of one watcher for all
    #[arg(long)]
    streams: bool,
}

pub(super) async fn run(etcd: &Etcd, options: &Options) -> anyhow::Result<()> {
    let watches = options.watches.get();
    let client = Client::connect(etcd.endpoint()).await?;
    // The allocations of the first watch include those of the connection, so they do not count.
    drop(client.watch("warm").await?);

    let before = heap::held();
    if options.streams {
        let mut opening = JoinSet::new();
        for number in 0..watches {
            opening.spawn(client.watch(key(number)).no_timeout());
        }
        let mut streams = Vec::with_capacity(watches);
        while let Some(opened) = opening.join_next().await {
            streams.push(opened??);
        }
        drop(opening);
        report("as streams of their own", before, watches);
    } else {
        let watcher = client.watcher();
        add(&watcher, watches).await?;
        report("of one watcher", before, watches);
    }
    Ok(())
}

fn report(kind: &str, before: i64, watches: usize) {
    let each = (heap::held() - before) / watches as i64;
    println!("{watches} idle watches {kind}: {each} bytes of heap each");
}
