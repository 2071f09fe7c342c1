//! Calls that wait for a lock, and members without a leader.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use etcdex_proto::{etcdserverpb as pb, v3lockpb};
use tokio::io::DuplexStream;
use tokio::time::{sleep, timeout};

use super::peer::{Asked, Peers, framed, handshake_with, head, header, headers, read, serve};
use crate::{Client, ErrorKind, LeaseId, Lock, Outcome};

const STREAM: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
const NO_LEADER: &str = "etcdserver: no leader";

pub(super) fn lease() -> LeaseId {
    LeaseId::new(7).expect("not 0")
}

/// A member that has a leader or not.
#[derive(Clone, Default)]
struct Member {
    leaderless: Arc<AtomicBool>,
    /// Answers locks at once.
    free: Arc<AtomicBool>,
    /// Number of requests that the member has accepted.
    taken: Arc<AtomicUsize>,
    /// Number of requests that the member has refused for want of a leader.
    refused: Arc<AtomicUsize>,
    /// Number of idle streams that are open, and that were opened.
    streams: Arc<AtomicUsize>,
    opened: Arc<AtomicUsize>,
    /// Waiting locks.
    waiting: Arc<Mutex<Vec<Asked>>>,
}

impl Member {
    fn lose_leader(&self) {
        self.leaderless.store(true, Ordering::Relaxed);
    }

    fn waiting(&self) -> usize {
        self.waiting.lock().expect("no panic").len()
    }

    async fn serve(self, stream: DuplexStream) {
        self.serve_with(stream, h2::server::Builder::new()).await;
    }

    async fn serve_with(self, stream: DuplexStream, builder: h2::server::Builder) {
        let mut connection = handshake_with(stream, builder).await;
        while let Some(Ok((request, mut reply))) = connection.accept().await {
            let member = self.clone();
            let strict = request.headers().contains_key("hasleader");
            tokio::spawn(async move {
                if strict && member.leaderless.load(Ordering::Relaxed) {
                    member.refused.fetch_add(1, Ordering::Relaxed);
                    return refuse(&mut reply);
                }
                if request.uri().path() == STREAM {
                    assert!(strict, "the idle stream has to require a leader");
                    member.idle(reply).await;
                } else if let Some(asked) = read(request, reply).await {
                    member.answer(asked);
                }
            });
        }
    }

    fn answer(&self, asked: Asked) {
        self.taken.fetch_add(1, Ordering::Relaxed);
        if asked.path != "/v3lockpb.Lock/Lock" {
            return asked.answer_well();
        }
        if self.free.load(Ordering::Relaxed) {
            return asked.answer(framed(&v3lockpb::LockResponse {
                header: header(2),
                key: "lock/7".into(),
            }));
        }
        self.waiting.lock().expect("no panic").push(asked);
    }

    /// Ends an idle stream some time after the leader was lost, as etcd does.
    async fn idle(&self, mut reply: h2::server::SendResponse<bytes::Bytes>) {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.streams.fetch_add(1, Ordering::Relaxed);
        let gone = std::future::poll_fn(|cx| reply.poll_reset(cx));
        let leaderless = async {
            while !self.leaderless.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(100)).await;
            }
        };
        let lost = tokio::select! {
            _ = gone => false,
            () = leaderless => true,
        };
        self.streams.fetch_sub(1, Ordering::Relaxed);
        if lost {
            refuse(&mut reply);
        }
    }
}

fn refuse(reply: &mut h2::server::SendResponse<bytes::Bytes>) {
    let mut head = head("application/grpc");
    let status = [("grpc-status", "14"), ("grpc-message", NO_LEADER)];
    head.headers_mut().extend(headers(&status));
    let _ = reply.send_response(head, true);
}

fn members<const N: usize>() -> (Peers, [Member; N]) {
    let members: [Member; N] = std::array::from_fn(|_| Member::default());
    let peers = members.iter().enumerate();
    let peers = peers.fold(Peers::default(), |peers, (place, member)| {
        let member = member.clone();
        peers.and(&format!("http://m{place}:1"), move |_, stream| {
            member.clone().serve(stream)
        })
    });
    (peers, members)
}

async fn wait(what: impl Fn() -> bool) {
    let wait = async {
        while !what() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(60), wait)
        .await
        .expect("the condition holds in time");
}

