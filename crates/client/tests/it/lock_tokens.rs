//! Locks of users whose tokens end while they wait, or before.
//!
//! What is expected: a lock that waits gets its turn. The lock service of etcd works with the token
//! of the call, and its clean-up with none: `server/etcdserver/api/v3lock/lock.go` and
//! `client/v3/concurrency/mutex.go` of etcd.

use std::time::Duration;

use etcdex::{Client, LeaseId};
use etcdex_testkit::{Etcd, Version};
use tokio::task::JoinHandle;

use crate::credentials::{PASSWORD, builder, enable};
use crate::stage::{DEADLINE, each_alone, eventually};

const ARGUMENTS: &[&str] = &["--auth-token-ttl=2", "--bcrypt-cost=4"];

/// The server looks once a second which tokens have ended.
const ENDED: Duration = Duration::from_millis(4_500);

async fn root(etcd: &Etcd) -> Client {
    let builder = builder(etcd).credentials("root", PASSWORD);
    builder.connect().await.unwrap()
}

async fn lease(client: &Client) -> LeaseId {
    client.grant(Duration::from_secs(600)).await.unwrap().id
}

fn key(lease: LeaseId) -> String {
    format!("lock/{:x}", lease.as_i64())
}

/// Waits for the lock, and until its key is in the queue.
async fn wait(client: &Client, lease: LeaseId) -> JoinHandle<String> {
    let lock = client.lock("lock", lease);
    let waiting = tokio::spawn(async move {
        let held = lock.await.unwrap();
        String::from_utf8(held.key.to_vec()).unwrap()
    });
    eventually("the key is in the queue", || async {
        client.get(key(lease)).string().await.unwrap().is_some()
    })
    .await;
    waiting
}

#[tokio::test]
async fn a_lock_is_taken_and_given_back_with_a_token_that_has_ended() {
    each_alone(ARGUMENTS, |etcd| async move {
        enable(&etcd).await;
        let client = root(&etcd).await;
        let lease = lease(&client).await;
        tokio::time::sleep(ENDED).await;
        let held = client.lock("lock", lease).await.unwrap();
        assert_eq!(held.key, key(lease));
        tokio::time::sleep(ENDED).await;
        client.unlock(held.key).await.unwrap();
        let left = client.get("lock/").prefix().count_only().await.unwrap();
        assert_eq!(left.count, 0);
    })
    .await;
}

/// The server finds out that the token has ended when the turn has come, and leaves the key in the
/// queue.
#[tokio::test]
async fn a_lock_that_outwaits_its_token_is_given() {
    each_alone(ARGUMENTS, |etcd| async move {
        enable(&etcd).await;
        let (holder, next) = (root(&etcd).await, root(&etcd).await);
        let held = holder.lock("lock", lease(&holder).await).await.unwrap();
        let lease = lease(&next).await;
        let waiting = wait(&next, lease).await;
        tokio::time::sleep(ENDED).await;
        assert!(!waiting.is_finished());
        holder.unlock(held.key).await.unwrap();
        let given = tokio::time::timeout(DEADLINE, waiting).await;
        assert_eq!(given.unwrap().unwrap(), key(lease));
        let queue = holder.get("lock/").prefix().await.unwrap();
        assert_eq!(queue.kvs.len(), 1);
        assert_eq!(queue.kvs[0].key, key(lease));
    })
    .await;
}

/// The watches of all locks that wait at a member have the token of the first one.
#[tokio::test]
async fn a_lock_that_waits_behind_one_whose_token_has_ended_is_given() {
    each_alone(ARGUMENTS, |etcd| async move {
        // 3.4.23 and 3.5.1 forget both locks: the refused watch has the number of the first one.
        if etcd.version() < "3.5.35".parse::<Version>().unwrap() {
            return;
        }
        enable(&etcd).await;
        let (holder, next) = (root(&etcd).await, root(&etcd).await);
        let held = holder.lock("lock", lease(&holder).await).await.unwrap();
        let second = lease(&next).await;
        let waits = wait(&next, second).await;
        tokio::time::sleep(ENDED).await;
        let third = lease(&holder).await;
        let waits_too = wait(&holder, third).await;

        holder.unlock(held.key).await.unwrap();
        let given = tokio::time::timeout(DEADLINE, waits).await;
        assert_eq!(given.unwrap().unwrap(), key(second));
        assert!(!waits_too.is_finished());
        next.unlock(key(second)).await.unwrap();
        let given = tokio::time::timeout(DEADLINE, waits_too).await;
        assert_eq!(given.unwrap().unwrap(), key(third));
    })
    .await;
}

/// etcd deletes the key of a lock that is given up without the token of the call, and so cannot.
#[tokio::test]
async fn a_lock_that_is_given_up_leaves_its_key_where_users_log_in() {
    each_alone(&["--bcrypt-cost=4"], |etcd| async move {
        enable(&etcd).await;
        let (holder, next) = (root(&etcd).await, root(&etcd).await);
        let held = holder.lock("lock", lease(&holder).await).await.unwrap();
        let lease = lease(&next).await;
        let waiting = wait(&next, lease).await;
        waiting.abort();
        // When the clean-up is over, the next call of the same lease cannot meet it.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let kept = holder.get(key(lease)).string().await.unwrap();
        assert!(kept.is_some());
        // The caller's way out: the lease, and with it the key, or the key alone.
        next.unlock(key(lease)).await.unwrap();
        holder.unlock(held.key).await.unwrap();
    })
    .await;
}
