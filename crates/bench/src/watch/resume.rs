//! How long watches take to resume after a cut, and to catch up.

use std::time::{Duration, Instant};

use anyhow::Context;
use etcdex::{Client, Put, WatchMessage, Watcher};
use etcdex_testkit::{Etcd, Proxy};

use super::{Count, add, key, milliseconds};

/// Number of operations in one transaction.
const BATCH: usize = 100;

/// Options of the workload.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// Number of watches
    #[arg(long, default_value = "10000")]
    watches: Count,
    /// Delay of the proxy in each direction, in milliseconds
    #[arg(long, default_value = "1")]
    delay: u64,
    /// Number of cuts
    #[arg(long, default_value = "5")]
    cuts: Count,
    /// Skips the creation of the watches one after the other, which takes long
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

/// Cuts the connection, writes every key, heals the connection, and waits for every event.
///
/// Returns how long after the healing the watches were resumed, and the last event came.
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
        "unexpected message after a cut: {message:?}"
    );
    for first in (0..watches).step_by(BATCH) {
        let keys = first..watches.min(first + BATCH);
        let puts = keys.map(|number| Put::new(key(number), "changed"));
        puts.fold(direct.txn(), etcdex::Call::then).await?;
    }
    // ORDER: heal first, because healing ends the delay.
    proxy.heal();
    proxy.delay(delay);
    let start = Instant::now();
    let (mut resumed, mut events) = (None, 0);
    while events < watches || resumed.is_none() {
        match watcher.next().await.context("the watcher ended")? {
            WatchMessage::Resumed { .. } => resumed = Some(start.elapsed()),
            WatchMessage::Notify { batch, .. } => events += batch.events.len(),
            WatchMessage::Disconnected { .. } => {}
            other => anyhow::bail!("unexpected message after a cut: {other:?}"),
        }
    }
    anyhow::ensure!(events == watches, "{events} events for {watches} changes");
    Ok((resumed.unwrap_or_default(), start.elapsed()))
}

/// Returns the next message, if it comes within 50 ms.
async fn now_or_never(watcher: &mut Watcher) -> Option<WatchMessage> {
    tokio::time::timeout(Duration::from_millis(50), watcher.next())
        .await
        .ok()?
}
