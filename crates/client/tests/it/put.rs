//! Writing one key, by etcd's documentation: <https://etcd.io/docs/v3.6/learning/api/#put>.

use etcdex::{Client, ErrorKind, KeyValue, Outcome};
use etcdex_testkit::left_out;

use crate::stage::{assert_refused, each, grant};

async fn read(client: &Client, key: &str) -> KeyValue {
    client.get(key).await.unwrap().into_kv().unwrap()
}

#[tokio::test]
async fn each_put_counts_the_version_up() {
    each(|stage| async move {
        let inside = stage.inside();
        let first = inside.put("k", "1").await.unwrap();
        assert_eq!(first.prev_kv, None);
        let second = inside.put("k", "2").prev_kv().await.unwrap();
        let previous = second.prev_kv.unwrap();
        assert_eq!(previous.key_str(), Some("k"));
        assert_eq!(previous.value_str(), Some("1"));
        assert_eq!(previous.mod_revision, first.header.revision);
        assert!(second.header.revision > first.header.revision);

        let kv = read(&inside, "k").await;
        assert_eq!((kv.value_str(), kv.version), (Some("2"), 2));
        assert_eq!(kv.create_revision, first.header.revision);
        assert_eq!(kv.mod_revision, second.header.revision);

        // A new key has no previous pair.
        let put = inside.put("new", "").prev_kv().await.unwrap();
        assert_eq!(put.prev_kv, None);
        let kv = read(&inside, "new").await;
        assert!(kv.value.is_empty());
    })
    .await;
}

#[tokio::test]
async fn any_bytes() {
    each(|stage| async move {
        let inside = stage.inside();
        let every: Vec<u8> = (0..=255).collect();
        for (key, value) in [
            (&every[..], &every[..]),
            (b"\0", b""),
            (b"\xff\xff", b"\0"),
            (&[7; 4_000], &[0; 100_000]),
        ] {
            inside.put(key, value).await.unwrap();
            let kv = inside.get(key).await.unwrap().into_kv().unwrap();
            assert!(kv.key == key && kv.value == value);
        }
    })
    .await;
}

#[tokio::test]
async fn leases() {
    each(|stage| async move {
        let (inside, lease) = (stage.inside(), grant(stage.etcd).await);
        inside.put("k", "1").lease(lease).await.unwrap();
        assert_eq!(read(&inside, "k").await.lease, Some(lease));

        inside.put("k", "2").ignore_lease().await.unwrap();
        let kv = read(&inside, "k").await;
        assert_eq!((kv.value_str(), kv.lease), (Some("2"), Some(lease)));

        // A put without a lease detaches the old one.
        let put = inside.put("k", "3").prev_kv().await.unwrap();
        assert_eq!(put.prev_kv.unwrap().lease, Some(lease));
        assert_eq!(read(&inside, "k").await.lease, None);

        // The server deletes the key when its lease is revoked.
        inside.put("k", "4").lease(lease).await.unwrap();
        let revoke = ["lease", "revoke", &lease.to_string()];
        if !stage.etcd.has_etcdctl() {
            return left_out("its end needs etcdctl");
        }
        stage.etcd.etcdctl(revoke).await.unwrap();
        assert_eq!(inside.get("k").bytes().await.unwrap(), None);
        let error = inside.put("k", "5").lease(lease).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LeaseNotFound);
        assert_eq!(error.outcome(), Outcome::Rejected);
    })
    .await;
}

#[tokio::test]
async fn value_and_lease_can_be_kept() {
    each(|stage| async move {
        let (inside, lease) = (stage.inside(), grant(stage.etcd).await);
        inside.put("k", "kept").await.unwrap();
        let put = inside.put("k", "").ignore_value().lease(lease);
        put.await.unwrap();
        let kv = read(&inside, "k").await;
        assert_eq!((kv.value_str(), kv.lease), (Some("kept"), Some(lease)));
        assert_eq!(kv.version, 2);

        let put = inside.put("k", "").ignore_value().ignore_lease();
        put.await.unwrap();
        let kv = read(&inside, "k").await;
        assert_eq!((kv.value_str(), kv.lease), (Some("kept"), Some(lease)));
        assert_eq!(kv.version, 3);

        for absent in [
            inside.put("none", "").ignore_value(),
            inside.put("none", "v").ignore_lease(),
        ] {
            let error = absent.await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::KeyNotFound);
            assert_eq!(error.outcome(), Outcome::Rejected);
        }
        assert_refused(inside.put("k", "v").ignore_value().await);
        assert_refused(inside.put("k", "v").ignore_lease().lease(lease).await);
        assert_refused(inside.put("", "v").await);
        assert_eq!(read(&inside, "k").await.version, 3);
    })
    .await;
}
