//! Locks of the server.
//!
//! Expected behavior: <https://etcd.io/docs/v3.6/dev-guide/api_concurrency_reference_v3/>.

use std::time::Duration;

use etcdex::lock::LockResponse;
use etcdex::{Client, Compare, LeaseId, Lock, Put};

use crate::stage::{DEADLINE, connect, each, each_alone, eventually};

/// Returns a lease that outlives every test, also on a slow machine: nobody renews it, and the
/// server grants the lock of an expired lease to the next one.
async fn lease(client: &Client) -> LeaseId {
    client.grant(Duration::from_secs(600)).await.unwrap().id
}

/// Number of keys in the queue of the lock.
async fn queue(client: &Client, name: &str) -> u64 {
    let range = client.get(format!("{name}/")).prefix().count_only();
    range.await.unwrap().count
}

/// Waits until this number of keys is in the queue.
async fn queue_has(client: &Client, count: u64) {
    let holds = || async { queue(client, "hush-lock").await == count };
    eventually("the queue has that length", holds).await;
}

async fn taken(lock: tokio::task::JoinHandle<Result<LockResponse, etcdex::Error>>) -> LockResponse {
    tokio::time::timeout(DEADLINE, lock)
        .await
        .unwrap()
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn a_lock_has_one_holder_and_is_granted_in_order() {
    each(|stage| async move {
        let client = stage.inside();
        let mut waiting = Vec::new();
        for place in 0..4 {
            let lock = client.lock("hush-lock", lease(&client).await);
            waiting.push(tokio::spawn(lock));
            // The lock is in the queue before the next one comes.
            eventually("the lock is in the queue", || async {
                queue(&client, "hush-lock").await == place + 1
            })
            .await;
        }
        waiting.reverse();
        while let Some(first) = waiting.pop() {
            let lock = taken(first).await;
            assert!(
                lock.key.starts_with(b"hush-lock/"),
                "the key is returned without the namespace"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(waiting.iter().all(|lock| !lock.is_finished()));
            let fenced = client
                .txn()
                .when(Compare::create_revision(lock.key.clone()).greater(0))
                .then(Put::new("done", "1"));
            assert!(fenced.await.unwrap().succeeded);
            client.unlock(lock.key.clone()).await.unwrap();
            let again = client.unlock(lock.key).await.unwrap();
            assert_ne!(again.header.revision, 0);
        }
        assert_eq!(queue(&client, "hush-lock").await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_lock_waits_without_a_time_out_and_with_one() {
    each(|stage| async move {
        let builder = Client::builder().endpoint(stage.etcd.endpoint());
        let client = builder
            .timeout(Duration::from_secs(1))
            .connect()
            .await
            .unwrap();
        let client = client.namespace(stage.prefix.as_str());
        let (one, other) = (lease(&client).await, lease(&client).await);
        let held = client.lock("hush-lock", one).await.unwrap();
        let waiting = tokio::spawn(client.lock("hush-lock", other));
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        assert!(!waiting.is_finished());
        let short = client.lock("hush-lock", lease(&client).await);
        let error = short.timeout(Duration::from_millis(100)).await.unwrap_err();
        // The server has the same time-out, and may end the call first.
        let kinds = [etcdex::ErrorKind::Timeout, etcdex::ErrorKind::Cancelled];
        assert!(kinds.contains(&error.kind()), "{error}");
        client.unlock(held.key).await.unwrap();
        taken(waiting).await;
        // The same lease holds the lock already.
        client.lock("hush-lock", other).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_lock_that_was_dropped_leaves_the_queue() {
    each(|stage| async move {
        let client = stage.inside();
        let held = client
            .lock("hush-lock", lease(&client).await)
            .await
            .unwrap();
        let dropped = tokio::spawn(client.lock("hush-lock", lease(&client).await));
        queue_has(&client, 2).await;
        let last = tokio::spawn(client.lock("hush-lock", lease(&client).await));
        queue_has(&client, 3).await;
        dropped.abort();
        queue_has(&client, 2).await;
        assert!(!last.is_finished());
        client.unlock(held.key).await.unwrap();
        taken(last).await;
    })
    .await;
}

#[tokio::test]
async fn a_waiting_lock_whose_lease_is_lost_is_not_granted() {
    each(|stage| async move {
        let client = stage.inside();
        let held = client
            .lock("hush-lock", lease(&client).await)
            .await
            .unwrap();
        let short = lease(&client).await;
        let waiting = tokio::spawn(client.lock("hush-lock", short));
        queue_has(&client, 2).await;
        client.revoke(short).await.unwrap();
        client.unlock(held.key).await.unwrap();
        let reply = tokio::time::timeout(DEADLINE, waiting)
            .await
            .unwrap()
            .unwrap();
        let version = stage.etcd.version();
        match reply {
            // The key of the lock does not exist, so a conditional write fails.
            Ok(lock) if !version.is_at_least(3, 5) => {
                assert!(client.get(lock.key).string().await.unwrap().is_none());
            }
            Ok(_) => panic!("a lock without a key"),
            Err(error) => assert_eq!(error.kind(), etcdex::ErrorKind::Server, "{error:?}"),
        }
        let gone = client.lock("hush-lock", short).await.unwrap_err();
        assert_eq!(gone.kind(), etcdex::ErrorKind::LeaseNotFound, "{gone:?}");
    })
    .await;
}

/// Expected time-to-live: `defaultSessionTTL` in `client/v3/concurrency/session.go` of etcd.
#[tokio::test]
async fn a_lease_of_the_server_holds_a_lock_and_is_not_renewed() {
    const TTL: Duration = Duration::from_secs(60);
    each(|stage| async move {
        let client = stage.inside();
        let held = client.run(Lock::with_server_lease("hush-lock")).await;
        let held = held.unwrap();
        let lease = held.lease().unwrap();
        assert_eq!(held.key, format!("hush-lock/{:x}", lease.as_i64()));
        let alive = client.ttl(lease).keys().await.unwrap();
        assert_eq!(alive.granted_ttl, TTL);
        assert_eq!(alive.keys, std::slice::from_ref(&held.key));
        let next = tokio::spawn(client.run(Lock::with_server_lease("hush-lock")));
        queue_has(&client, 2).await;
        eventually("the lease is not renewed", || async {
            let left = client.ttl(lease).await.unwrap().ttl;
            left.is_some_and(|left| left < TTL - Duration::from_secs(2))
        })
        .await;

        // An unlock deletes the key and not the lease.
        client.unlock(held.key).await.unwrap();
        let next = taken(next).await;
        let second = next.lease().unwrap();
        assert_ne!(second, lease);
        let alive = client.ttl(lease).keys().await.unwrap();
        assert!(alive.ttl.is_some() && alive.keys.is_empty(), "{alive:?}");

        // The ID of the lease is enough to renew it, and to release the lock.
        client.keep_alive_once(second).await.unwrap();
        client.revoke(second).await.unwrap();
        assert_eq!(queue(&client, "hush-lock").await, 0);
        client.revoke(lease).await.unwrap();
    })
    .await;
}

/// This test has its own server. It ends with some hundreds of waiting locks that are cancelled at
/// once, which blocks the lock service of an etcd (seen on 3.6.16 and 3.7.3).
#[tokio::test]
async fn five_hundred_waiting_locks_block_no_other_call() {
    each_alone(&[], |etcd| async move {
        let client = connect(&etcd).await;
        five_hundred_wait(&client).await;
    })
    .await;
}

/// While five hundred calls wait for a lock, other calls are answered, and a lease is kept for twice
/// its time-to-live.
pub(crate) async fn five_hundred_wait(client: &Client) {
    // All other tests run at the same time: a server may get no processor time for seconds.
    let ttl = Duration::from_secs(6);
    client.lock("hush-lock", lease(client).await).await.unwrap();
    let kept = client.grant(ttl).await.unwrap().id;
    client.put("hush-kept", "hush").lease(kept).await.unwrap();
    let mut keeper = client.keep(kept);
    keeper.changed().await;
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..500 {
        let lease = lease(client).await;
        waiting.spawn(client.lock("hush-lock", lease));
    }
    eventually("all wait", || async {
        queue(client, "hush-lock").await == 501
    })
    .await;
    let end = tokio::time::Instant::now() + ttl * 2;
    while tokio::time::Instant::now() < end {
        let call = Duration::from_secs(5);
        client.put("hush-k", "hush").timeout(call).await.unwrap();
        client.get("hush-k").timeout(call).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let state = keeper.state();
    assert!(
        matches!(state, etcdex::LeaseState::Alive { .. }),
        "{state:?}"
    );
    let kv = client.get("hush-kept").await.unwrap().into_kv().unwrap();
    assert_eq!((kv.version, kv.lease), (1, Some(kept)));
    assert_eq!(waiting.len(), 500);
    assert!(waiting.try_join_next().is_none());
}
