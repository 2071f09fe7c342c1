//! Progress of watches without events.

use etcdex::{Client, WatchMessage};
use etcdex_testkit::{Binary, Etcd, GrpcProxy, Proxy};

use super::{message, next};
use crate::stage::{each, each_alone, each_binary};

/// Starts a server that sends progress to idle watches every second.
async fn with_frequent_progress(binary: &Binary) -> Etcd {
    let modern = binary.version().is_at_least(3, 6);
    let flag = if modern { "--" } else { "--experimental-" };
    let interval = format!("{flag}watch-progress-notify-interval=1s");
    let builder = Etcd::builder().binary(binary).args([interval]);
    builder.start().await.unwrap()
}

/// Returns a proxy, a client behind it, and one without it.
async fn behind_proxy(etcd: &Etcd) -> (Proxy, Client, Client) {
    let proxy = Proxy::start(etcd.client_address()).await.unwrap();
    let client = Client::connect(proxy.endpoint()).await.unwrap();
    let direct = Client::connect(etcd.endpoint()).await.unwrap();
    (proxy, client, direct)
}

/// Puts a key that no test watches ten times, and returns the last revision.
async fn put_elsewhere(client: &Client) -> i64 {
    let mut last = 0;
    for _ in 0..10 {
        last = client.put("elsewhere", "v").await.unwrap().header.revision;
    }
    last
}

