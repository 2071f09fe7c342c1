//! Members that die, are stopped or lose their leader, and a store that is restored.

use std::time::Duration;

use etcdex::{Client, ErrorKind, WatchEnd, WatchMessage, Watcher};
use etcdex_testkit::{Binary, Cluster, Etcd};

use super::{end, message, next};
use crate::stage::{DEADLINE, connect, each_alone, ends, restore};

async fn three(binary: &Binary) -> Cluster {
    let builder = Etcd::builder().binary(binary);
    let builder = builder.args(["--heartbeat-interval=50", "--election-timeout=500"]);
    builder.start_cluster(3).await.unwrap()
}

/// Returns the index of the member with the watches, by etcd's metrics.
async fn holder(cluster: &Cluster) -> usize {
    for (place, member) in cluster.members().iter().enumerate() {
        let metrics = member.metrics().await.unwrap_or_default();
        let is_it = metrics
            .lines()
            .filter_map(|line| line.strip_prefix("etcd_debugging_mvcc_watcher_total "))
            .any(|count| count != "0");
        if is_it {
            return place;
        }
    }
    panic!("no member has the watch");
}

/// Writes until a write succeeds, and returns its revision.
async fn put(client: &Client, value: &str) -> i64 {
    loop {
        if let Ok(put) = client.put("k", value).await {
            return put.header.revision;
        }
    }
}

/// Reads the events up to the revision, and asserts that their revisions are consecutive.
async fn told_up_to(watcher: &mut Watcher, from: i64, to: i64) {
    let mut next = from;
    while next <= to {
        match message(watcher).await {
            WatchMessage::Notify { batch, .. } => {
                for event in batch.events {
                    assert_eq!(event.kv.mod_revision, next);
                    next += 1;
                }
            }
            WatchMessage::Cancelled { end, .. } => panic!("{end}"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_watch_leaves_a_member_that_dies_or_is_stopped() {
    ends(|binary| async move {
        let cluster = three(&binary).await;
        let builder = Client::builder().endpoints(cluster.endpoints());
        let client = builder.timeout(DEADLINE).connect().await.unwrap();
        let mut watcher = client.watcher();
        watcher.watch("k").await.unwrap();
        let mut expected = put(&client, "first").await;
        told_up_to(&mut watcher, expected, expected).await;
        for dies in [true, false] {
            let place = holder(&cluster).await;
            let member = &cluster.members()[place];
            let others = cluster.endpoints();
            let others = others
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != place);
            let others = Client::builder().endpoints(others.map(|(_, url)| url));
            let direct = others.timeout(DEADLINE).connect().await.unwrap();
            if dies {
                member.kill();
            } else {
                member.pause().unwrap();
            }
            let mut last = 0;
            for _ in 0..20 {
                last = put(&direct, "meanwhile").await;
            }
            told_up_to(&mut watcher, expected + 1, last).await;
            expected = last;
            if dies {
                member.restart().await.unwrap();
            } else {
                member.resume().unwrap();
            }
            cluster.leader().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_lost_leader_ends_no_watch() {
    ends(|binary| async move {
        let cluster = three(&binary).await;
        let builder = Client::builder().endpoints(cluster.endpoints());
        let client = builder.timeout(DEADLINE).connect().await.unwrap();
        let mut watcher = client.watcher();
        watcher.watch("k").await.unwrap();
        let first = put(&client, "first").await;
        told_up_to(&mut watcher, first, first).await;
        let place = holder(&cluster).await;
        for (other, member) in cluster.members().iter().enumerate() {
            if other != place {
                member.kill();
            }
        }
        match message(&mut watcher).await {
            WatchMessage::Disconnected { error, .. } => {
                assert_eq!(error.kind(), ErrorKind::NoLeader, "{error}");
                let url = &cluster.endpoints()[place];
                assert_eq!(error.endpoint().unwrap().url(), url);
            }
            other => panic!("{other:?}"),
        }
        let start = client.watch("other").start_revision(1);
        let error = start.timeout(Duration::from_secs(2)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoLeader, "{error}");
        assert!(error.endpoint().is_some(), "{error}");
        // The same for a watch from now, which reads the store's revision first.
        let start = client.watch("other").timeout(Duration::from_secs(4)).await;
        let error = start.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoLeader, "{error}");
        for (other, member) in cluster.members().iter().enumerate() {
            if other != place {
                member.launch().unwrap();
            }
        }
        cluster.leader().await.unwrap();
        let last = put(&client, "last").await;
        told_up_to(&mut watcher, first + 1, last).await;
    })
    .await;
}

/// Revisions after the snapshot have other contents in a restored store: a watch that waits, or
/// that delivers events of the new history, would be wrong.
#[tokio::test]
async fn a_store_that_was_restored_ends_the_watches() {
    each_alone(&[], |etcd| async move {
        let client = connect(&etcd).await;
        client.put("k", "1").await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.db");
        let path = path.to_str().unwrap();
        etcd.etcdctl(["snapshot", "save", path]).await.unwrap();
        let mut watch = client.watch("k").await.unwrap();
        for _ in 0..20 {
            client.put("k", "2").await.unwrap();
            next(&mut watch).await;
        }
        restore(&etcd, path).await;
        let end = end(&mut watch).await;
        assert!(
            matches!(end, WatchEnd::RolledBack { .. } | WatchEnd::ClusterChanged),
            "{end}"
        );
        // The client itself goes on with the restored store.
        let mut again = client.watch("k").await.unwrap();
        let put = client.put("k", "3").await.unwrap().header.revision;
        assert_eq!(next(&mut again).await.revision, put);
    })
    .await;
}
