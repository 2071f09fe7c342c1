//! Reading, by etcd's documentation: <https://etcd.io/docs/v3.6/learning/api/#range>.

use etcdex::Client;
use etcdex::kv::SortTarget;
use etcdex_testkit::left_out;

use crate::stage::{Stage, assert_refused, each, keys, values};

/// Puts a, b, c and d, with these letters as values.
async fn letters(client: &Client) {
    for letter in ["c", "a", "d", "b"] {
        client.put(letter, letter).await.unwrap();
    }
}

#[tokio::test]
async fn one_key() {
    each(|stage| async move {
        let key = stage.key("one");
        let put = stage.client.put(&key, "value").await.unwrap();
        // A key with the same beginning is another key.
        stage.client.put(stage.key("one2"), "other").await.unwrap();
        let get = stage.client.get(&key).await.unwrap();
        assert_eq!((get.count, get.more), (1, false));
        assert_eq!(keys(&get.kvs), [&key]);
        let kv = get.into_kv().unwrap();
        assert_eq!(kv.value_str(), Some("value"));
        assert_eq!(kv.create_revision, put.header.revision);
        assert_eq!(kv.mod_revision, put.header.revision);
        assert_eq!((kv.version, kv.lease), (1, None));
    })
    .await;
}

#[tokio::test]
async fn a_key_that_does_not_exist() {
    each(|stage| async move {
        let get = stage.client.get(stage.key("none")).await.unwrap();
        assert_eq!((get.kvs.len(), get.count, get.more), (0, 0, false));
        assert!(get.into_kv().is_none());
    })
    .await;
}

#[tokio::test]
async fn headers_name_cluster_member_and_term() {
    each(|stage| async move {
        let put = stage.client.put(stage.key("k"), "v").await.unwrap().header;
        let get = stage.client.get(stage.key("k")).await.unwrap().header;
        if !stage.etcd.has_etcdctl() {
            return left_out("its end needs etcdctl");
        }
        let told = stage.etcd.etcdctl(["endpoint", "status", "-w", "json"]);
        let told: serde_json::Value = serde_json::from_str(&told.await.unwrap()).unwrap();
        let header = &told[0]["Status"]["header"];
        for own in [put, get] {
            assert_eq!(Some(own.cluster_id), header["cluster_id"].as_u64());
            assert_eq!(Some(own.member_id), header["member_id"].as_u64());
            assert_eq!(Some(own.raft_term), header["raft_term"].as_u64());
            assert!(own.cluster_id != 0 && own.member_id != 0 && own.raft_term != 0);
        }
        assert!(get.revision >= put.revision && put.revision > 1);
    })
    .await;
}

#[tokio::test]
async fn ranges() {
    each(|stage| async move {
        let inside = stage.inside();
        letters(&inside).await;
        // Keys before and after the prefix.
        let outside = stage.prefix.trim_end_matches('/');
        for end in [".", "0"] {
            let key = format!("{outside}{end}");
            stage.client.put(key, "outside").await.unwrap();
        }

        let get = stage.client.get(&stage.prefix).prefix().await.unwrap();
        let expected = ["a", "b", "c", "d"].map(|letter| stage.key(letter));
        assert_eq!(keys(&get.kvs), expected);
        assert_eq!((get.count, get.more), (4, false));

        let get = stage.client.get(stage.key("b")).range_end(stage.key("d"));
        assert_eq!(values(&get.await.unwrap().kvs), ["b", "c"]);
        let get = inside.get("b").range_end("d").await.unwrap();
        assert_eq!(keys(&get.kvs), ["b", "c"]);

        // An end before the start is an empty range, and not an error.
        let get = inside.get("c").range_end("b").await.unwrap();
        assert_eq!((get.kvs.len(), get.count), (0, 0));

        let get = inside.get("b").from_key().await.unwrap();
        assert_eq!(keys(&get.kvs), ["b", "c", "d"]);
        let get = inside.get("").from_key().await.unwrap();
        assert_eq!(keys(&get.kvs), ["a", "b", "c", "d"]);
        // Without a namespace, the range continues after the keys of this test.
        let get = stage.client.get(stage.key("c")).from_key().await.unwrap();
        let found = values(&get.kvs);
        assert_eq!(found[..3], ["c", "d", "outside"]);

        for all in [inside.get("b").all_keys(), inside.get("").prefix()] {
            assert_eq!(keys(&all.await.unwrap().kvs), ["a", "b", "c", "d"]);
        }
        let get = stage.client.get("").all_keys().count_only().await.unwrap();
        assert!(get.count >= 6, "{}", get.count);
    })
    .await;
}

