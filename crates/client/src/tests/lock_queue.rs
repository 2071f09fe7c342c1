//! Locks that the lock service of their member has passed over.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use etcdex_proto::{etcdserverpb as pb, mvccpb, v3lockpb};
use tokio::time::{Instant, sleep, timeout};

use super::locks::lease;
use super::peer::{Asked, Peers, framed, header, serve};
use crate::{Client, Outcome};

const HOUR: Duration = Duration::from_secs(3_600);

/// The queue of a lock, and members whose lock service answers no request that has to wait.
#[derive(Clone, Default)]
struct Members {
    /// Whether the key of the request is the first of the queue.
    is_first: Arc<AtomicBool>,
    /// Whether the lease has ended, and the key with it.
    is_gone: Arc<AtomicBool>,
    /// Whether authentication is disabled: any token is accepted, and none is needed.
    is_open: Arc<AtomicBool>,
    /// Whether the lock service answers no request, also those that need not wait.
    is_silent: Arc<AtomicBool>,
    /// Number of reads of the queue.
    reads: Arc<AtomicUsize>,
    /// Number of the member that got each request for the lock.
    attempts: Arc<Mutex<Vec<usize>>>,
    waiting: Arc<Mutex<Vec<Asked>>>,
}

impl Members {
    fn answer(&self, member: usize, asked: Asked) {
        match &*asked.path {
            "/etcdserverpb.Auth/Authenticate" => asked.answer(framed(&pb::AuthenticateResponse {
                header: header(1),
                token: "token".into(),
            })),
            "/etcdserverpb.KV/Txn" => {
                self.reads.fetch_add(1, Relaxed);
                asked.answer(framed(&self.queue()));
            }
            "/etcdserverpb.KV/Range"
                if !self.is_open.load(Relaxed) && !asked.headers.contains_key("token") =>
            {
                asked.fail("3", "etcdserver: user name is empty");
            }
            "/v3lockpb.Lock/Lock" => {
                self.attempts.lock().expect("no panic").push(member);
                if self.is_gone.load(Relaxed) {
                    return asked.fail("5", "etcdserver: requested lease not found");
                }
                if self.is_first.load(Relaxed) && !self.is_silent.load(Relaxed) {
                    return asked.answer(framed(&v3lockpb::LockResponse {
                        header: header(2),
                        key: "lock/7".into(),
                    }));
                }
                self.waiting.lock().expect("no panic").push(asked);
            }
            _ => asked.answer_well(),
        }
    }

    /// Answers a read of the first key and of the number of own keys.
    fn queue(&self) -> pb::TxnResponse {
        let first = if self.is_first.load(Relaxed) {
            "lock/7"
        } else {
            "lock/5"
        };
        let first = pb::RangeResponse {
            header: header(2),
            kvs: vec![mvccpb::KeyValue {
                key: first.into(),
                ..mvccpb::KeyValue::default()
            }],
            count: 2,
            ..pb::RangeResponse::default()
        };
        let own = pb::RangeResponse {
            header: header(2),
            count: i64::from(!self.is_gone.load(Relaxed)),
            ..pb::RangeResponse::default()
        };
        let reply = |range| pb::ResponseOp {
            response: Some(pb::response_op::Response::ResponseRange(range)),
        };
        pb::TxnResponse {
            header: header(2),
            succeeded: true,
            responses: vec![reply(first), reply(own)],
        }
    }

    /// Returns so many members.
    fn peers(&self, members: usize) -> Peers {
        (0..members).fold(Peers::default(), |peers, member| {
            let this = self.clone();
            peers.and(&format!("http://m{member}:1"), move |_, stream| {
                let this = this.clone();
                serve(stream, move |asked: Asked| {
                    let this = this.clone();
                    async move { this.answer(member, asked) }
                })
            })
        })
    }

    async fn client(&self, members: usize) -> Client {
        let builder = self.peers(members).builder();
        let client = builder.credentials("root", "hunter2").connect().await;
        client.expect("the client connects")
    }

