//! Leases: granted, queried, renewed once, revoked.
//!
//! Expected values: <https://etcd.io/docs/v3.6/learning/api/#lease-api>.

use std::time::Duration;

use etcdex::lease::Grant;
use etcdex::{Client, ErrorKind, LeaseId, Outcome};
use etcdex_testkit::{GrpcProxy, left_out};

use crate::stage::{DEADLINE, connect, each, each_alone};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// An ID without a lease.
fn unknown() -> LeaseId {
    LeaseId::new(fastrand::i64(1..)).unwrap()
}

#[tokio::test]
async fn a_revoke_deletes_the_keys_of_the_lease() {
    each(|stage| async move {
        let client = stage.inside();
        let lease = client.grant(Duration::from_millis(29_001)).await.unwrap();
        assert_eq!(lease.ttl, seconds(30), "rounded up");
        assert!(lease.id.as_i64() > 0);
        assert_ne!(lease.header.cluster_id, 0);
        client.put("one", "1").lease(lease.id).await.unwrap();
        client.put("two", "2").lease(lease.id).await.unwrap();
        let elsewhere = stage.client.put("elsewhere", "3").lease(lease.id);
        elsewhere.await.unwrap();

        let ttl = client.ttl(lease.id).await.unwrap();
        assert_eq!((ttl.id, ttl.granted_ttl), (lease.id, seconds(30)));
        assert!(ttl.ttl.is_some_and(|ttl| ttl <= seconds(30)));
        assert!(ttl.keys.is_empty());
        let mut ttl = client.ttl(lease.id).keys().await.unwrap();
        ttl.keys.sort();
        assert_eq!(ttl.keys, ["one", "two"]);
        assert_eq!(
            stage.client.ttl(lease.id).keys().await.unwrap().keys.len(),
            3
        );

        let reply = client.revoke(lease.id).await.unwrap();
        assert_ne!(reply.header.revision, 0);
        assert_eq!(client.get("one").string().await.unwrap(), None);
        assert!(
            stage
                .client
                .get("elsewhere")
                .string()
                .await
                .unwrap()
                .is_none()
        );
    })
    .await;
}

#[tokio::test]
async fn unknown_leases() {
    each(|stage| async move {
        let (client, id) = (&stage.client, unknown());
        let ttl = client.ttl(id).keys().await.unwrap();
        assert_eq!(
            (ttl.id, ttl.ttl, ttl.granted_ttl),
            (id, None, Duration::ZERO)
        );
        for error in [
            client.revoke(id).await.unwrap_err(),
            client.keep_alive_once(id).await.unwrap_err(),
            client.put("k", "v").lease(id).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::LeaseNotFound, "{error}");
            assert_eq!(error.outcome(), Outcome::Rejected, "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_id_of_ones_own() {
    each(|stage| async move {
        let (client, id) = (&stage.client, unknown());
        let lease = client.grant(seconds(30)).id(id).await.unwrap();
        assert_eq!(lease.id, id);
        let error = client.grant(seconds(30)).id(id).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LeaseExists, "{error}");
        assert_eq!(error.outcome(), Outcome::Rejected);

        let negative = LeaseId::new(-fastrand::i64(1..)).unwrap();
        assert_eq!(
            client.grant(seconds(30)).id(negative).await.unwrap().id,
            negative
        );
        assert_eq!(client.keep_alive_once(negative).await.unwrap().id, negative);
        client.revoke(negative).await.unwrap();

        let request = Grant::new(seconds(30));
        let one = client.run(request.clone()).await.unwrap();
        let other = client.run(request).await.unwrap();
        assert_ne!(one.id, other.id);
    })
    .await;
}

#[tokio::test]
async fn a_time_to_live_has_a_minimum_and_a_maximum() {
    each(|stage| async move {
        let client = &stage.client;
        // The server raises a time-to-live below the duration of an election.
        let lease = client.grant(Duration::from_nanos(1)).await.unwrap();
        assert!(lease.ttl >= seconds(1), "{:?}", lease.ttl);
        let most = client.grant(seconds(9_000_000_000)).await.unwrap();
        assert_eq!(most.ttl, seconds(9_000_000_000));
        client.revoke(most.id).await.unwrap();
        for much in [seconds(9_000_000_001), Duration::MAX] {
            let error = client.grant(much).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::LeaseTtlTooLarge, "{error}");
        }
        let error = client.grant(Duration::ZERO).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert_eq!(error.outcome(), Outcome::NotSent);
    })
    .await;
}

#[tokio::test]
async fn a_lease_is_renewed_once_and_expires() {
    each(|stage| async move {
        let client = stage.inside();
        let lease = client.grant(seconds(3)).await.unwrap();
        client.put("k", "v").lease(lease.id).await.unwrap();
        tokio::time::sleep(seconds(2)).await;
        let reply = client.keep_alive_once(lease.id).await.unwrap();
        assert_eq!((reply.id, reply.ttl), (lease.id, lease.ttl));
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert!(client.get("k").string().await.unwrap().is_some());
        tokio::time::sleep(seconds(4)).await;
        assert!(client.get("k").string().await.unwrap().is_none());
        let error = client.keep_alive_once(lease.id).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LeaseNotFound, "{error}");
    })
    .await;
}

#[tokio::test]
async fn all_leases_are_listed() {
    each_alone(&[], |etcd| async move {
        let client = connect(&etcd).await;
        assert!(client.leases().await.unwrap().leases.is_empty());
        let late = client.grant(seconds(600)).await.unwrap().id;
        let soon = client.grant(seconds(300)).await.unwrap().id;
        let reply = client.leases().await.unwrap();
        assert_eq!(reply.leases, [soon, late]);
        assert_ne!(reply.header.cluster_id, 0);
    })
    .await;
}

/// etcd's proxy cancels a call as soon as the client has ended its side of the stream.
#[tokio::test]
async fn a_lease_is_renewed_once_through_the_grpc_proxy() {
    each(|stage| async move {
        if !stage.etcd.has_etcdctl() {
            return left_out("the proxy is etcd's");
        }
        let proxy = GrpcProxy::start(stage.etcd).await.unwrap();
        let client = Client::builder().endpoint(proxy.endpoint());
        let client = client.timeout(DEADLINE).connect().await.unwrap();
        let lease = client.grant(seconds(30)).await.unwrap();
        for _ in 0..10 {
            let reply = client.keep_alive_once(lease.id).await.unwrap();
            assert_eq!((reply.id, reply.ttl), (lease.id, seconds(30)));
        }
        client.revoke(lease.id).await.unwrap();
        let error = client.keep_alive_once(lease.id).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LeaseNotFound, "{error}");
    })
    .await;
}
