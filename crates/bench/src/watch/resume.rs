//! How long watches take to be in force again after a cut, and to be caught up.

use std::time::{Duration, Instant};

use anyhow::Context;
use etcdex::{Client, Put, WatchMessage, Watcher};
use etcdex_testkit::{Etcd, Proxy};

use super::{Count, add, key, milliseconds};

/// Operations of one transaction.
const BATCH: usize = 100;

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// How many watches
    #[arg(long, default_value = "10000")]
    watches: Count,
    /// How much later bytes arrive, each way, in milliseconds
    #[arg(long, default_value = "1")]
    delay: u64,
    /// How many cuts
    #[arg(long, default_value = "5")]
    cuts: Count,
    /// Leave out creating them one after the other, which takes long
    #[arg(long)]
    no_serial: bool,
}

pub(super) async fn run(etcd: &Etcd, options: &Options) -> anyhow::Result<()> {
    let watches = options.watches.get();
    let direct = Client::connect(etcd.endpoint()).await?;
    let proxy = Proxy::start(etcd.client_address()).await?;
    let delay = Duration::from_millis(options.delay);
    proxy.delay(delay);
    let client = Client::connect(proxy.endpoint()).await?;
    let mut watcher = client.watcher();

    let start = Instant::now();
    add(&watcher, watches).await?;
    println!(
        "{watches} watches created: {:.0} ms",
        milliseconds(start.elapsed())
    );
    while let Some(WatchMessage::Created { .. }) = now_or_never(&mut watcher).await {}

    for round in 0..options.cuts.get() {
        let (resumed, caught_up) = cut(&proxy, delay, &direct, &mut watcher, watches).await?;
        println!(
            "cut {round}: created again {:.0} ms, caught up with {watches} events {:.0} ms",
            milliseconds(resumed),
            milliseconds(caught_up),
        );
    }
    if !options.no_serial {
        let start = Instant::now();
        let serial = client.watcher();
        for number in 0..watches {
            serial.watch(key(number)).start_revision(1).await?;
        }
        println!(
            "the same one after the other: {:.0} ms",
            milliseconds(start.elapsed())
        );
    }
    Ok(())
}

/// Cuts, writes every key meanwhile, and waits until all is told.
async fn cut(
    proxy: &Proxy,
    delay: Duration,
    direct: &Client,
    watcher: &mut Watcher,
    watches: usize,
) -> anyhow::Result<(Duration, Duration)> {
    proxy.refuse();
    proxy.reset();
    let message = watcher.next().await;
    anyhow::ensure!(
        matches!(message, Some(WatchMessage::Disconnected { .. })),
        "after a cut came {message:?}"
    );
    for first in (0..watches).step_by(BATCH) {
        let keys = first..watches.min(first + BATCH);
        let puts = keys.map(|number| Put::new(key(number), "changed"));
        puts.fold(direct.txn(), etcdex::Call::then).await?;
    }
    // ORDER: the delay has to be set again, as healing ends it.
    proxy.heal();
    proxy.delay(delay);
    let start = Instant::now();
    let (mut resumed, mut events) = (None, 0);
    while events < watches || resumed.is_none() {
        match watcher.next().await.context("the client is gone")? {
            WatchMessage::Resumed { .. } => resumed = Some(start.elapsed()),
            WatchMessage::Notify { batch, .. } => events += batch.events.len(),
            WatchMessage::Disconnected { .. } => {}
            other => anyhow::bail!("after a cut came {other:?}"),
        }
    }
    anyhow::ensure!(events == watches, "{events} events for {watches} changes");
    Ok((resumed.unwrap_or_default(), start.elapsed()))
}

/// The next message, if it is there.
async fn now_or_never(watcher: &mut Watcher) -> Option<WatchMessage> {
    tokio::time::timeout(Duration::from_millis(50), watcher.next())
        .await
        .ok()?
}
