//! Watched lists on real servers.

use std::collections::BTreeMap;

use bytes::Bytes;
use etcdex::watch::WatchListMessage;
use etcdex::{Client, EventKind, KeyValue, WatchEnd, WatchList};
use etcdex_testkit::Proxy;
use tokio::time::timeout;

use crate::stage::{DEADLINE, each, each_alone, restore};

type Copy = BTreeMap<Bytes, KeyValue>;

/// Applies messages until the copy is complete, at this revision or later. Returns the causes of
/// all new listings.
async fn follow(list: &mut WatchList, copy: &mut Copy, revision: i64) -> Vec<WatchEnd> {
    let mut causes = Vec::new();
    loop {
        let message = timeout(DEADLINE, list.try_next()).await.expect("in time");
        match message.expect("no error").expect("a message") {
            WatchListMessage::Synced { revision: at, .. } if at >= revision => return causes,
            WatchListMessage::Changes {
                revision: at,
                events,
                ..
            } => {
                assert!(!events.is_empty());
                for event in events.iter().filter(|e| e.kind == EventKind::Put) {
                    assert!(event.kv.value.is_unique(), "the value shares no buffer");
                }
                let synced = at >= revision && causes.is_empty() && revision > 0;
                for event in events {
                    match event.kind {
                        EventKind::Put => copy.insert(event.kv.key.clone(), event.kv),
                        _ => copy.remove(&event.kv.key),
                    };
                }
                if synced {
                    return causes;
                }
            }
            WatchListMessage::Resync { cause, .. } => causes.push(cause),
            _ => {}
        }
    }
}

async fn state(client: &Client) -> Copy {
    let all = client.get("").prefix().await.expect("a range");
    all.kvs.into_iter().map(|kv| (kv.key.clone(), kv)).collect()
}

#[tokio::test]
async fn a_list_delivers_the_state_and_then_every_change() {
    each(|stage| async move {
        let client = stage.inside();
        for number in 0..25 {
            client.put(format!("k{number:02}"), "1").await.unwrap();
        }
        let mut list = client.watch_list("").page(10);
        let mut copy = Copy::new();
        let causes = follow(&mut list, &mut copy, 0).await;
        assert_eq!((copy == state(&client).await, causes.len()), (true, 0));
        client.put("k03", "2").await.unwrap();
        let last = client.delete("k1").prefix().await.unwrap();
        follow(&mut list, &mut copy, last.header.revision).await;
        assert_eq!(copy, state(&client).await);
        assert_eq!(copy.len(), 15);
    })
    .await;
}

#[tokio::test]
async fn a_list_is_read_again_after_its_history_was_compacted() {
    each_alone(&[], |etcd| async move {
        let proxy = Proxy::start(etcd.client_address()).await.unwrap();
        let direct = crate::stage::connect(&etcd).await;
        for number in 0..25 {
            direct.put(format!("k{number:02}"), "1").await.unwrap();
        }
        let client = Client::connect(proxy.endpoint()).await.unwrap();
        let mut list = client.watch_list("k").page(7);
        let mut copy = Copy::new();
        follow(&mut list, &mut copy, 0).await;
        // A change shows that the watch is in force.
        let put = direct.put("k00", "2").await.unwrap();
        follow(&mut list, &mut copy, put.header.revision).await;

        proxy.refuse();
        proxy.reset();
        direct.put("k30", "new").await.unwrap();
        direct.delete("k1").prefix().await.unwrap();
        let last = direct.put("k02", "other").await.unwrap().header.revision;
        direct.compact(last).await.unwrap();
        proxy.heal();
        let causes = follow(&mut list, &mut copy, last).await;
        assert!(
            matches!(causes[..], [WatchEnd::Compacted { .. }]),
            "{causes:?}"
        );
        assert_eq!(copy, state(&direct).await);
        assert_eq!(copy.len(), 16);
    })
    .await;
}

/// The watch would start at a revision that the store has not reached: it would deliver nothing
/// until then, and the events before that revision would be missing.
#[tokio::test]
async fn a_list_notices_a_store_that_is_restored_before_its_watch_begins() {
    each_alone(&[], |etcd| async move {
        let client = crate::stage::connect(&etcd).await;
        for number in 0..5 {
            client.put(format!("k{number}"), "1").await.unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.db");
        let path = path.to_str().unwrap();
        etcd.etcdctl(["snapshot", "save", path]).await.unwrap();
        for _ in 0..500 {
            client.put("k0", "2").await.unwrap();
        }
        client.put("k9", "deleted later").await.unwrap();
        let mut list = client.watch_list("k");
        let mut copy = Copy::new();
        follow(&mut list, &mut copy, 500).await;
        restore(&etcd, path).await;
        let direct = crate::stage::connect(&etcd).await;
        let mut last = 0;
        for _ in 0..20 {
            last = direct.put("k1", "3").await.unwrap().header.revision;
        }
        let mut causes = Vec::new();
        while causes.is_empty() || copy != state(&direct).await {
            causes.append(&mut follow(&mut list, &mut copy, last).await);
        }
        assert!(
            matches!(
                causes[..],
                [WatchEnd::RolledBack { .. } | WatchEnd::ClusterChanged]
            ),
            "{causes:?}"
        );
        let put = direct.put("k2", "4").await.unwrap();
        follow(&mut list, &mut copy, put.header.revision).await;
        assert_eq!(copy, state(&direct).await);
    })
    .await;
}
