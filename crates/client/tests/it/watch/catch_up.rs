//! Long histories of many small events: etcd sends them slowly in pieces, and quickly in whole
//! messages.

use std::time::{Duration, Instant};

use etcdex::{Client, Put};
use etcdex_testkit::{Binary, Etcd};
use tokio::time::timeout;

use super::next;
use crate::stage::{DEADLINE, each_binary};

const TRANSACTIONS: usize = 12;
const PUTS: usize = 10_000;

/// Starts a server with twelve revisions of ten thousand empty puts each, and returns the first
/// revision.
async fn with_history(binary: &Binary) -> (Etcd, Client, i64) {
    let builder = Etcd::builder().binary(binary);
    let arguments = ["--max-txn-ops=20000", "--max-request-bytes=16777216"];
    let etcd = builder.args(arguments).start().await.unwrap();
    let client = Client::builder()
        .endpoint(etcd.endpoint())
        .timeout(DEADLINE)
        .max_send_size(32 << 20)
        .connect()
        .await
        .unwrap();
    let mut first = 0;
    for _ in 0..TRANSACTIONS {
        let mut txn = client.txn();
        for number in 0..PUTS {
            txn = txn.then(Put::new(format!("k{number:05}"), ""));
        }
        let revision = txn.await.unwrap().header.revision;
        first = if first == 0 { revision } else { first };
    }
    (etcd, client, first)
}

/// Each new watch makes the client check its stream for answers. An earlier client gave the stream
/// up because etcd was silent for too long, and the watch had to catch up again from the start.
#[tokio::test]
async fn a_watch_catches_up_while_other_watches_are_opened() {
    each_binary(|binary| async move {
        let (_etcd, client, first) = with_history(&binary).await;
        let begin = Instant::now();
        let history = client.watch("k").prefix().start_revision(first);
        let mut history = history.await.unwrap();
        let reader = tokio::spawn(async move {
            let mut events = 0;
            while events < TRANSACTIONS * PUTS {
                events += next(&mut history).await.events.len();
            }
            (events, begin.elapsed())
        });
        let mut watches = Vec::new();
        let mut slowest = Duration::ZERO;
        while !reader.is_finished() {
            let asked = Instant::now();
            watches.push(
                timeout(DEADLINE, client.watch("new"))
                    .await
                    .unwrap()
                    .unwrap(),
            );
            slowest = slowest.max(asked.elapsed());
            tokio::time::sleep(Duration::from_millis(1_500)).await;
        }
        let (events, took) = reader.await.unwrap();
        println!(
            "{}: {took:?}, the slowest new watch {slowest:?}",
            binary.version()
        );
        assert_eq!(events, TRANSACTIONS * PUTS);
        // One or two seconds on an idle machine. The earlier client never ended.
        assert!(took < DEADLINE, "caught up in {took:?}");
    })
    .await;
}
