//! How fast it goes: many callers at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use etcdex::{Client, Error};
use tokio::task::JoinSet;

use super::load::CALLERS;
use super::page::{Page, milliseconds, thousands};
use crate::failure::Failure;

const REQUESTS: usize = 2_000;

pub(super) async fn run(client: &Client, page: &mut Page) -> Result<(), Failure> {
    page.step(&format!(
        "Do much at once: {CALLERS} callers, one connection"
    ))?;
    page.line("                 per second     median       99 %      worst")?;
    let puts = measure(client, |client, key| async move {
        client.put(key, "x".repeat(100)).await.map(drop)
    });
    report("puts", puts.await?, page)?;
    let gets = measure(client, |client, key| async move {
        client.get(key).await.map(drop)
    });
    report("gets", gets.await?, page)
}

/// How long each took, and how long all.
struct Times {
    each: Vec<Duration>,
    all: Duration,
}

async fn measure<F>(client: &Client, request: fn(Client, String) -> F) -> Result<Times, Failure>
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (client, next) = (client.clone(), Arc::clone(&next));
        callers.spawn(async move {
            let mut each = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= REQUESTS {
                    return Ok::<_, Error>(each);
                }
                let began = Instant::now();
                request(client.clone(), format!("burst/{number}")).await?;
                each.push(began.elapsed());
            }
        });
    }
    let mut each = Vec::with_capacity(REQUESTS);
    while let Some(caller) = callers.join_next().await {
        each.extend(
            caller
                .map_err(std::io::Error::other)
                .map_err(Failure::System)??,
        );
    }
    each.sort_unstable();
    Ok(Times {
        all: began.elapsed(),
        each,
    })
}

fn report(what: &str, times: Times, page: &mut Page) -> Result<(), Failure> {
    let count = times.each.len();
    let at = |percent: usize| {
        let place = (count * percent / 100).min(count.saturating_sub(1));
        milliseconds(times.each.get(place).copied().unwrap_or_default())
    };
    let rate = count as f64 / times.all.as_secs_f64();
    page.line(&format!(
        "    {} {what} {:>10} {:>10} {:>10} {:>10}",
        thousands(count),
        thousands(rate as u64),
        at(50),
        at(99),
        at(100)
    ))
}