fn lock(
    client: &Client,
) -> tokio::task::JoinHandle<Result<crate::lock::LockResponse, crate::Error>> {
    tokio::spawn(client.lock("lock", lease()))
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_waits_ends_when_its_member_loses_the_leader() {
    let (peers, [member]) = members();
    let client = peers.client().await;
    let locks = [lock(&client), lock(&client), lock(&client)];
    let patient = tokio::spawn(client.require_leader(false).lock("lock", lease()));
    let alone = tokio::spawn(client.lock("lock", lease()).require_leader(false));
    wait(|| member.waiting() == 5 && member.streams.load(Ordering::Relaxed) == 1).await;
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(member.opened.load(Ordering::Relaxed), 1);

    member.lose_leader();
    for lock in locks {
        let error = timeout(Duration::from_secs(1), lock).await;
        let error = error.expect("soon").expect("no panic").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoLeader, "{error}");
        // The client has to assume that the lock waits in the queue.
        assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
        assert_eq!(error.attempts(), 1, "{error}");
    }
    sleep(Duration::from_secs(3600)).await;
    assert!(!patient.is_finished() && !alone.is_finished());
    assert_eq!(member.waiting(), 5, "no lock was sent again");
}

/// The leader monitor has a stream even on connections that locks fill.
#[tokio::test(start_paused = true)]
async fn all_locks_of_full_connections_end_when_the_leader_is_lost() {
    let member = Member::default();
    let served = member.clone();
    let peers = Peers::one(move |_, stream| {
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(4);
        served.clone().serve_with(stream, builder)
    });
    let client = peers.client().await;
    let locks: Vec<_> = (0..12).map(|_| lock(&client)).collect();
    wait(|| member.waiting() == 12).await;
    wait(|| member.streams.load(Ordering::Relaxed) == 4).await;
    sleep(Duration::from_secs(10)).await;
    member.lose_leader();
    for lock in locks {
        let error = timeout(Duration::from_secs(1), lock).await;
        let error = error.expect("soon").expect("no panic").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoLeader, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_idle_stream_ends_with_the_last_call_that_waits() {
    let (peers, [member]) = members();
    let client = peers.client().await;
    for round in 1..4 {
        let first = lock(&client);
        let second = lock(&client);
        wait(|| member.streams.load(Ordering::Relaxed) == 1).await;
        sleep(Duration::from_secs(5)).await;
        first.abort();
        sleep(Duration::from_secs(5)).await;
        assert_eq!(member.streams.load(Ordering::Relaxed), 1);
        second.abort();
        wait(|| member.streams.load(Ordering::Relaxed) == 0).await;
        assert_eq!(member.opened.load(Ordering::Relaxed), round);
    }
    client.get("k").await.expect("an answer");
    assert_eq!(member.opened.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a_member_without_a_leader_is_left_for_one_that_has_it() {
    for seed in 0..8 {
        fastrand::seed(seed);
        let (peers, [one, other]) = members();
        one.lose_leader();
        other.free.store(true, Ordering::Relaxed);
        let client = peers.client().await;
        client
            .lock("lock", lease())
            .await
            .expect("the other member grants the lock");
        assert_eq!(one.taken.load(Ordering::Relaxed), 0);
        // A write that requires a leader goes to the other member, too.
        let strict = client.require_leader(true);
        strict
            .put("k", "v")
            .await
            .expect("the other member takes the put");
        assert_eq!(one.taken.load(Ordering::Relaxed), 0);
        assert_eq!(other.taken.load(Ordering::Relaxed), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn without_any_leader_a_lock_waits_for_an_election_and_a_strict_one_does_not() {
    let (peers, [one, other]) = members();
    let client = peers.client().await;
    for member in [&one, &other] {
        member.lose_leader();
        member.free.store(true, Ordering::Relaxed);
    }
    let refused = || one.refused.load(Ordering::Relaxed) + other.refused.load(Ordering::Relaxed);

    let strict = client.require_leader(true);
    for error in [
        strict.lock("lock", lease()).await.expect_err("no leader"),
        strict.put("k", "v").await.expect_err("no leader"),
    ] {
        assert_eq!(error.kind(), ErrorKind::NoLeader, "{error}");
        assert_eq!(error.outcome(), Outcome::Rejected, "{error}");
        assert_eq!(error.attempts(), 2, "{error}");
    }
    assert_eq!(refused(), 4);

    let lock = lock(&client);
    // Ten pauses, each of them as short as it can be.
    sleep(Duration::from_millis(1_600)).await;
    assert!(!lock.is_finished());
    for member in [&one, &other] {
        member.leaderless.store(false, Ordering::Relaxed);
    }
    lock.await.expect("no panic").expect("the lock is granted");

    one.lose_leader();
    other.lose_leader();
    let given_up = timeout(Duration::from_secs(30), client.lock("lock", lease())).await;
    let error = given_up
        .expect("the lock ends in time")
        .expect_err("no leader");
    assert_eq!(error.kind(), ErrorKind::NoLeader, "{error}");
    assert_eq!(error.outcome(), Outcome::Rejected, "{error}");
    // A call that requires no leader is not refused.
    let patient = client.require_leader(false);
    patient.lock("lock", lease()).await.expect("an answer");
    client.put("k", "v").await.expect("an answer");
}

#[tokio::test(start_paused = true)]
async fn the_builder_and_the_handle_set_whether_a_leader_is_required() {
    let (peers, [member]) = members();
    member.lose_leader();
    member.free.store(true, Ordering::Relaxed);
    let builder = peers.builder().require_leader(false);
    let lax = builder.connect().await.expect("the client connects");
    lax.lock("lock", lease()).await.expect("an answer");
    let builder = peers.builder().require_leader(true);
    let strict = builder.connect().await.expect("the client connects");
    let error = strict.put("k", "v").await.expect_err("no leader");
    assert_eq!(error.kind(), ErrorKind::NoLeader, "{error}");
    let handle = strict.require_leader(false);
    handle.put("k", "v").await.expect("an answer");
    strict
        .get("k")
        .require_leader(false)
        .await
        .expect("an answer");
}

/// The member refuses a stream at once that is opened during an election.
#[tokio::test(start_paused = true)]
async fn an_election_ends_no_wait() {
    let (peers, [member]) = members();
    let client = peers.client().await;
    let lock = lock(&client);
    wait(|| member.waiting() == 1).await;
    member.lose_leader();
    wait(|| member.refused.load(Ordering::Relaxed) == 2).await;
    member.leaderless.store(false, Ordering::Relaxed);
    wait(|| member.streams.load(Ordering::Relaxed) == 1).await;
    sleep(Duration::from_secs(60)).await;
    assert!(!lock.is_finished());
    // A lock that is granted at once opens no stream.
    member.free.store(true, Ordering::Relaxed);
    lock.abort();
    client
        .lock("lock", lease())
        .await
        .expect("the lock is free");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(member.opened.load(Ordering::Relaxed), 1);
}

/// A server with authentication that answers the attempts of a lock by these statuses, one after
/// the other, and then grants the lock. Returns also the tokens of the attempts.
async fn guarded(
    statuses: &'static [(&'static str, &'static str)],
) -> (Client, Arc<Mutex<Vec<String>>>) {
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let logins = Arc::new(AtomicUsize::new(0));
    let teller = Arc::clone(&tokens);
    let peers = Peers::one(move |_, stream| {
        let (tokens, logins) = (Arc::clone(&teller), Arc::clone(&logins));
        serve(stream, move |asked: Asked| {
            let (tokens, logins) = (Arc::clone(&tokens), Arc::clone(&logins));
            async move {
                if asked.path == "/etcdserverpb.Auth/Authenticate" {
                    let number = logins.fetch_add(1, Ordering::Relaxed);
                    return asked.answer(framed(&pb::AuthenticateResponse {
                        header: header(1),
                        token: number.to_string(),
                    }));
                }
                let token = asked.headers["token"].to_str().expect("text").to_owned();
                let attempt = {
                    let mut tokens = tokens.lock().expect("no panic");
                    tokens.push(token);
                    tokens.len() - 1
                };
                match statuses.get(attempt) {
                    Some((status, text)) => asked.fail(status, text),
                    None => asked.answer(framed(&v3lockpb::LockResponse {
                        header: header(2),
                        key: "lock/7".into(),
                    })),
                }
            }
        })
    });
    let client = peers.builder().credentials("root", "hunter2");
    (client.connect().await.expect("the client connects"), tokens)
}

/// The lock service reports an expired token only by its text. All of its steps have ended then.
#[tokio::test(start_paused = true)]
async fn a_lock_whose_token_has_ended_is_asked_for_with_another() {
    const ENDED: (&str, &str) = ("2", "etcdserver: invalid auth token");
    for statuses in [
        &[ENDED][..],
        &[("2", "etcdserver: revision of auth store is old")],
        &[ENDED, ENDED],
    ] {
        let (client, tokens) = guarded(statuses).await;
        client
            .lock("lock", lease())
            .await
            .expect("the next token is valid");
        let attempts = statuses.len() + 1;
        let expected: Vec<_> = (0..attempts).map(|number| number.to_string()).collect();
        assert_eq!(*tokens.lock().expect("no panic"), expected);
    }

    let (client, tokens) = guarded(&[ENDED; 9]).await;
    let error = client.lock("lock", lease()).await;
    let error = error.expect_err("no token is valid");
    assert_eq!(error.kind(), ErrorKind::InvalidToken, "{error}");
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    assert_eq!(tokens.lock().expect("no panic").len(), 3);
}

/// The server can refuse a waiting lock for the token of another lock, at every attempt. The lock
/// keeps its place in the queue, and is granted at its turn.
#[tokio::test(start_paused = true)]
async fn a_lock_that_may_not_wait_asks_again_until_it_has_the_lock() {
    const TOKEN: (&str, &str) = (
        "2",
        "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token",
    );
    const PERMISSION: (&str, &str) = (
        "2",
        "rpc error: code = PermissionDenied desc = etcdserver: permission denied",
    );
    for statuses in [&[TOKEN; 40], &[PERMISSION; 40]] {
        let (client, tokens) = guarded(statuses).await;
        let start = tokio::time::Instant::now();
        client
            .lock("lock", lease())
            .await
            .expect("the lock is granted at its turn");
        // The call pauses up to a second, and keeps its token.
        assert!(
            start.elapsed() > Duration::from_secs(16),
            "{:?}",
            start.elapsed()
        );
        assert_eq!(*tokens.lock().expect("no panic"), vec!["0"; 41]);
    }

    let (client, tokens) = guarded(&[TOKEN; 40]).await;
    let lock = client.lock("lock", lease()).timeout(Duration::from_secs(2));
    let error = lock.await.expect_err("two seconds are too few");
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    // Pauses are 10 ms, 20 ms and so on up to a second, each shortened by up to a half at random: 7
    // to 9 of them fit in two seconds.
    let count = tokens.lock().expect("no panic").len();
    assert!((8..=10).contains(&count), "{count}");
}

/// Each execution grants another lease, and its key would wait for the key of the execution before
/// it.
#[tokio::test(start_paused = true)]
async fn a_lock_with_a_lease_of_the_server_is_not_sent_again_after_a_step() {
    const WAIT: &str = "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token";
    for (statuses, next_token) in [
        (&[("2", "etcdserver: invalid auth token")], "1"),
        (&[("2", "etcdserver: revision of auth store is old")], "1"),
        (&[("2", WAIT)], "0"),
        (&[("2", "etcdserver: request timed out")], "0"),
    ] {
        let (client, tokens) = guarded(statuses).await;
        let error = client.run(Lock::with_server_lease("lock")).await;
        let error = error.expect_err("the server refuses");
        assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
        assert_eq!(*tokens.lock().expect("no panic"), ["0"], "{error}");
        let next = client.run(Lock::with_server_lease("lock")).await;
        assert_eq!(next.expect("the lock").lease(), Some(lease()));
        assert_eq!(*tokens.lock().expect("no panic"), ["0", next_token]);
    }
}

/// A member that refuses the call at once has not begun to execute it.
#[tokio::test(start_paused = true)]
async fn a_lock_with_a_lease_of_the_server_is_sent_to_a_member_with_a_leader() {
    for seed in 0..8 {
        fastrand::seed(seed);
        let (peers, [one, other]) = members();
        one.lose_leader();
        other.free.store(true, Ordering::Relaxed);
        let client = peers.client().await;
        let lock = client.run(Lock::with_server_lease("lock")).await;
        assert_eq!(lock.expect("the lock").lease(), Some(lease()));
        assert_eq!(one.taken.load(Ordering::Relaxed), 0);
        assert_eq!(other.taken.load(Ordering::Relaxed), 1);
    }
}

/// Another error of a step does not tell whether the steps before it were applied.
#[tokio::test(start_paused = true)]
async fn another_error_of_a_lock_is_returned_as_unknown() {
    for statuses in [
        &[("2", "etcdserver: request timed out")],
        &[("2", "etcdserver: permission denied")],
        &[("2", "etcdserver: no leader")],
        &[("2", "mutex: session is expired")],
    ] {
        let (client, tokens) = guarded(statuses).await;
        let error = client.lock("lock", lease()).await;
        let error = error.expect_err("the server refuses");
        assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
        assert_eq!(tokens.lock().expect("no panic").len(), 1, "{error}");
    }
}
