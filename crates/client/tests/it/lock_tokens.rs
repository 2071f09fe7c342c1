//! Locks of users whose tokens expire before or during the wait.
//!
//! Expected behavior: a waiting lock is granted at its turn. The lock service of etcd uses the
//! token of the call, and its clean-up uses none. Source: `server/etcdserver/api/v3lock/lock.go`
//! and `client/v3/concurrency/mutex.go` of etcd.

use std::time::{Duration, Instant};

use etcdex::kv::SortTarget;
use etcdex::{Client, ErrorKind, LeaseId, Outcome};
use etcdex_testkit::Etcd;
use tokio::task::{JoinHandle, JoinSet};

use crate::credentials::{PASSWORD, builder, enable};
use crate::stage::{DEADLINE, each_alone, eventually};

const ARGUMENTS: &[&str] = &["--auth-token-ttl=2", "--bcrypt-cost=4"];

/// Longer than a token lives: the server looks for expired tokens once a second.
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
async fn a_lock_is_granted_and_released_with_an_expired_token() {
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

/// The server notices the expired token at the lock's turn, and leaves the key in the queue.
#[tokio::test]
async fn a_lock_that_waits_longer_than_its_token_lives_is_granted() {
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

/// The watches of all waiting locks at a member use the token of the first lock. 3.4.23 and 3.5.1
/// pass over both locks: the refused watch has the ID of the first one.
#[tokio::test]
async fn a_lock_that_waits_behind_one_with_an_expired_token_is_granted() {
    each_alone(ARGUMENTS, |etcd| async move {
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

/// After authentication was disabled, a server accepts the token of the client, and deletes the key
/// of an attempt that is given up. A read without a token tells the client. The service answers
/// some of the locks that wait meanwhile for their tokens, and passes others over, on 3.4.23 and
/// 3.5.1 above all. There it may not even delete the key of an attempt that was given up: the lock
/// ends then, and the caller has to revoke the lease. No caller waits for ever.
#[tokio::test]
async fn locks_that_wait_when_authentication_is_disabled_are_granted_one_by_one_or_end() {
    each_alone(ARGUMENTS, |etcd| async move {
        enable(&etcd).await;
        let (holder, next) = (root(&etcd).await, root(&etcd).await);
        let stranger = builder(&etcd).connect().await.unwrap();
        let held = holder.lock("lock", lease(&holder).await).await.unwrap();
        let refusal = stranger.get("lock/").await.unwrap_err();
        assert_eq!(refusal.kind(), ErrorKind::TokenMissing, "{refusal}");
        let mut waiting = JoinSet::new();
        for (client, pause) in [(&next, Duration::ZERO), (&holder, ENDED)] {
            tokio::time::sleep(pause).await;
            let lease = lease(client).await;
            let lock = client.lock("lock", lease);
            waiting.spawn(async move { (lease, lock.await) });
            eventually("the key is in the queue", || async {
                client.get(key(lease)).string().await.unwrap().is_some()
            })
            .await;
        }

        let user = format!("root:{PASSWORD}");
        let disable = etcd.etcdctl(["--user", &user, "auth", "disable"]);
        disable.await.unwrap();
        stranger.get("lock/").await.unwrap();
        holder.unlock(held.key).await.unwrap();
        for _ in 0..2 {
            let ended = tokio::time::timeout(2 * DEADLINE, waiting.join_next()).await;
            let (lease, ended) = ended.unwrap().unwrap().unwrap();
            match ended {
                Ok(held) => {
                    assert_eq!(held.key, key(lease));
                    let first = stranger.get("lock/").prefix().first(SortTarget::Create);
                    assert_eq!(first.await.unwrap().kvs[0].key, held.key);
                    stranger.unlock(held.key).await.unwrap();
                }
                Err(error) => {
                    println!("{}: {error}", etcd.version());
                    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
                    assert!(["3.4.23", "3.5.1"].contains(&&*etcd.version().to_string()));
                    stranger.revoke(lease).await.unwrap();
                }
            }
        }
        let left = stranger.get("lock/").prefix().count_only().await.unwrap();
        assert_eq!(left.count, 0);
    })
    .await;
}

/// From some refusal on, the lock service answers no request any more that has to wait: the end of
/// its stream of watches waits for a watch that was refused at the same time as another one. About
/// one round in thirty does this on 3.5.35 and 3.7.3. The test ends with the first round in which
/// locks were late, and requires in each round that all are granted.
#[tokio::test]
async fn locks_that_begin_to_wait_when_a_token_is_revoked_are_granted() {
    each_alone(&["--bcrypt-cost=4"], |etcd| async move {
        // 3.4.23 asks with the revoked token again and again, with all CPU time that it gets.
        if etcd.version().repeats_refused_watches() {
            return;
        }
        enable(&etcd).await;
        let holder = root(&etcd).await;
        for round in 0..20 {
            let next = root(&etcd).await;
            let held = holder.lock("lock", lease(&holder).await).await.unwrap();
            let opens_the_stream = wait(&next, lease(&next).await).await;
            let mut others = Vec::new();
            for number in 0..16 {
                let name = format!("other-{number}");
                let held = holder.lock(name.clone(), lease(&holder).await).await;
                others.push((name, held.unwrap().key, lease(&holder).await));
            }
            holder
                .auth()
                .change_password("root", PASSWORD)
                .await
                .unwrap();
            let waiting: Vec<_> = others
                .iter()
                .map(|(name, _, lease)| tokio::spawn(holder.lock(name.clone(), *lease)))
                .collect();
            tokio::time::sleep(Duration::from_millis(round)).await;
            holder.unlock(held.key).await.unwrap();
            for (_, key, _) in &others {
                holder.unlock(key.clone()).await.unwrap();
            }
            let begin = Instant::now();
            let given = tokio::time::timeout(DEADLINE, opens_the_stream).await;
            holder.unlock(given.unwrap().unwrap()).await.unwrap();
            for waiting in waiting {
                let given = tokio::time::timeout(DEADLINE, waiting).await;
                let given = given.expect("the lock is granted").unwrap().unwrap();
                holder.unlock(given.key).await.unwrap();
            }
            if begin.elapsed() > Duration::from_millis(1_800) {
                println!("{}: late in round {round}", etcd.version());
                return;
            }
        }
    })
    .await;
}

/// etcd tries to delete the key of a cancelled lock without the token of the call, and fails.
#[tokio::test]
async fn a_cancelled_lock_leaves_its_key_on_a_server_with_users() {
    each_alone(&["--bcrypt-cost=4"], |etcd| async move {
        enable(&etcd).await;
        let (holder, next) = (root(&etcd).await, root(&etcd).await);
        let held = holder.lock("lock", lease(&holder).await).await.unwrap();
        let lease = lease(&next).await;
        let waiting = wait(&next, lease).await;
        waiting.abort();
        // After the clean-up has ended, it cannot affect the next call with the same lease.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let kept = holder.get(key(lease)).string().await.unwrap();
        assert!(kept.is_some());
        // The caller can revoke the lease, which deletes the key, or delete the key.
        next.unlock(key(lease)).await.unwrap();
        holder.unlock(held.key).await.unwrap();
    })
    .await;
}
