//! A consumer that does not read, beside one that does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use anyhow::Context;
use etcdex::{Client, Put, WatchStream};
use etcdex_testkit::Etcd;

use super::{Count, heap, milliseconds};

/// Number of operations in one transaction.
const BATCH: usize = 100;

/// Options of the workload.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// Number of events
    #[arg(long, default_value = "1000000")]
    events: Count,
    /// Size of a value, in bytes
    #[arg(long, default_value = "100")]
    value: Count,
    /// Buffer of the slow watch in KiB; several values to compare
    #[arg(long, value_delimiter = ',', default_value = "4096")]
    buffer: Vec<usize>,
}

pub(super) async fn run(etcd: &Etcd, options: &Options) -> anyhow::Result<()> {
    let events = options.events.get().div_ceil(BATCH) * BATCH;
    let writer = Client::connect(etcd.endpoint()).await?;
    for &buffer in &options.buffer {
        let client = Client::connect(etcd.endpoint()).await?;
        let mut slow = client.watch("s/").prefix().buffer(buffer << 10).await?;
        let quick = client.watch("s/").prefix().await?;
        let seen = Arc::new(AtomicUsize::new(0));
        let counting = tokio::spawn(count(quick, events, Arc::clone(&seen)));

        let start = Instant::now();
        let before = heap::held();
        let mut peak = 0;
        for first in (0..events).step_by(BATCH) {
            let value = vec![b'x'; options.value.get()];
            let keys = (first..first + BATCH).map(|number| format!("s/{:06}", number % 10_000));
            let puts = keys.map(|key| Put::new(key, value.clone()));
            puts.fold(writer.txn(), etcdex::Call::then).await?;
            peak = peak.max(heap::held() - before);
        }
        let written = start.elapsed();
        counting.await??;
        let received = start.elapsed();
        let lag = slow.lag();
        let start = Instant::now();
        count_all(&mut slow, events).await?;
        println!(
            "buffer {buffer} KiB: {events} events written in {:.0} ms, received by the quick watch in \
             {:.0} ms; the slow watch was {} revisions behind with {} KiB, peak heap {} KiB, \
             caught up in {:.0} ms; peak memory of the process {} KiB",
            milliseconds(written),
            milliseconds(received),
            lag.revisions,
            lag.bytes >> 10,
            peak >> 10,
            milliseconds(start.elapsed()),
            heap::peak().unwrap_or_default(),
        );
    }
    Ok(())
}

async fn count(
    mut watch: WatchStream,
    events: usize,
    seen: Arc<AtomicUsize>,
) -> anyhow::Result<()> {
    while seen.load(Relaxed) < events {
        let batch = watch.try_next().await?.context("the watch was cancelled")?;
        seen.fetch_add(batch.events.len(), Relaxed);
    }
    Ok(())
}

/// Reads `events` events, and fails if one is missing, repeated or out of order.
async fn count_all(watch: &mut WatchStream, events: usize) -> anyhow::Result<()> {
    let (mut seen, mut last) = (0, 0);
    while seen < events {
        let batch = watch.try_next().await?.context("the watch was cancelled")?;
        for event in &batch.events {
            anyhow::ensure!(event.kv.mod_revision >= last, "revisions go back");
            last = event.kv.mod_revision;
        }
        seen += batch.events.len();
    }
    anyhow::ensure!(seen == events, "{seen} events instead of {events}");
    Ok(())
}
