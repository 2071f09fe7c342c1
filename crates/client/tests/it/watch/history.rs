//! Watches from past revisions, and compacted revisions.

use etcdex::{Client, EventKind, WatchEnd};
use etcdex_testkit::Proxy;

use super::{end, next, up_to};
use crate::stage::{each_alone, newest};

/// etcd sends past events in batches of a thousand revisions whose header has the current revision.
/// A client that resumes by the header loses all but the first batch. EtcdEx had this bug.
#[tokio::test]
async fn a_watch_catches_up_over_cuts() {
    each_alone(&[], |etcd| async move {
        const COUNT: usize = 4_000;
        let direct = crate::stage::connect(&etcd).await;
        let mut expected = Vec::new();
        let puts: Vec<_> = (0..COUNT)
            .map(|number| direct.put(format!("k{}", number % 7), "v"))
            .map(tokio::spawn)
            .collect();
        for put in puts {
            expected.push(put.await.unwrap().unwrap().header.revision);
        }
        expected.sort_unstable();
        let proxy = Proxy::start(etcd.client_address()).await.unwrap();
        let client = Client::connect(proxy.endpoint()).await.unwrap();
        let mut plain = client
            .watch("k")
            .prefix()
            .start_revision(expected[0])
            .await
            .unwrap();
        let start = client.watch("k").prefix().start_revision(expected[0]);
        // The limit is so small that the watch is paused, and goes on when its consumer reads.
        let mut slow = start.buffer(10_000).await.unwrap();
        for (watch, cuts) in [(&mut plain, 3), (&mut slow, 5)] {
            let mut told = Vec::new();
            while told.len() < COUNT {
                let batch = next(watch).await;
                let before = told.len();
                told.extend(batch.events.iter().map(|event| event.kv.mod_revision));
                assert_eq!(told.last(), Some(&batch.revision));
                if before * cuts / COUNT != told.len() * cuts / COUNT {
                    proxy.reset();
                }
            }
            assert_eq!(told, expected);
        }
    })
    .await;
}

#[tokio::test]
async fn a_compaction_during_an_outage_ends_the_watch_as_compacted() {
    each_alone(&[], |etcd| async move {
        let direct = crate::stage::connect(&etcd).await;
        let proxy = Proxy::start(etcd.client_address()).await.unwrap();
        let client = Client::connect(proxy.endpoint()).await.unwrap();
        let mut watch = client.watch("k").await.unwrap();
        direct.put("k", "seen").await.unwrap();
        assert_eq!(next(&mut watch).await.events[0].kv.value, "seen");
        proxy.refuse();
        proxy.reset();
        let mut last = 0;
        for _ in 0..5 {
            last = direct.put("k", "lost").await.unwrap().header.revision;
        }
        direct.compact(last).await.unwrap();
        proxy.heal();
        let end = end(&mut watch).await;
        assert!(
            matches!(end, WatchEnd::Compacted { revision, .. } if revision == last),
            "{end}"
        );
        // A new watch from the compacted revision works.
        let mut again = client.watch("k").start_revision(last).await.unwrap();
        assert_eq!(next(&mut again).await.revision, last);
    })
    .await;
}

/// A start revision that is compacted between the Range for "now" and the creation is read again:
/// watches from now always start, even under frequent compactions.
#[tokio::test]
async fn now_is_never_compacted_away() {
    let Some(binary) = newest() else { return };
    let etcd = etcdex_testkit::Etcd::start(binary).await.unwrap();
    let client = crate::stage::connect(&etcd).await;
    let storm = tokio::spawn({
        let client = client.clone();
        async move {
            for _ in 0..300 {
                let revision = client.put("elsewhere", "v").await.unwrap().header.revision;
                client.compact(revision).await.unwrap();
            }
        }
    });
    let mut started = 0;
    while !storm.is_finished() {
        let watch = client.watch("k").await.unwrap();
        started += i64::from(watch.start_revision() > 0);
    }
    storm.await.unwrap();
    assert!(started > 10, "{started}");
}

/// A restart does not change the history.
#[tokio::test]
async fn a_server_is_killed_and_restarted_on_its_data() {
    each_alone(&[], |etcd| async move {
        let client = crate::stage::connect(&etcd).await;
        let mut watch = client.watch("k").prefix().await.unwrap();
        let start = watch.start_revision();
        let mut done = Vec::new();
        for round in 0..3 {
            for number in 0..10 {
                if number == 5 {
                    etcd.kill();
                    etcd.launch().unwrap();
                }
                let key = format!("k{round}{number}");
                // Puts that are under way when the server dies may have been applied, or not.
                if let Ok(put) = client.put(&key, "v").await {
                    done.push((put.header.revision, EventKind::Put, key));
                }
            }
        }
        assert!(done.len() > 20, "{}", done.len());
        let last = done[done.len() - 1].0;
        let told = up_to(&mut watch, last).await;
        assert!(
            done.iter().all(|put| told.contains(put)),
            "{told:?} {done:?}"
        );
        let mut history = client
            .watch("k")
            .prefix()
            .start_revision(start)
            .await
            .unwrap();
        assert_eq!(told, up_to(&mut history, last).await);
    })
    .await;
}
