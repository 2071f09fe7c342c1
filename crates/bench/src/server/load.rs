//! The calls and watches that the servers are measured by.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Context;
use etcdex::{Client, Put, Txn};
use tokio::task::JoinSet;

/// Keys of puts and gets.
const KEYS: usize = 1_000;
const VALUE: usize = 100;
const WATCHERS: usize = 1_000;

/// One kind of load.
#[derive(Clone, Copy, Debug)]
pub(super) enum Load {
    Put { callers: usize, calls: usize },
    Get { callers: usize, calls: usize },
    Range { pairs: usize, times: usize },
    Events { changes: usize },
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { callers, .. } => write!(f, "puts, {callers} callers"),
            Self::Get { callers, .. } => write!(f, "gets, {callers} callers"),
            Self::Range { pairs, .. } => write!(f, "pairs, ranges of {pairs}"),
            Self::Events { .. } => write!(f, "events, {WATCHERS} watchers"),
        }
    }
}

impl Load {
    pub(super) fn all(percent: usize) -> Vec<Self> {
        let part = |number: usize| (number * percent / 100).max(1);
        let calls = part(40_000);
        let mut all = Vec::new();
        for callers in [64, 1_024] {
            all.push(Self::Put { callers, calls });
            all.push(Self::Get { callers, calls });
        }
        all.push(Self::Range {
            pairs: part(100_000),
            times: 5,
        });
        all.push(Self::Events { changes: part(100) });
        all
    }

    /// Returns how much is done in a second.
    pub(super) async fn run(self, url: &str) -> anyhow::Result<f64> {
        let client = connect(url).await?;
        match self {
            Self::Put { callers, calls } => {
                let value = vec![7; VALUE];
                many(callers, calls, move |number| {
                    let put = client.put(key(number % KEYS), value.clone());
                    async move { put.await.map(drop) }
                })
                .await
            }
            Self::Get { callers, calls } => {
                many(callers, calls, move |number| {
                    let get = client.get(key(number % KEYS));
                    async move { get.await.map(drop) }
                })
                .await
            }
            Self::Range { pairs, times } => ranges(&client, url, pairs, times).await,
            Self::Events { changes } => events(&client, changes).await,
        }
    }
}

async fn connect(url: &str) -> anyhow::Result<Client> {
    let builder = Client::builder().endpoint(url);
    let builder = builder.timeout(Duration::from_secs(120));
    Ok(builder.max_receive_size(1 << 30).connect().await?)
}

fn key(number: usize) -> String {
    format!("/bench/{number:08}")
}

/// Has a number of callers share a number of calls.
async fn many<F, T>(callers: usize, calls: usize, call: F) -> anyhow::Result<f64>
where
    F: Fn(usize) -> T + Clone + Send + 'static,
    T: Future<Output = Result<(), etcdex::Error>> + Send + 'static,
{
    let mut running = JoinSet::new();
    let begun = Instant::now();
    for caller in 0..callers {
        let call = call.clone();
        running.spawn(async move {
            for number in (caller..calls).step_by(callers) {
                call(number).await?;
            }
            Ok::<(), etcdex::Error>(())
        });
    }
    while let Some(end) = running.join_next().await {
        end??;
    }
    Ok(calls as f64 / begun.elapsed().as_secs_f64())
}

/// Puts pairs in transactions of a hundred.
pub(super) async fn fill(url: &str, pairs: usize) -> anyhow::Result<()> {
    let client = connect(url).await?;
    let value = vec![7_u8; VALUE];
    many(16, pairs.div_ceil(100), move |part| {
        let numbers = part * 100..((part + 1) * 100).min(pairs);
        let puts = numbers.map(|number| Put::new(format!("/range/{number:08}"), value.clone()));
        let txn = client.run(Txn::new().then_all(puts));
        async move { txn.await.map(drop) }
    })
    .await?;
    Ok(())
}

async fn ranges(client: &Client, url: &str, pairs: usize, times: usize) -> anyhow::Result<f64> {
    fill(url, pairs).await?;
    let begun = Instant::now();
    for _ in 0..times {
        let range = client.get("/range/").prefix().await?;
        anyhow::ensure!(range.kvs.len() == pairs, "{} pairs", range.kvs.len());
    }
    Ok((times * pairs) as f64 / begun.elapsed().as_secs_f64())
}

async fn events(client: &Client, changes: usize) -> anyhow::Result<f64> {
    let mut streams = Vec::new();
    for _ in 0..WATCHERS {
        streams.push(client.watch("/watched").await?);
    }
    let begun = Instant::now();
    let mut watching = JoinSet::new();
    for mut stream in streams {
        watching.spawn(async move {
            let mut count = 0;
            while count < changes {
                let batch = stream.try_next().await?.context("the watch has ended")?;
                count += batch.events.len();
            }
            anyhow::Ok(())
        });
    }
    for _ in 0..changes {
        client.put("/watched", vec![7; VALUE]).await?;
    }
    while let Some(end) = watching.join_next().await {
        end??;
    }
    Ok((changes * WATCHERS) as f64 / begun.elapsed().as_secs_f64())
}
