//! Conditional writes of one key.

use etcdex::KeyValue;
use etcdex::txn::Swapped;

use crate::stage::{assert_refused, each, grant};

#[track_caller]
fn done(swapped: Swapped) -> i64 {
    match swapped {
        Swapped::Done(header) => header.revision,
        Swapped::Conflict { .. } => panic!("a conflict"),
    }
}

#[track_caller]
fn present(swapped: Swapped) -> Option<KeyValue> {
    match swapped {
        Swapped::Done(_) => panic!("the swap was applied"),
        Swapped::Conflict { header, present } => {
            assert!(header.revision > 0 && header.cluster_id != 0);
            present
        }
    }
}

#[tokio::test]
async fn put_if_absent() {
    each(|stage| async move {
        let (inside, lease) = (stage.inside(), grant(stage.etcd).await);
        let put = inside.put_if_absent("k", "first").lease(lease);
        let revision = done(put.await.unwrap());
        let kv = present(inside.put_if_absent("k", "second").await.unwrap()).unwrap();
        assert_eq!((kv.key_str(), kv.value_str()), (Some("k"), Some("first")));
        assert_eq!((kv.mod_revision, kv.version), (revision, 1));
        assert_eq!(kv.lease, Some(lease));
        inside.delete("k").await.unwrap();
        done(inside.put_if_absent("k", "third").await.unwrap());
        assert_refused(inside.put_if_absent("", "v").await);
    })
    .await;
}

#[tokio::test]
async fn swaps() {
    each(|stage| async move {
        let inside = stage.inside();
        let first = inside.put("k", "1").await.unwrap().header.revision;

        let second = done(inside.swap("k", "2").if_mod(first).await.unwrap());
        assert!(second > first);
        let kv = present(inside.swap("k", "3").if_mod(first).await.unwrap()).unwrap();
        assert_eq!((kv.value_str(), kv.mod_revision), (Some("2"), second));

        let third = done(inside.swap("k", "3").if_value("2").await.unwrap());
        let kv = present(inside.swap("k", "4").if_value("2").await.unwrap()).unwrap();
        assert_eq!((kv.value_str(), kv.version), (Some("3"), 3));

        // Both conditions must hold.
        let both = |value: &str, revision| {
            let swap = inside.swap("k", "4").if_value(value);
            swap.if_mod(revision)
        };
        assert!(!both("2", third).await.unwrap().is_done());
        assert!(!both("3", second).await.unwrap().is_done());
        assert!(both("3", third).await.unwrap().is_done());
        assert_eq!(
            inside.get("k").string().await.unwrap().as_deref(),
            Some("4")
        );
    })
    .await;
}

#[tokio::test]
async fn swaps_of_keys_that_do_not_exist() {
    each(|stage| async move {
        let inside = stage.inside();
        assert_eq!(
            present(inside.swap("k", "1").if_value("").await.unwrap()),
            None
        );
        assert_eq!(
            present(inside.swap("k", "1").if_mod(7).await.unwrap()),
            None
        );
        done(inside.swap("k", "1").if_mod(0).await.unwrap());
        assert!(present(inside.swap("k", "2").if_mod(0).await.unwrap()).is_some());
        assert_refused(inside.swap("k", "3").await);
        let lease = grant(stage.etcd).await;
        done(
            inside
                .swap("k", "3")
                .if_value("1")
                .lease(lease)
                .await
                .unwrap(),
        );
        let kv = inside.get("k").await.unwrap().into_kv().unwrap();
        assert_eq!((kv.value_str(), kv.lease), (Some("3"), Some(lease)));
    })
    .await;
}

/// Of many tasks that swap the same pair, one succeeds in each round.
#[tokio::test]
async fn a_counter_of_many_tasks() {
    each(|stage| async move {
        let inside = stage.inside();
        inside.put("count", "0").await.unwrap();
        let mut hands = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let client = inside.clone();
            hands.spawn(async move {
                for _ in 0..10 {
                    let mut kv = client.get("count").await.unwrap().into_kv().unwrap();
                    loop {
                        let count: u32 = kv.value_str().unwrap().parse().unwrap();
                        let swap = client.swap("count", (count + 1).to_string());
                        match swap.if_mod(kv.mod_revision).await.unwrap() {
                            Swapped::Conflict { present, .. } => kv = present.unwrap(),
                            Swapped::Done(_) => break,
                        }
                    }
                }
            });
        }
        while let Some(hand) = hands.join_next().await {
            hand.unwrap();
        }
        let kv = inside.get("count").await.unwrap().into_kv().unwrap();
        assert_eq!((kv.value_str(), kv.version), (Some("80"), 81));
    })
    .await;
}
