//! Watches on real servers: <https://etcd.io/docs/v3.6/learning/api/#watch-api>.

mod auth;
mod catch_up;
mod cluster;
mod history;
mod large;
mod many;
mod memory;
mod options;
mod progress;

use std::time::Duration;

use etcdex::{Batch, Client, EventKind, WatchEnd, WatchMessage, WatchStream, Watcher};
use etcdex_testkit::Proxy;
use tokio::time::timeout;

use crate::stage::{DEADLINE, Stage, each, each_alone};

async fn next(watch: &mut WatchStream) -> Batch {
    let batch = timeout(DEADLINE, watch.try_next()).await.expect("in time");
    batch.expect("no end").expect("a batch")
}

async fn message(watcher: &mut Watcher) -> WatchMessage {
    let message = timeout(DEADLINE, watcher.next()).await.expect("in time");
    message.expect("a message")
}

/// Reads a watch until its end, and returns the end.
async fn end(watch: &mut WatchStream) -> WatchEnd {
    loop {
        match timeout(DEADLINE, watch.try_next()).await.expect("in time") {
            Ok(batch) => assert!(batch.is_some(), "the end was returned before"),
            Err(end) => return end,
        }
    }
}

/// Returns the revision, kind and key of all events up to and including `revision`.
async fn up_to(watch: &mut WatchStream, revision: i64) -> Vec<(i64, EventKind, String)> {
    let mut all: Vec<(i64, EventKind, String)> = Vec::new();
    while all.last().is_none_or(|(last, ..)| *last < revision) {
        for event in next(watch).await.events {
            let key = String::from_utf8_lossy(&event.kv.key).into_owned();
            all.push((event.kv.mod_revision, event.kind, key));
        }
    }
    all
}

/// Keys and values of a batch's puts.
fn pairs(batch: &Batch) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let puts = batch.events.iter().filter(|e| e.kind == EventKind::Put);
    puts.map(|e| (text(&e.kv.key), text(&e.kv.value))).collect()
}

#[tokio::test]
async fn a_watch_delivers_events_from_now_on() {
    each(|stage| async move {
        let client = stage.inside();
        client.put("a", "before").await.unwrap();
        let mut watch = client.watch("").prefix().prev_kv().await.unwrap();
        let put = client.put("a", "after").await.unwrap();
        assert!(watch.start_revision() <= put.header.revision);
        let batch = next(&mut watch).await;
        assert_eq!(pairs(&batch), [("a".to_owned(), "after".to_owned())]);
        assert_eq!(batch.revision, put.header.revision);
        let before = batch.events[0].prev_kv.as_ref().expect("the pair before");
        assert_eq!(before.value, "before");
        let gone = client.delete("a").await.unwrap();
        let batch = next(&mut watch).await;
        assert_eq!(batch.events[0].kind, EventKind::Delete);
        assert_eq!(batch.events[0].kv.mod_revision, gone.header.revision);
    })
    .await;
}

#[tokio::test]
async fn events_during_an_outage_of_an_idle_watch_are_delivered() {
    each(|stage| async move {
        let proxy = Proxy::start(stage.etcd.client_address()).await.unwrap();
        let client = Client::connect(proxy.endpoint()).await.unwrap();
        let client = client.namespace(stage.prefix.as_str());
        let direct = stage.inside();
        direct.put("k", "before").await.unwrap();
        let mut watcher = client.watcher();
        let watch = watcher.watch("k").await.unwrap();
        assert!(matches!(
            message(&mut watcher).await,
            WatchMessage::Created { watch: created, .. } if created == watch
        ));
        for round in 0..3 {
            proxy.refuse();
            proxy.reset();
            let disconnected = message(&mut watcher).await;
            assert!(
                matches!(disconnected, WatchMessage::Disconnected { .. }),
                "{disconnected:?}"
            );
            direct.put("k", format!("gap {round}")).await.unwrap();
            proxy.heal();
            let mut seen = Vec::new();
            let mut resumed = false;
            while seen.is_empty() || !resumed {
                match message(&mut watcher).await {
                    WatchMessage::Notify { batch, .. } => seen.extend(pairs(&batch)),
                    WatchMessage::Resumed { .. } => resumed = true,
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(seen, [("k".to_owned(), format!("gap {round}"))]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_watch_of_a_compacted_revision_ends_as_compacted() {
    each_alone(&[], |etcd| async move {
        let client = crate::stage::connect(&etcd).await;
        for round in 0..5 {
            client.put("k", round.to_string()).await.unwrap();
        }
        client.compact(4).await.unwrap();
        let mut watch = client.watch("k").start_revision(2).await.unwrap();
        let end = timeout(DEADLINE, watch.try_next()).await.unwrap();
        assert!(
            matches!(end, Err(WatchEnd::Compacted { revision: 4, .. })),
            "{end:?}"
        );
        assert!(matches!(watch.try_next().await, Ok(None)));
        let mut watch = client.watch("k").start_revision(4).await.unwrap();
        let batch = next(&mut watch).await;
        assert_eq!(batch.events[0].kv.value, "2");
    })
    .await;
}

#[tokio::test]
async fn a_slow_consumer_is_paused_and_loses_nothing() {
    each(|stage: Stage| async move {
        let client = stage.inside();
        let mut slow = client.watch("s").prefix().buffer(4_096).await.unwrap();
        let mut quick = client.watch("s").prefix().await.unwrap();
        for round in 0..200 {
            client
                .put(format!("s{round}"), "x".repeat(100))
                .await
                .unwrap();
            assert!(!next(&mut quick).await.events.is_empty());
        }
        let lag = slow.lag();
        assert!(lag.paused && lag.bytes < 3 * 4_096, "{lag:?}");
        let mut keys = Vec::new();
        while keys.len() < 200 {
            keys.extend(pairs(&next(&mut slow).await).into_iter().map(|pair| pair.0));
        }
        let expected: Vec<String> = (0..200).map(|round| format!("s{round}")).collect();
        assert_eq!(keys, expected);
        assert!(
            timeout(Duration::from_millis(1), slow.try_next())
                .await
                .is_err()
        );
        assert_eq!(slow.lag(), etcdex::watch::Lag::default());
    })
    .await;
}