#[tokio::test]
async fn limits() {
    each(|stage| async move {
        let inside = stage.inside();
        letters(&inside).await;
        for (limit, found, more) in [(1, 1, true), (3, 3, true), (4, 4, false), (5, 4, false)] {
            let get = inside.get("").all_keys().limit(limit).await.unwrap();
            assert_eq!((get.kvs.len(), get.more, get.count), (found, more, 4));
        }
        let get = inside.get("").all_keys().limit(0).await.unwrap();
        assert_eq!((get.kvs.len(), get.more), (4, false));
    })
    .await;
}

#[tokio::test]
async fn revisions() {
    each(|stage| async move {
        let inside = stage.inside();
        let first = inside.put("k", "first").await.unwrap().header.revision;
        let second = inside.put("k", "second").await.unwrap().header.revision;
        let deleted = inside.delete("k").await.unwrap().header.revision;
        let at = async |revision| inside.get("k").revision(revision).string().await.unwrap();
        assert_eq!(at(first - 1).await, None);
        assert_eq!(at(first).await.as_deref(), Some("first"));
        assert_eq!(at(second - 1).await.as_deref(), Some("first"));
        assert_eq!(at(second).await.as_deref(), Some("second"));
        assert_eq!(at(deleted).await, None);
        assert_eq!(at(0).await, None);
        // The header has the latest revision, not the revision that was read.
        let old = inside.get("k").revision(first).await.unwrap();
        assert!(old.header.revision >= deleted);
    })
    .await;
}

#[tokio::test]
async fn parts_of_pairs() {
    each(|stage| async move {
        let inside = stage.inside();
        letters(&inside).await;
        let get = inside.get("a").serializable().await.unwrap();
        assert_eq!(values(&get.kvs), ["a"]);

        let get = inside.get("").all_keys().keys_only().await.unwrap();
        assert_eq!(keys(&get.kvs), ["a", "b", "c", "d"]);
        assert_eq!(values(&get.kvs), ["", "", "", ""]);
        assert!(get.kvs.iter().all(|kv| kv.version == 1));

        let get = inside.get("").all_keys().count_only().await.unwrap();
        assert_eq!((get.kvs.len(), get.count), (0, 4));
    })
    .await;
}

/// The fields of a pair are those of etcdctl in JSON.
#[tokio::test]
async fn pairs_agree_with_etcdctl() {
    each(|stage| async move {
        let lease = crate::stage::grant(stage.etcd).await;
        let key = stage.key("kv");
        stage.client.put(stage.key("before"), "").await.unwrap();
        stage.client.put(&key, "1").await.unwrap();
        stage.client.put(stage.key("between"), "").await.unwrap();
        let put = stage.client.put(&key, "two").lease(lease);
        put.await.unwrap();

        if !stage.etcd.has_etcdctl() {
            return left_out("its end needs etcdctl");
        }
        let told = stage.etcd.etcdctl(["get", &key, "-w", "json"]).await;
        let told: serde_json::Value = serde_json::from_str(&told.unwrap()).unwrap();
        let told = &told["kvs"][0];
        let kv = stage.client.get(&key).await.unwrap().into_kv().unwrap();
        assert_eq!(told["key"], base64(&kv.key));
        assert_eq!(told["value"], base64(&kv.value));
        assert_eq!(told["create_revision"], kv.create_revision);
        assert_eq!(told["mod_revision"], kv.mod_revision);
        assert_eq!(told["version"], kv.version);
        assert_eq!(told["lease"], kv.lease.unwrap().as_i64());
        assert_eq!(kv.lease, Some(lease));
    })
    .await;
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let six = (bits >> (18 - 6 * digit)) as usize & 0x3F;
            text.push(if digit <= group.len() {
                char::from(DIGITS[six])
            } else {
                '='
            });
        }
    }
    text
}

#[tokio::test]
async fn invalid_options_are_refused() {
    each(|stage: Stage| async move {
        let client = &stage.client;
        assert_refused(client.get("").await);
        assert_refused(client.get("").range_end("b").await);
        assert_refused(client.get("a").range_end("").await);
        assert_refused(client.get("a").prefix().from_key().await);
        assert_refused(client.get("a").revision(-1).await);
        assert_refused(client.get("a").min_mod_revision(-1).await);
        assert_refused(client.get("a").limit(u64::MAX).await);
        assert_refused(
            client
                .get("a")
                .prefix()
                .first(SortTarget::Key)
                .bytes()
                .await,
        );
        assert_refused(stage.inside().get("").await);
    })
    .await;
}
