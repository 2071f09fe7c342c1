//! Revisions that are larger than a message.

use etcdex::{Client, Delete, EventKind, Put, WatchEnd, WatchLimits};
use etcdex_testkit::{Binary, Etcd};

use tokio::time::timeout;

use super::{end, next};
use crate::stage::{DEADLINE, each_binary, ends};

async fn with_large_requests(binary: &Binary) -> Etcd {
    let builder = Etcd::builder().binary(binary);
    let arguments = ["--max-txn-ops=20000", "--max-request-bytes=16777216"];
    builder.args(arguments).start().await.unwrap()
}

async fn client(etcd: &Etcd) -> Client {
    let builder = Client::builder()
        .endpoint(etcd.endpoint())
        .timeout(DEADLINE);
    builder.max_send_size(32 << 20).connect().await.unwrap()
}

/// etcd sends such a revision in pieces of two megabytes, or as a whole: the user gets one batch in
/// either case.
#[tokio::test]
async fn one_revision_is_one_batch() {
    each_binary(|binary| async move {
        let etcd = with_large_requests(&binary).await;
        let client = client(&etcd).await;
        let pieces = client.watch("k").prefix().prev_kv().fragment(true);
        let mut pieces = pieces.await.unwrap();
        let mut whole = client.watch("k").prefix().await.unwrap();
        let mut txn = client.txn();
        for number in 0..50 {
            txn = txn.then(Put::new(format!("k{number:02}"), vec![b'x'; 100_000]));
        }
        let put = txn.await.unwrap().header.revision;
        let txn = client.txn().then(Delete::new("k").prefix());
        let gone = txn.await.unwrap().header.revision;
        for (watch, has_before) in [(&mut pieces, true), (&mut whole, false)] {
            let batch = next(watch).await;
            assert_eq!((batch.revision, batch.events.len()), (put, 50));
            let expected = (0..50).map(|number| format!("k{number:02}"));
            let keys = batch.events.iter().map(|event| event.kv.key_str().unwrap());
            assert!(keys.eq(expected));
            assert!(
                batch
                    .events
                    .iter()
                    .all(|event| event.kv.value.len() == 100_000)
            );
            let batch = next(watch).await;
            assert_eq!((batch.revision, batch.events.len()), (gone, 50));
            for event in &batch.events {
                assert_eq!(event.kind, EventKind::Delete);
                let before = event.prev_kv.as_ref().map(|kv| kv.value.len());
                assert_eq!(before, has_before.then_some(100_000));
            }
        }
    })
    .await;
}

/// A revision with more events than the limit of a watch is one batch, too.
///
/// The test asks for whole messages, as pieces would take too long: etcd measures a piece again for
/// each event that it adds.
#[tokio::test]
async fn a_hundred_thousand_keys_are_deleted_at_once() {
    ends(|binary| async move {
        let etcd = with_large_requests(&binary).await;
        let client = client(&etcd).await;
        // With 20,000 deletes and `prev_kv`, 3.4.23 takes more than half a minute even to answer
        // etcdctl.
        let modern = etcd.version().is_at_least(3, 5);
        let (whole, pieces) = if modern {
            (100_000, 10_000)
        } else {
            (2_000, 1_000)
        };
        delete_many(&client, whole, false).await;
        delete_many(&client, pieces, true).await;
    })
    .await;
}

async fn delete_many(client: &Client, count: usize, fragment: bool) {
    for part in 0..count / 1_000 {
        let mut txn = client.txn();
        for number in 0..1_000 {
            let key = format!("k/{part:03}/{number:03}");
            txn = txn.then(Put::new(key, "the value before"));
        }
        txn.await.unwrap();
    }
    let watch = client.watch("k/").prefix().prev_kv().fragment(fragment);
    let mut watch = watch.await.unwrap();
    let gone = client.delete("k/").prefix().await.unwrap();
    assert_eq!(gone.deleted, count as u64);
    let batch = timeout(DEADLINE * 4, watch.try_next())
        .await
        .expect("in time");
    let batch = batch.expect("no end").expect("a batch");
    assert_eq!(
        (batch.events.len(), batch.revision),
        (count, gone.header.revision)
    );
    assert!(batch.events.is_sorted_by(|a, b| a.kv.key < b.kv.key));
    for event in &batch.events {
        let before = event.prev_kv.as_ref().expect("the pair before");
        assert_eq!(before.value, "the value before");
    }
}

#[tokio::test]
async fn a_revision_over_the_limit_ends_the_watch_with_its_number() {
    each_binary(|binary| async move {
        let etcd = with_large_requests(&binary).await;
        let mut limits = WatchLimits::default();
        limits.revision_bytes = 1 << 20;
        let builder = Client::builder()
            .endpoint(etcd.endpoint())
            .watch_limits(limits);
        let client = builder.timeout(DEADLINE).connect().await.unwrap();
        let mut watch = client.watch("k").prefix().await.unwrap();
        let mut other = client.watch("k0").await.unwrap();
        client.put("k0", "before").await.unwrap();
        let mut txn = client.txn();
        for number in 0..12 {
            txn = txn.then(Put::new(format!("k{number}"), vec![b'x'; 100_000]));
        }
        let large = txn.await.unwrap().header.revision;
        assert_eq!(next(&mut watch).await.events[0].kv.value, "before");
        let end = end(&mut watch).await;
        assert!(
            matches!(end, WatchEnd::TooLarge { revision, .. } if revision == large),
            "{end}"
        );
        next(&mut other).await;
        assert_eq!(
            next(&mut other).await.revision,
            large,
            "this watch gets a part of the revision"
        );
    })
    .await;
}