#[tokio::test]
async fn progress_is_delivered_only_to_watches_with_progress_notify() {
    each_binary(|binary| async move {
        let etcd = with_frequent_progress(&binary).await;
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
        // A watch without `progress_notify` gets only events.
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

/// The compacted revisions had no events for this watch.
#[tokio::test]
async fn an_idle_watch_survives_a_compaction_and_a_reconnect() {
    each_binary(|binary| async move {
        let etcd = with_frequent_progress(&binary).await;
        let (proxy, client, direct) = behind_proxy(&etcd).await;
        let mut watcher = client.watcher();
        // The resume point of this watch moves as well, without messages.
        let quiet = watcher.watch("quiet").await.unwrap();
        let told = watcher.watch("told").progress_notify().await.unwrap();
        let last = put_elsewhere(&direct).await;
        // A server sends progress to all its watches together.
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
                WatchMessage::Cancelled { end, .. } => panic!("{end}"),
                _ => {}
            }
        }
        seen.sort();
        assert_eq!(seen, [quiet, told]);
    })
    .await;
}

/// EtcdEx had a bug here: the answer, which names no watch, cancelled one.
///
/// A request has one answer that is not older than the request: the client does not take an answer
/// to an older request, or of a member that lags, for it.
#[tokio::test]
async fn requested_progress_is_delivered() {
    each(|stage| async move {
        let client = stage.inside();
        let mut watcher = client.watcher();
        let watch = watcher.watch("k").await.unwrap();
        message(&mut watcher).await;
        // An earlier request, whose answer may come in between.
        watcher.request_progress();
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
                        header,
                        ..
                    } => {
                        assert_eq!((of, header.revision), (None, revision));
                        assert_ne!(header.cluster_id, 0);
                        assert!(
                            revision < put || events == 1,
                            "{round}: the progress has overtaken an event"
                        );
                        progress = revision;
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
        assert_eq!(batch.header.cluster_id, batch_cluster(&client).await);
    })
    .await;
}

async fn batch_cluster(client: &Client) -> u64 {
    client.get("k").await.unwrap().header.cluster_id
}

/// etcd sends no progress of a watch before the store has reached its start, and a watch from now
/// starts after the store's revision.
#[tokio::test]
async fn a_watch_from_now_gets_progress_without_writes() {
    each_binary(|binary| async move {
        let etcd = with_frequent_progress(&binary).await;
        let client = Client::connect(etcd.endpoint()).await.unwrap();
        let now = client.put("before", "v").await.unwrap().header.revision;
        let mut notified = client.watch("k").progress_notify().await.unwrap();
        let batch = next(&mut notified).await;
        assert!(batch.is_progress());
        assert_eq!((batch.revision, batch.header.revision), (now, now));
        let mut asking = client.watch("k").await.unwrap();
        for _ in 0..3 {
            asking.request_progress();
            let batch = next(&mut asking).await;
            assert!(batch.is_progress());
            assert_eq!(batch.revision, now);
        }
        // Requests of other watches are answered, too.
        let mut watcher = client.watcher();
        watcher.watch("before").await.unwrap();
        watcher.watch("k").await.unwrap();
        watcher.request_progress();
        loop {
            if let WatchMessage::Progress { revision, .. } = message(&mut watcher).await {
                break assert_eq!(revision, now);
            }
        }
        let put = client.put("k", "v").await.unwrap().header.revision;
        for watch in [&mut notified, &mut asking] {
            loop {
                let batch = next(watch).await;
                if !batch.is_progress() {
                    break assert_eq!(batch.revision, put);
                }
            }
        }
    })
    .await;
}

/// One watch is from the past and has no events, another one is from now, and a third from the
/// future. On servers with exact progress, the first one gets progress.
#[tokio::test]
async fn watches_ahead_of_the_store_do_not_block_progress_of_others() {
    each_binary(|binary| async move {
        let etcd = Etcd::builder().binary(&binary).start().await.unwrap();
        let (proxy, client, direct) = behind_proxy(&etcd).await;
        let now = put_elsewhere(&direct).await;
        let mut from_now = client.watch("k").await.unwrap();
        let future = client.watch("k").start_revision(now + 3);
        let mut future = future.await.unwrap();
        let mut past = client.watch("k").start_revision(2).await.unwrap();
        if is_exact(&binary) {
            past.request_progress();
            let batch = next(&mut past).await;
            assert!(batch.is_progress());
            assert_eq!(batch.revision, now);
            // The compacted revisions had no events for this watch.
            direct.compact(now).await.unwrap();
            proxy.refuse();
            proxy.reset();
        }
        let mut puts = Vec::new();
        for _ in 0..4 {
            puts.push(direct.put("k", "v").await.unwrap().header.revision);
        }
        proxy.heal();
        for watch in [&mut past, &mut from_now] {
            let mut told = Vec::new();
            while told.len() < 4 {
                let events = next(watch).await.events;
                told.extend(events.iter().map(|event| event.kv.mod_revision));
            }
            assert_eq!(told, puts);
        }
        let mut told = Vec::new();
        while told.len() < 2 {
            let events = next(&mut future).await.events;
            told.extend(events.iter().map(|event| event.kv.mod_revision));
        }
        assert_eq!(told, puts[2..]);
    })
    .await;
}

/// Issue 15220 of etcd: older servers may overtake events, so only their events count.
fn is_exact(binary: &Binary) -> bool {
    let version = binary.version();
    version.is_at_least(3, 6) || version.to_string() == "3.5.35"
}

/// On every version etcd sends progress to a watch from the past at its own interval.
#[tokio::test]
async fn a_watch_of_the_past_survives_a_compaction_and_a_reconnect() {
    each_binary(|binary| async move {
        let etcd = with_frequent_progress(&binary).await;
        let (proxy, client, direct) = behind_proxy(&etcd).await;
        let now = put_elsewhere(&direct).await;
        let past = client.watch("k").start_revision(2).progress_notify();
        let mut past = past.await.unwrap();
        let batch = next(&mut past).await;
        assert!(batch.is_progress());
        assert_eq!(batch.revision, now);
        direct.compact(now).await.unwrap();
        proxy.refuse();
        proxy.reset();
        let put = direct.put("k", "v").await.unwrap().header.revision;
        proxy.heal();
        loop {
            let batch = next(&mut past).await;
            if !batch.is_progress() {
                break assert_eq!(batch.revision, put);
            }
        }
    })
    .await;
}

/// `etcd grpc-proxy` never answers a request for progress. A watch that begins at the store's
/// revision needs no answer.
#[tokio::test]
async fn a_watch_through_etcds_proxy_gets_progress_of_now_and_events() {
    each_binary(|binary| async move {
        let etcd = Etcd::builder().binary(&binary).start().await.unwrap();
        let proxy = GrpcProxy::start(&etcd).await.unwrap();
        let client = Client::connect(proxy.endpoint()).await.unwrap();
        let mut watch = client.watch("k").await.unwrap();
        let now = watch.start_revision() - 1;
        watch.request_progress();
        let batch = next(&mut watch).await;
        assert!(batch.is_progress());
        assert_eq!(batch.revision, now);
        let put = client.put("k", "v").await.unwrap().header.revision;
        assert_eq!(next(&mut watch).await.revision, put);
        watch.request_progress();
        let batch = next(&mut watch).await;
        assert!(batch.is_progress() && batch.revision >= put, "{batch:?}");
    })
    .await;
}

/// etcd counts a watch that was compacted among those of its stream until the client cancels it,
/// and answers no request for progress on the stream meanwhile.
#[tokio::test]
async fn requested_progress_is_delivered_after_another_watch_was_compacted() {
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
            if let WatchMessage::Cancelled { watch, .. } = message(&mut watcher).await {
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
