//! A member without the other members.

use std::time::{Duration, Instant};

use etcdex::{Client, Code, ErrorKind, Outcome};
use etcdex_testkit::{Binary, Cluster, Etcd, Proxy};

use crate::stage::{DEADLINE, ends, eventually};

/// Three members, of which two were killed and the last one sees no leader, and a client of the
/// last one.
async fn alone(binary: &Binary) -> (Cluster, Client) {
    let builder = Etcd::builder().binary(binary);
    let builder = builder.args(["--heartbeat-interval=50", "--election-timeout=500"]);
    let cluster = builder.start_cluster(3).await.unwrap();
    let [first, second, last] = cluster.members() else {
        panic!("three members")
    };
    let client = Client::connect(last.endpoint()).await.unwrap();
    client.put("k", "v").await.unwrap();
    first.kill();
    second.kill();
    eventually("the last member sees no leader", || async {
        let metrics = last.metrics().await.unwrap();
        metrics
            .lines()
            .any(|line| line == "etcd_server_has_leader 0")
    })
    .await;
    (cluster, client)
}

#[tokio::test]
async fn without_a_leader() {
    ends(|binary| async move {
        let (cluster, client) = alone(&binary).await;
        let last = &cluster.members()[2];

        // A call that requires a leader fails at once.
        let strict = client.require_leader(true);
        let begun = Instant::now();
        let put = strict.put("k", "w").await.unwrap_err();
        assert_eq!(put.message(), "etcdserver: no leader");
        assert_eq!(put.kind(), ErrorKind::NoLeader);
        assert_eq!(put.outcome(), Outcome::Rejected);
        assert_eq!(put.code(), Some(Code::Unavailable));
        assert_eq!(put.endpoint().unwrap().url(), last.endpoint());
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");

        // A serializable read without that requirement reads the data of the member.
        let get = client.get("k").serializable().string().await.unwrap();
        assert_eq!(get.as_deref(), Some("v"));

        // A call that needs the cluster waits until its time-out.
        let limit = Duration::from_millis(700);
        let begun = Instant::now();
        let get = client.get("k").timeout(limit);
        let put = client.put("k", "w").timeout(limit);
        let (get, put) = tokio::join!(get, put);
        let took = begun.elapsed();
        assert!(get.is_err());
        assert_eq!(put.unwrap_err().outcome(), Outcome::Unknown);
        assert!(took < limit + Duration::from_secs(1), "{took:?}");

        // The cluster is whole again, and the client's calls succeed.
        for member in &cluster.members()[..2] {
            member.launch().unwrap();
        }
        last.ready().await.unwrap();
        client.put("k", "x").await.unwrap();
        let get = strict.get("k").string().await.unwrap();
        assert_eq!(get.as_deref(), Some("x"));
    })
    .await;
}

/// [`Client::require_leader`]: the read fails instead of waiting for a leader.
#[tokio::test]
async fn a_read_that_requires_a_leader_fails_at_once() {
    ends(|binary| async move {
        let (_cluster, client) = alone(&binary).await;
        let begun = Instant::now();
        let get = client.require_leader(true).get("k").await.unwrap_err();
        assert_eq!(get.kind(), ErrorKind::NoLeader, "{get:?}");
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
    })
    .await;
}

/// The server has the time-out, too, and ends the call by a reset: the error must be the same if
/// the server is first.
#[tokio::test]
async fn the_kind_of_a_timeout_is_timeout() {
    ends(|binary| async move {
        let (_cluster, client) = alone(&binary).await;
        for limit in 200..220 {
            let limit = Duration::from_millis(limit);
            let get = client.get("k").timeout(limit);
            let put = client.put("k", "w").timeout(limit);
            let (get, put) = tokio::join!(get, put);
            for error in [get.unwrap_err(), put.unwrap_err()] {
                assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
                assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
            }
        }
    })
    .await;
}

/// Without the leader monitor, a waiting lock on a member that is cut off would wait until the
/// member is back.
#[tokio::test]
async fn a_waiting_lock_ends_when_the_leader_is_lost() {
    ends(|binary| async move {
        let builder = Etcd::builder().binary(&binary);
        let builder = builder.args(["--heartbeat-interval=50", "--election-timeout=500"]);
        let cluster = builder.start_cluster(3).await.unwrap();
        let [first, second, last] = cluster.members() else {
            panic!("three members")
        };
        let client = Client::connect(last.endpoint()).await.unwrap();
        let mut leases = Vec::new();
        for _ in 0..3 {
            leases.push(client.grant(Duration::from_secs(600)).await.unwrap().id);
        }
        let held = client.lock("lock", leases[0]).await.unwrap();
        let waiting = tokio::spawn(client.lock("lock", leases[1]));
        let patient = tokio::spawn(client.require_leader(false).lock("lock", leases[2]));
        // The server reads the queue once more after it has put the key. Without a quorum that read
        // times out.
        eventually("both locks wait by a watch", || async {
            let metrics = last.metrics().await.unwrap();
            metrics
                .lines()
                .any(|line| line == "etcd_debugging_mvcc_watcher_total 2")
        })
        .await;
        first.kill();
        second.kill();

        let lost = tokio::time::timeout(DEADLINE, waiting).await;
        let error = lost.expect("the lock ends").unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoLeader, "{error:?}");
        assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
        let refused = client.lock("lock", leases[1]).timeout(DEADLINE);
        let refused = refused.await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NoLeader, "{refused:?}");
        assert_eq!(refused.outcome(), Outcome::Rejected, "{refused:?}");
        assert!(!patient.is_finished());

        for member in [first, second] {
            member.launch().unwrap();
        }
        last.ready().await.unwrap();
        // As the documentation says: with another lease.
        client.revoke(leases[1]).timeout(DEADLINE).await.unwrap();
        client.unlock(held.key).timeout(DEADLINE).await.unwrap();
        let lock = tokio::time::timeout(DEADLINE, patient).await;
        lock.expect("the lock is granted").unwrap().unwrap();
    })
    .await;
}

/// An unanswered read makes the client ping, and often if other calls are answered meanwhile: etcd
/// then resets its count of pings.
#[tokio::test]
async fn pings_between_answers_do_not_close_the_connection() {
    ends(|binary| async move {
        let (cluster, _client) = alone(&binary).await;
        let last = &cluster.members()[2];
        let proxy = Proxy::start(last.client_address()).await.unwrap();
        let client = Client::connect(proxy.endpoint()).await.unwrap();
        let stuck = client.get("k").timeout(Duration::from_secs(12));
        let stuck = tokio::spawn(stuck.into_future());
        while !stuck.is_finished() {
            client.get("k").serializable().await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(stuck.await.unwrap().is_err());
        assert_eq!(proxy.connections(), 1);
    })
    .await;
}
