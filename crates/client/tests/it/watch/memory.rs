//! Events that a client holds for watches without a reading consumer: one limit for all of them.

use std::time::Duration;

use etcdex::{Client, WatchLimits, WatchStream};
use etcdex_testkit::Etcd;
use tokio::time::{sleep, timeout};

use super::next;
use crate::stage::{DEADLINE, connect, ends, newest};

const WATCHES: usize = 60;

/// Without a limit each watch would hold all of the history, which is three times the limit.
#[tokio::test]
async fn unread_watches_hold_no_more_than_the_limit_of_the_client() {
    ends(|binary| async move {
        let etcd = Etcd::builder().binary(&binary).start().await.unwrap();
        hold(&etcd, 60, 50_000).await;
    })
    .await;
}

/// The same with a history of `ETCDEX_HISTORY` megabytes, on the newest version. Prints the memory
/// of this process: `ETCDEX_HISTORY=100 cargo test -p etcdex --test it megabytes_of_history --
/// --nocapture`.
#[tokio::test]
async fn megabytes_of_history_are_not_held() {
    let Ok(megabytes) = std::env::var("ETCDEX_HISTORY") else {
        return;
    };
    let megabytes: usize = megabytes.parse().expect("ETCDEX_HISTORY is a number");
    let Some(binary) = newest() else { return };
    let etcd = Etcd::builder().binary(binary).start().await.unwrap();
    hold(&etcd, 20 * megabytes, 50_000).await;
}

/// Writes values of this size, watches them without reading, and then reads one watch.
async fn hold(etcd: &Etcd, values: usize, size: usize) {
    let writer = connect(etcd).await;
    for number in 0..values {
        let value = format!("{number:0size$}");
        writer.put("k", value).await.unwrap();
    }
    let mut limits = WatchLimits::default();
    let limit = values * size / 3;
    limits.client_bytes = limit;
    let builder = Client::builder().endpoint(etcd.endpoint());
    let builder = builder.watch_limits(limits).timeout(DEADLINE);
    let client = builder.connect().await.unwrap();
    let before = resident();
    let mut streams = Vec::new();
    for _ in 0..WATCHES {
        let watch = client.watch("k").start_revision(1).no_timeout();
        streams.push(watch.await.unwrap());
    }
    let is_paused = |stream: &WatchStream| stream.lag().paused;
    let all_paused = async {
        let mut highest = 0;
        while !streams.iter().all(is_paused) {
            highest = highest.max(resident());
            sleep(Duration::from_millis(10)).await;
        }
        highest
    };
    let highest = timeout(DEADLINE * 10, all_paused).await.expect("in time");
    let held: usize = streams.iter().map(|stream| stream.lag().bytes).sum();
    println!("{held} bytes are held of {limit}");
    let after = resident();
    println!("resident: {before} kB before, {highest} kB at most, {after} kB after");
    assert!((limit / 2..=limit).contains(&held), "{held} of {limit}");
    // A watch that is read gets all events while the others are not read.
    let mut seen = 0;
    while seen < values {
        let batch = timeout(DEADLINE * 2, next(&mut streams[WATCHES - 1])).await;
        for event in batch.expect("in time").events {
            let value = event.kv.value_str().expect("text");
            assert_eq!(value.parse::<usize>().expect("a number"), seen);
            seen += 1;
        }
    }
}

/// The memory of this process, in kilobytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|text| text.parse().ok()).unwrap_or(0)
}