    fn attempts(&self) -> Vec<usize> {
        self.attempts.lock().expect("no panic").clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_passed_over_is_sent_again_and_granted() {
    for waited in [1, 10, 600] {
        let members = Members::default();
        let client = members.client(1).await;
        let lock = tokio::spawn(client.lock("lock", lease()));
        sleep(Duration::from_secs(waited)).await;
        members.is_first.store(true, Relaxed);
        let since = Instant::now();
        // A quarter of the wait, between 1 s and 10 s, a fifth of that as the random part, the second
        // reading, and the pause before the next attempt.
        let limit = (waited as f64 / 4.0).clamp(1.0, 10.0) * 1.2 + 2.1;
        let granted = timeout(Duration::from_secs_f64(limit), lock).await;
        let granted = granted.unwrap_or_else(|_| panic!("{waited}: {:?}", since.elapsed()));
        let granted = granted.expect("no panic").expect("the lock");
        assert_eq!(granted.key, "lock/7");
        assert_eq!(members.attempts(), [0, 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_one_member_passes_over_is_sent_to_another_member() {
    for seed in 0..8 {
        fastrand::seed(seed);
        let members = Members::default();
        let client = members.client(2).await;
        let lock = tokio::spawn(client.lock("lock", lease()));
        sleep(Duration::from_secs(5)).await;
        members.is_first.store(true, Relaxed);
        timeout(Duration::from_secs(5), lock)
            .await
            .expect("soon")
            .expect("no panic")
            .expect("the lock");
        let attempts = members.attempts();
        assert!(
            matches!(&attempts[..], [first, second] if first != second),
            "{attempts:?}"
        );
    }
}

/// Before its turn, a lock is not disturbed: the server's key and place are kept by the first
/// attempt.
#[tokio::test(start_paused = true)]
async fn a_lock_behind_others_waits_with_its_only_attempt() {
    let members = Members::default();
    let client = members.client(2).await;
    let lock = tokio::spawn(client.lock("lock", lease()));
    sleep(HOUR).await;
    assert!(!lock.is_finished());
    assert_eq!(members.attempts().len(), 1);
    // Every 8 s to 12 s, and some more in the beginning.
    let reads = members.reads.load(Relaxed);
    assert!((300..=470).contains(&reads), "{reads}");
    lock.abort();
}

#[tokio::test(start_paused = true)]
async fn a_lock_whose_lease_has_ended_ends() {
    let members = Members::default();
    let client = members.client(1).await;
    let lock = tokio::spawn(client.lock("lock", lease()));
    sleep(Duration::from_secs(20)).await;
    members.is_gone.store(true, Relaxed);
    let error = timeout(Duration::from_secs(9), lock).await;
    let error = error.expect("soon").expect("no panic").unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::LeaseNotFound, "{error}");
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
}

/// The lease ends before the client has read the queue for the first time.
#[tokio::test(start_paused = true)]
async fn a_lock_whose_lease_ends_at_once_ends() {
    let members = Members::default();
    let client = members.client(1).await;
    let lock = tokio::spawn(client.lock("lock", lease()));
    sleep(Duration::from_millis(100)).await;
    members.is_gone.store(true, Relaxed);
    let error = timeout(Duration::from_secs(20), lock).await;
    let error = error.expect("soon").expect("no panic").unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::LeaseNotFound, "{error}");
}

/// A server that accepts any token enforces no users, and deletes the key of an attempt that is given
/// up, at any time after that. Another attempt would be granted, and its key be deleted.
#[tokio::test(start_paused = true)]
async fn without_users_a_lock_that_is_passed_over_ends() {
    let members = Members::default();
    let client = members.client(2).await;
    let lock = tokio::spawn(client.lock("lock", lease()));
    sleep(Duration::from_secs(5)).await;
    members.is_open.store(true, Relaxed);
    members.is_first.store(true, Relaxed);
    // Three times two readings, 1 s apart, with pauses of a quarter of the wait, give or take a fifth: all
    // of it takes from 5.8 s to 10 s.
    sleep(Duration::from_secs(5)).await;
    assert!(!lock.is_finished());
    let ended = timeout(Duration::from_secs(6), lock).await;
    let error = ended.expect("soon").expect("no panic").unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Unavailable, "{error}");
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    assert_eq!(members.attempts().len(), 1);
}

/// A member that is slow is given more time before each further attempt.
#[tokio::test(start_paused = true)]
async fn a_lock_that_is_never_answered_is_sent_less_and_less_often() {
    let members = Members::default();
    members.is_silent.store(true, Relaxed);
    let client = members.client(1).await;
    members.is_first.store(true, Relaxed);
    let lock = tokio::spawn(client.lock("lock", lease()));
    sleep(HOUR).await;
    // In the end, the first read comes after some 1 s, the second one 10 s later, and then a pause
    // of up to 1 s.
    let attempts = members.attempts().len();
    assert!((270..=340).contains(&attempts), "{attempts}");
    lock.abort();
}

#[tokio::test(start_paused = true)]
async fn a_lock_without_credentials_that_is_passed_over_ends() {
    let members = Members::default();
    members.is_open.store(true, Relaxed);
    let client = members.peers(1).client().await;
    let lock = tokio::spawn(client.lock("lock", lease()));
    sleep(HOUR).await;
    assert!(!lock.is_finished(), "it is not its turn");
    members.is_first.store(true, Relaxed);
    let ended = timeout(Duration::from_secs(45), lock).await;
    let error = ended.expect("soon").expect("no panic").unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    assert_eq!(members.attempts(), [0]);
}
