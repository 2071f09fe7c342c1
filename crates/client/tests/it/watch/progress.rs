//! How far a watch has come while nothing happens.

use etcdex::{Client, WatchMessage};
use etcdex_testkit::{Binary, Etcd, Proxy};

use super::{message, next};
use crate::stage::{each, each_alone, each_binary};

/// A server that tells idle watches every second how far they have come.
async fn talkative(binary: &Binary) -> Etcd {
    let modern = binary.version().is_at_least(3, 6);
    let flag = if modern { "--" } else { "--experimental-" };
    let interval = format!("{flag}watch-progress-notify-interval=1s");
    let builder = Etcd::builder().binary(binary).args([interval]);
    builder.start().await.unwrap()
}

#[tokio::test]
async fn who_wants_to_know_is_told() {
    each_binary(|binary| async move {
        let etcd = talkative(&binary).await;
        let client = Client::connect(etcd.endpoint()).await.unwrap();
        let mut watch = client.watch("k").progress_notify().await.unwrap();
        let mut other = client.watch("k").await.unwrap();
        let there = client.put("elsewhere", "v").await.unwrap().header.revision;
        loop {
            let batch = next(&mut watch).await;
            assert!(batch.is_progress());
            if batch.revision == there {
                break;
            }
        }
        let put = client.put("k", "v").await.unwrap().header.revision;
        // Who did not ask sees events only.
        assert_eq!(next(&mut other).await.revision, put);
        loop {
            let batch = next(&mut watch).await;
            if !batch.is_progress() {
                break assert_eq!(batch.revision, put);
            }
        }
    })
    .await;
}

/// What was compacted away while nothing happened was nothing to this watch.
#[tokio::test]
async fn an_idle_watch_survives_a_compaction_and_a_reconnect() {
    each_binary(|binary| async move {
        let etcd = talkative(&binary).await;
        let proxy = Proxy::start(etcd.client_address()).await.unwrap();
        let client = Client::connect(proxy.endpoint()).await.unwrap();
        let direct = Client::connect(etcd.endpoint()).await.unwrap();
        let mut watcher = client.watcher();
        // The resume point of this one moves as well, though it does not tell.
        let quiet = watcher.watch("quiet").await.unwrap();
        let told = watcher.watch("told").progress_notify().await.unwrap();
        let mut last = 0;
        for _ in 0..10 {
            last = direct.put("elsewhere", "v").await.unwrap().header.revision;
        }
        // Each server tells all watches in one go.
        for _ in 0..2 {
            loop {
                match message(&mut watcher).await {
                    WatchMessage::Progress { revision, .. } if revision == last => break,
                    _ => {}
                }
            }
        }
        direct.compact(last).await.unwrap();
        proxy.refuse();
        proxy.reset();
        direct.put("quiet", "1").await.unwrap();
        direct.put("told", "2").await.unwrap();
        proxy.heal();
        let mut seen = Vec::new();
        while seen.len() < 2 {
            match message(&mut watcher).await {
                WatchMessage::Notify { watch, .. } => seen.push(watch),
                WatchMessage::Canceled { end, .. } => panic!("{end}"),
                _ => {}
            }
        }
        seen.sort();
        assert_eq!(seen, [quiet, told]);
    })
    .await;
}

/// Known bug of the ancestor: the answer, which names no watch, cancelled one.
#[tokio::test]
async fn progress_is_told_when_asked_for() {
    each(|stage| async move {
        let client = stage.inside();
        let mut watcher = client.watcher();
        let watch = watcher.watch("k").await.unwrap();
        message(&mut watcher).await;
        for round in 0..3 {
            let put = client.put("k", "v").await.unwrap().header.revision;
            watcher.request_progress();
            let (mut events, mut progress) = (0, 0);
            while events == 0 || progress < put {
                match message(&mut watcher).await {
                    WatchMessage::Notify {
                        watch: of, batch, ..
                    } => {
                        assert_eq!((of, batch.revision), (watch, put));
                        events += 1;
                    }
                    WatchMessage::Progress {
                        watch: of,
                        revision,
                        ..
                    } => {
                        assert_eq!(of, None);
                        assert!(revision < put || events == 1, "{round}: it has overtaken");
                        progress = revision;
                        if progress < put {
                            watcher.request_progress();
                        }
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(events, 1);
        }
        let mut one = client.watch("k").await.unwrap();
        let put = client.put("k", "v").await.unwrap().header.revision;
        assert_eq!(next(&mut one).await.revision, put);
        one.request_progress();
        let batch = next(&mut one).await;
        assert!(batch.is_progress() && batch.revision >= put, "{batch:?}");
    })
    .await;
}

/// etcd counts a watch that was compacted among those of its stream until the client cancels it,
/// and answers no request for progress on the stream meanwhile.
#[tokio::test]
async fn progress_is_told_after_another_watch_was_compacted() {
    each_alone(&[], |etcd| async move {
        let client = crate::stage::connect(&etcd).await;
        for round in 0..5 {
            client.put("k", round.to_string()).await.unwrap();
        }
        let mut watcher = client.watcher();
        watcher.watch("k").await.unwrap();
        let put = client.put("k", "v").await.unwrap().header.revision;
        client.compact(4).await.unwrap();
        let old = watcher.watch("k").start_revision(2).await.unwrap();
        loop {
            if let WatchMessage::Canceled { watch, .. } = message(&mut watcher).await {
                assert_eq!(watch, old);
                break;
            }
        }
        watcher.request_progress();
        loop {
            if let WatchMessage::Progress { revision, .. } = message(&mut watcher).await {
                assert!(revision >= put, "{revision} is before {put}");
                break;
            }
        }
    })
    .await;
}
