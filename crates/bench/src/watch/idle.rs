//! How much memory watches take on which nothing happens.

use etcdex::Client;
use etcdex_testkit::Etcd;
use tokio::task::JoinSet;

use super::{Count, add, heap, key};

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// How many watches
    #[arg(long, default_value = "100000")]
    watches: Count,
    /// Each as a stream of its own, instead of all in one watcher
    #[arg(long)]
    streams: bool,
}

pub(super) async fn run(etcd: &Etcd, options: &Options) -> anyhow::Result<()> {
    let watches = options.watches.get();
    let client = Client::connect(etcd.endpoint()).await?;
    // What the first watch brings with it does not count.
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

fn report(what: &str, before: i64, watches: usize) {
    let each = (heap::held() - before) / watches as i64;
    println!("{watches} idle watches {what}: {each} bytes of heap each");
}
