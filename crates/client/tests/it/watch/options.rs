//! Each option of a watch.

use etcdex::{Client, EventKind, Watch};
use tokio::time::timeout;

use super::{end, message, next, pairs, up_to};
use crate::stage::{DEADLINE, each};

/// Returns the events that a watch delivers for a few puts and a delete; the last put is of a key
/// that all watch.
async fn told(client: &Client, watch: Watch) -> Vec<String> {
    let watcher = client.watcher();
    let mut watcher = watcher;
    let name = watcher.add(watch).await.unwrap();
    for key in ["a", "b", "b/1", "b/2", "c", "d"] {
        client.put(key, "v").await.unwrap();
    }
    client.delete("b/1").await.unwrap();
    client.put("b", "last").await.unwrap();
    let mut all = Vec::new();
    loop {
        if let etcdex::WatchMessage::Notify { watch, batch, .. } = message(&mut watcher).await {
            assert_eq!(watch, name);
            for event in batch.events {
                let key = event.kv.key_str().unwrap().to_owned();
                if event.kv.value == "last" {
                    return all;
                }
                all.push(match event.kind {
                    EventKind::Delete => format!("-{key}"),
                    _ => key,
                });
            }
        }
    }
}

#[tokio::test]
async fn ranges_and_filters() {
    each(|stage| async move {
        let client = stage.inside();
        let all = ["a", "b", "b/1", "b/2", "c", "d", "-b/1"];
        let b = || Watch::new("b");
        for (watch, expected) in [
            (b(), vec!["b"]),
            (b().range_end("c"), vec!["b", "b/1", "b/2", "-b/1"]),
            (b().range_end("b/2"), vec!["b", "b/1", "-b/1"]),
            (b().prefix(), vec!["b", "b/1", "b/2", "-b/1"]),
            (b().from_key(), vec!["b", "b/1", "b/2", "c", "d", "-b/1"]),
            (b().all_keys(), all.to_vec()),
            (Watch::new("").prefix(), all.to_vec()),
            (Watch::new("").from_key(), all.to_vec()),
            (b().prefix().no_delete(), vec!["b", "b/1", "b/2"]),
            (
                b().prefix().fragment(false),
                vec!["b", "b/1", "b/2", "-b/1"],
            ),
        ] {
            assert_eq!(told(&client, watch.clone()).await, expected, "{watch:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn no_put_leaves_puts_out_and_prev_kv_adds_the_pair_before() {
    each(|stage| async move {
        let client = stage.inside();
        let mut watch = client.watch("k").no_put().prev_kv().await.unwrap();
        let mut plain = client.watch("k").await.unwrap();
        client.put("k", "1").await.unwrap();
        let second = client.put("k", "2").await.unwrap().header.revision;
        let gone = client.delete("k").await.unwrap().header.revision;
        let batch = next(&mut watch).await;
        assert_eq!((batch.events.len(), batch.revision), (1, gone));
        let event = &batch.events[0];
        assert_eq!(event.kind, EventKind::Delete);
        assert_eq!((event.kv.key_str(), event.kv.value.len()), (Some("k"), 0));
        assert!(!event.is_create());
        let before = event.prev_kv.as_ref().expect("the pair before");
        assert_eq!(
            (&before.value[..], before.mod_revision, before.version),
            (&b"2"[..], second, 2)
        );

        let first = next(&mut plain).await;
        assert!(first.events[0].is_create() && first.events[0].prev_kv.is_none());
    })
    .await;
}

/// Such a prefix has no successor as the end of its range. EtcdEx had a bug with it.
#[tokio::test]
async fn a_prefix_that_ends_in_two_bytes_of_ff() {
    each(|stage| async move {
        let client = &stage.client;
        let with = |tail: &[u8]| [stage.prefix.as_bytes(), tail].concat();
        let mut inner = client.watch(with(b"\xFF\xFF")).prefix().await.unwrap();
        // The range goes to the end of all keys.
        let mut outer = client.watch(&b"\xFF\xFF"[..]).prefix().await.unwrap();
        client.put(with(b"\xFF\xFE"), "before").await.unwrap();
        client.put(with(b"\xFF\xFF"), "in").await.unwrap();
        client.put(with(b"\xFF\xFF\xFF"), "in too").await.unwrap();
        client.put(with(b"\xFF\xFF\0"), "and this").await.unwrap();
        let far = [&b"\xFF\xFF\xFF"[..], stage.prefix.as_bytes()].concat();
        client.put(far, "far").await.unwrap();
        let mut seen = Vec::new();
        while seen.len() < 3 {
            seen.extend(
                pairs(&next(&mut inner).await)
                    .into_iter()
                    .map(|pair| pair.1),
            );
        }
        assert_eq!(seen, ["in", "in too", "and this"]);
        let batch = next(&mut outer).await;
        assert_eq!(batch.events[0].kv.value, "far");
    })
    .await;
}

#[tokio::test]
async fn start_revisions_past_and_future() {
    each(|stage| async move {
        let client = stage.inside();
        let mut revisions = Vec::new();
        for value in ["1", "2", "3"] {
            revisions.push(client.put("k", value).await.unwrap().header.revision);
        }
        let mut past = client
            .watch("k")
            .start_revision(revisions[1])
            .await
            .unwrap();
        assert_eq!(past.start_revision(), revisions[1]);
        let told: Vec<i64> = up_to(&mut past, revisions[2])
            .await
            .iter()
            .map(|e| e.0)
            .collect();
        assert_eq!(told, revisions[1..]);

        // Other tests write to this server, too. The future revision is far enough away, and the
        // test's own writes reach it.
        let future = revisions[2] + 200;
        let mut watch = client.watch("k").start_revision(future).await.unwrap();
        let mut last = 0;
        while last < future {
            last = client.put("k", "v").await.unwrap().header.revision;
        }
        let first = next(&mut watch).await;
        assert!(first.events[0].kv.mod_revision >= future, "{first:?}");
        assert!(first.revision <= last);
    })
    .await;
}

/// After a cancel the server has no watch, and the end is delivered once.
#[tokio::test]
async fn nothing_is_left_after_cancel() {
    each(|stage| async move {
        let client = stage.inside();
        let mut watch = client.watch("k").await.unwrap();
        client.put("k", "1").await.unwrap();
        watch.cancel();
        assert!(matches!(watch.try_next().await, Ok(None)));
        let mut again = client.watch("k").await.unwrap();
        client.put("k", "2").await.unwrap();
        assert_eq!(pairs(&next(&mut again).await)[0].1, "2");
        client.close(std::time::Duration::ZERO).await;
        assert_eq!(end(&mut again).await, etcdex::WatchEnd::ClientClosed);
        let over = timeout(DEADLINE, again.try_next()).await.unwrap();
        assert_eq!(over, Ok(None));
    })
    .await;
}
