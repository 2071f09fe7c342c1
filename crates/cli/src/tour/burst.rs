//! Throughput and latency of many callers on one connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use etcdex::{Client, Error};
use tokio::task::JoinSet;

use super::load::{CALLERS, joined};
use super::printer::{Printer, milliseconds, thousands};
use crate::failure::Failure;

/// Number of requests of each kind, of all callers together.
const REQUESTS: usize = 2_000;

pub(super) async fn run(client: &Client, printer: &mut Printer) -> Result<(), Failure> {
    printer.step(&format!(
        "Measure {CALLERS} callers at once on one connection"
    ))?;
    printer.line("                 per second     median       99 %      worst")?;
    let puts = measure(client, |client, key| async move {
        client.put(key, "x".repeat(100)).await.map(drop)
    });
    print("puts", &puts.await?, printer)?;
    let gets = measure(client, |client, key| async move {
        client.get(key).await.map(drop)
    });
    print("gets", &gets.await?, printer)
}

struct Timings {
    /// Duration of each request, in ascending order.
    latencies: Vec<Duration>,
    /// Duration of the whole burst.
    total: Duration,
}

async fn measure<F>(client: &Client, request: fn(Client, String) -> F) -> Result<Timings, Failure>
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (client, next) = (client.clone(), Arc::clone(&next));
        callers.spawn(async move {
            let mut latencies = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= REQUESTS {
                    return Ok::<_, Error>(latencies);
                }
                let began = Instant::now();
                request(client.clone(), format!("burst/{number}")).await?;
                latencies.push(began.elapsed());
            }
        });
    }
    let mut latencies = Vec::with_capacity(REQUESTS);
    while let Some(caller) = callers.join_next().await {
        latencies.extend(joined(caller)??);
    }
    latencies.sort_unstable();
    Ok(Timings {
        total: began.elapsed(),
        latencies,
    })
}

fn print(noun: &str, timings: &Timings, printer: &mut Printer) -> Result<(), Failure> {
    let count = timings.latencies.len();
    let percentile = |percent: usize| {
        let index = (count * percent / 100).min(count.saturating_sub(1));
        milliseconds(timings.latencies.get(index).copied().unwrap_or_default())
    };
    let rate = count as f64 / timings.total.as_secs_f64();
    printer.line(&format!(
        "    {} {noun} {:>10} {:>10} {:>10} {:>10}",
        thousands(count),
        thousands(rate as u64),
        percentile(50),
        percentile(99),
        percentile(100)
    ))
}
