//! Deleting: <https://etcd.io/docs/v3.6/learning/api/#delete-range>.

use etcdex::Client;

use crate::stage::{assert_refused, each, keys, values};

async fn letters(client: &Client) {
    for letter in ["a", "b", "c", "d"] {
        client.put(letter, letter).await.unwrap();
    }
}

async fn left(client: &Client) -> String {
    let get = client.get("").all_keys().await.unwrap();
    keys(&get.kvs).concat()
}

#[tokio::test]
async fn one_key_and_none() {
    each(|stage| async move {
        let inside = stage.inside();
        letters(&inside).await;
        let delete = inside.delete("b").await.unwrap();
        assert_eq!((delete.deleted, delete.prev_kvs.len()), (1, 0));
        assert_eq!(left(&inside).await, "acd");
        assert_eq!(inside.delete("b").await.unwrap().deleted, 0);
        assert_eq!(inside.delete("none").prev_kv().await.unwrap().deleted, 0);

        // A key that is created again starts at version 1.
        inside.put("b", "again").await.unwrap();
        let kv = inside.get("b").await.unwrap().into_kv().unwrap();
        assert_eq!(kv.version, 1);
        assert!(kv.create_revision > delete.header.revision);
    })
    .await;
}

#[tokio::test]
async fn ranges() {
    each(|stage| async move {
        let inside = stage.inside();
        let next = stage.prefix.replace('/', "0");
        stage.client.put(&next, "outside").await.unwrap();

        letters(&inside).await;
        let delete = inside.delete("b").range_end("d").prev_kv().await.unwrap();
        assert_eq!((delete.deleted, left(&inside).await.as_str()), (2, "ad"));
        assert_eq!(keys(&delete.prev_kvs), ["b", "c"]);
        assert_eq!(values(&delete.prev_kvs), ["b", "c"]);

        letters(&inside).await;
        inside.put("bb", "").await.unwrap();
        let delete = inside.delete("b").prefix().await.unwrap();
        assert_eq!((delete.deleted, left(&inside).await.as_str()), (2, "acd"));

        let delete = inside.delete("c").from_key().await.unwrap();
        assert_eq!((delete.deleted, left(&inside).await.as_str()), (2, "a"));

        letters(&inside).await;
        let delete = inside.delete("x").all_keys().await.unwrap();
        assert_eq!((delete.deleted, left(&inside).await.as_str()), (4, ""));

        letters(&inside).await;
        let delete = stage.client.delete(&stage.prefix).prefix();
        assert_eq!(delete.await.unwrap().deleted, 4);

        let get = stage.client.get(&next).string().await.unwrap();
        assert_eq!(get.as_deref(), Some("outside"));
        assert_refused(inside.delete("").await);
        assert_refused(inside.delete("a").range_end("").await);
        assert_refused(inside.delete("a").prefix().all_keys().await);
    })
    .await;
}
