//! Requests that are sent again, and requests that never are: the peer counts them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::DuplexStream;
use tokio::time::Instant;

use super::peer::{Asked, Peers, handshake, read, serve, serve_well};
use crate::{Client, ErrorKind, Outcome};

/// A peer that counts all requests and handles the first ones differently.
fn counting<F>(
    first: usize,
    wrong: impl Fn(Asked) -> F + Clone + Send + Sync + 'static,
) -> (Peers, Arc<AtomicUsize>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let peers = Peers::one(move |_, stream: DuplexStream| {
        let (counter, wrong) = (Arc::clone(&counter), wrong.clone());
        serve(stream, move |asked: Asked| {
            let number = counter.fetch_add(1, Ordering::Relaxed);
            let wrong = (number < first).then(|| wrong.clone());
            async move {
                match wrong {
                    Some(wrong) => wrong(asked).await,
                    None => asked.answer_well(),
                }
            }
        })
    });
    (peers, count)
}

async fn unavailable(asked: Asked) {
    asked.fail("14", "etcdserver: leader changed");
}

async fn refuse(mut asked: Asked) {
    asked.reply.send_reset(h2::Reason::REFUSED_STREAM);
}

#[tokio::test(start_paused = true)]
async fn a_read_is_sent_again_while_the_server_is_unavailable() {
    let (peers, count) = counting(3, unavailable);
    peers
        .client()
        .await
        .get("k")
        .await
        .expect("the fourth attempt succeeds");
    assert_eq!(count.load(Ordering::Relaxed), 4);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_only_reads_is_a_read() {
    let (peers, count) = counting(1, unavailable);
    let client = peers.client().await;
    client
        .txn()
        .then(crate::Get::new("k"))
        .await
        .expect("the second attempt succeeds");
    assert_eq!(count.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_may_have_been_applied_is_never_sent_again() {
    let calls: [fn(&Client) -> futures::Boxed; 5] = [
        |client| futures::boxed(client.put("k", "v")),
        |client| futures::boxed(client.delete("k")),
        |client| futures::boxed(client.txn().then(crate::Put::new("k", "v"))),
        |client| futures::boxed(client.put_if_absent("k", "v")),
        |client| futures::boxed(client.compact(1)),
    ];
    for call in calls {
        let (peers, count) = counting(usize::MAX, unavailable);
        let error = call(&peers.client().await)
            .await
            .expect_err("the server says no");
        assert_eq!(error.outcome(), Outcome::Unknown);
        assert_eq!(count.load(Ordering::Relaxed), 1, "{error}");

        // The same when the connection breaks.
        let count = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&count);
        let peers = Peers::one(move |_, stream| take_and_break(stream, Arc::clone(&counter)));
        let error = call(&peers.client().await)
            .await
            .expect_err("the connection broke");
        assert_eq!(error.outcome(), Outcome::Unknown);
        assert_eq!(count.load(Ordering::Relaxed), 1, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_time_is_over_is_not_handed_to_a_connection() {
    let (peers, count) = counting(0, unavailable);
    let client = peers.client().await;
    let put = client.put("k", "v").timeout(Duration::ZERO).await;
    let error = put.expect_err("there is no time");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert_eq!(error.outcome(), Outcome::NotSent, "{error}");
    assert_eq!(error.attempts(), 0, "{error}");

    // The connection is up long before the caller polls again.
    let client = peers
        .builder()
        .connect_lazy()
        .expect("the options are valid");
    let mut put = Box::pin(client.put("k", "v").timeout(Duration::from_secs(1)));
    assert!(super::peer::poll_once(&mut put).is_pending());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let error = put.await.expect_err("the time is over");
    assert_eq!(error.outcome(), Outcome::NotSent, "{error}");
    assert_eq!(count.load(Ordering::Relaxed), 0);
}

/// A read changes nothing, so its error does not say that the request may have been applied.
#[tokio::test(start_paused = true)]
async fn only_the_errors_of_writes_say_that_they_may_have_been_applied() {
    let lease = crate::LeaseId::new(7).expect("not 0");
    let reads: [&dyn Fn(&Client) -> futures::Boxed; 8] = [
        &|client| futures::boxed(client.get("k")),
        &|client| futures::boxed(client.txn().then(crate::Get::new("k"))),
        &|client| futures::boxed(client.ttl(lease)),
        &|client| futures::boxed(client.leases()),
        &|client| futures::boxed(client.list_members()),
        &|client| futures::boxed(client.maintenance().status()),
        &|client| futures::boxed(client.maintenance().list_alarms()),
        &|client| futures::boxed(client.auth().list_users()),
    ];
    let writes: [&dyn Fn(&Client) -> futures::Boxed; 4] = [
        &|client| futures::boxed(client.put("k", "v")),
        &|client| futures::boxed(client.txn().then(crate::Put::new("k", "v"))),
        &|client| futures::boxed(client.keep_alive_once(lease)),
        &|client| futures::boxed(client.grant(Duration::from_secs(9))),
    ];
    let calls = reads.map(|call| (call, false)).into_iter();
    for (call, may) in calls.chain(writes.map(|call| (call, true))) {
        let (peers, _) = counting(usize::MAX, unavailable);
        let error = call(&peers.client().await)
            .await
            .expect_err("the call fails");
        assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
        let says = error.to_string().contains("it may have been applied");
        assert_eq!(says, may, "{error}");
    }
}

/// Reads one complete request, and breaks the connection.
async fn take_and_break(stream: DuplexStream, count: Arc<AtomicUsize>) {
    let mut connection = handshake(stream).await;
    if let Some(Ok((request, reply))) = connection.accept().await {
        tokio::select! {
            _ = read(request, reply) => {}
            _ = connection.accept() => {}
        }
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_with_a_refused_stream_is_sent_again_even_a_write() {
    let (peers, count) = counting(3, refuse);
    peers
        .client()
        .await
        .put("k", "v")
        .await
        .expect("the fourth attempt succeeds");
    assert_eq!(count.load(Ordering::Relaxed), 4);
}

/// Two endpoints: one that fails and counts every request, and one that answers them.
fn beside_a_good_one<F>(
    wrong: impl Fn(Asked) -> F + Clone + Send + Sync + 'static,
) -> (Peers, Arc<AtomicUsize>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (peers, count) = counting(usize::MAX, wrong);
    (
        peers.and("http://well:1", |_, stream| serve_well(stream)),
        count,
    )
}

/// With these texts a member says that it has not applied the write. Another member may apply it.
#[tokio::test(start_paused = true)]
async fn a_write_that_a_member_has_refused_goes_to_another() {
    for (status, text) in [
        ("14", "etcdserver: rpc not supported for learner"),
        ("9", "etcdserver: rpc not supported for learner"),
        ("14", "etcdserver: no leader"),
        ("14", "etcdserver: not capable"),
        ("8", "etcdserver: too many requests"),
        ("2", "raft proposal dropped"),
    ] {
        // The first endpoint is chosen at random.
        let mut refused = 0;
        for seed in 0..8 {
            fastrand::seed(seed);
            let (peers, count) = beside_a_good_one(move |asked| async move {
                asked.fail(status, text);
            });
            let client = peers.client().await;
            let start = Instant::now();
            client.put("k", "v").await.expect("the other member serves");
            assert_eq!(start.elapsed(), Duration::ZERO, "{text}");
            refused += count.load(Ordering::Relaxed);
        }
        assert!((1..=8).contains(&refused), "{text}: {refused}");
    }
}

/// A single member would refuse again with the same text: the call fails at once.
#[tokio::test(start_paused = true)]
async fn a_write_that_the_only_member_cannot_serve_fails_at_once() {
    let (peers, count) = counting(usize::MAX, |asked| async move {
        asked.fail("14", "etcdserver: rpc not supported for learner");
    });
    let start = Instant::now();
    let put = peers.client().await.put("k", "v").await;
    let error = put.expect_err("the member is a learner");
    assert_eq!(error.kind(), ErrorKind::Learner);
    assert_eq!(error.outcome(), Outcome::Rejected);
    assert_eq!(count.load(Ordering::Relaxed), 1);
    assert_eq!(start.elapsed(), Duration::ZERO);
}

/// Two learners and no member that serves: the call asks both and gives up.
#[tokio::test(start_paused = true)]
async fn a_write_that_all_members_refuse_fails() {
    let learner = |_, stream| {
        serve(stream, |asked: Asked| async move {
            asked.fail("9", "etcdserver: rpc not supported for learner");
        })
    };
    let peers = Peers::default()
        .and("http://one:1", learner)
        .and("http://two:1", learner);
    let put = peers.client().await.put("k", "v").await;
    let error = put.expect_err("both are learners");
    assert_eq!(error.kind(), ErrorKind::Learner);
    assert_eq!(error.attempts(), 3, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_a_server_refuses_goes_to_another() {
    for seed in 0..8 {
        fastrand::seed(seed);
        let (peers, count) = beside_a_good_one(refuse);
        let client = peers.client().await;
        let start = Instant::now();
        client.put("k", "v").await.expect("the other one serves");
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert!(count.load(Ordering::Relaxed) <= 1, "seed {seed}");
    }
}

/// The connection stays up: only the limit of retries ends the call.
#[tokio::test(start_paused = true)]
async fn a_stream_that_is_refused_everywhere_is_not_sent_without_end() {
    let (peers, count) = counting(usize::MAX, refuse);
    let put = peers.client().await.put("k", "v").no_timeout().await;
    let error = put.expect_err("no stream is taken");
    assert_eq!(error.outcome(), Outcome::NotSent);
    assert_eq!(count.load(Ordering::Relaxed), 11, "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_number_of_retries_is_a_setting() {
    let (peers, count) = counting(usize::MAX, unavailable);
    let client = peers.client_with_retries(2).await;
    let error = client.get("k").await.expect_err("the server says no");
    assert_eq!(error.kind(), ErrorKind::LeaderChanged);
    assert_eq!((error.attempts(), count.load(Ordering::Relaxed)), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_whole_client_runs_out_of_retries() {
    let (peers, count) = counting(usize::MAX, unavailable);
    let client = peers.client().await;
    let calls: Vec<_> = (0..1_000).map(|_| tokio::spawn(client.get("k"))).collect();
    for call in calls {
        call.await
            .expect("no panic")
            .expect_err("the server says no");
    }
    // One attempt for each call, and a thousand retries for all of them together.
    assert_eq!(count.load(Ordering::Relaxed), 2_000);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_is_final_at_once() {
    let (peers, count) = counting(usize::MAX, |asked| async move {
        asked.fail(
            "11",
            "etcdserver: mvcc: required revision is a future revision",
        );
    });
    let start = Instant::now();
    let error = peers
        .client()
        .await
        .get("k")
        .revision(9)
        .await
        .expect_err("the revision is in the future");
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::FutureRevision, Outcome::Rejected)
    );
    assert_eq!(count.load(Ordering::Relaxed), 1);
    assert_eq!(start.elapsed(), Duration::ZERO);
}

/// Behavior the handshake, and is silent from then on: it does not even answer pings.
async fn black_hole(stream: DuplexStream) {
    let mut connection = handshake(stream).await;
    // The ping of the handshake comes at once; after it the connection is not polled any more.
    let _ = tokio::time::timeout(Duration::from_millis(1), connection.accept()).await;
    std::future::pending::<()>().await;
}

#[tokio::test(start_paused = true)]
async fn reads_on_a_black_holed_connection_are_answered_elsewhere_in_time() {
    // The client chooses the first endpoint at random: the rounds have both orders.
    for seed in 0..8 {
        fastrand::seed(seed);
        let peers = Peers::default()
            .and("http://hole:1", |_, stream| black_hole(stream))
            .and("http://well:1", |_, stream| serve_well(stream));
        let client = peers.client().await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        let start = Instant::now();
        let calls: Vec<_> = (0..100).map(|_| tokio::spawn(client.get("k"))).collect();
        for call in calls {
            call.await
                .expect("no panic")
                .expect("the other endpoint answers");
        }
        assert!(start.elapsed() < Duration::from_secs(5), "seed {seed}");
        // Long before the default time-out is over, new calls do not try the silent endpoint.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let start = Instant::now();
        client
            .put("k", "v")
            .await
            .expect("the call goes to the other endpoint at once");
        assert_eq!(start.elapsed(), Duration::ZERO, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_a_slow_server_when_there_is_no_other() {
    let (peers, count) = counting(1, |asked| async move {
        tokio::time::sleep(Duration::from_millis(4_500)).await;
        asked.answer_well();
    });
    peers
        .client()
        .await
        .get("k")
        .await
        .expect("an answer, late and in time");
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

/// With another endpoint, a read gives the first one less than half of its time, but not if it has
/// no retry.
#[tokio::test(start_paused = true)]
async fn a_read_without_retries_waits_for_all_of_its_time() {
    let slow = |_, stream| {
        serve(stream, |asked: Asked| async move {
            tokio::time::sleep(Duration::from_secs(4)).await;
            asked.answer_well();
        })
    };
    let peers = Peers::default()
        .and("http://one:1", slow)
        .and("http://two:1", slow);
    let client = peers.client_with_retries(0).await;
    client.get("k").await.expect("an answer after four seconds");
}

#[tokio::test(start_paused = true)]
async fn the_server_gets_the_remaining_time() {
    for (client_says, wanted) in [(None, "5000m"), (Some(70), "70000m")] {
        let told = Arc::new(std::sync::Mutex::new(None));
        let teller = Arc::clone(&told);
        let peers = Peers::one(move |_, stream| {
            let teller = Arc::clone(&teller);
            serve(stream, move |asked: Asked| {
                let timeout = asked.headers.get("grpc-timeout").cloned();
                *teller.lock().expect("no panic") = timeout;
                async move { asked.answer_well() }
            })
        });
        let call = peers.client().await.get("k");
        match client_says {
            Some(seconds) => call.timeout(Duration::from_secs(seconds)).await,
            None => call.await,
        }
        .expect("an answer");
        let told = told
            .lock()
            .expect("no panic")
            .take()
            .expect("the server got a time-out");
        assert_eq!(told, wanted);
    }
}

/// Calls of different requests, as one type.
mod futures {
    use std::pin::Pin;

    use crate::{Call, Error, Request};

    pub(super) type Boxed = Pin<Box<dyn Future<Output = Result<(), Error>>>>;

    pub(super) fn boxed<R: Request>(call: Call<R>) -> Boxed {
        Box::pin(async move { call.await.map(drop) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_without_time_is_not_sent() {
    let (peers, count) = counting(0, |asked| async move { asked.answer_well() });
    let client = peers.client().await;
    let started = Instant::now();
    let handle = client.with_timeout(Duration::ZERO);
    let put = client.put("k", "v").timeout(Duration::ZERO).await;
    let (put, get) = (put.map(drop), handle.get("k").await.map(drop));
    for outcome in [put, get] {
        let error = outcome.expect_err("the call has no time");
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert_eq!(error.outcome(), Outcome::NotSent);
    }
    let lazy = peers
        .builder()
        .connect_lazy()
        .expect("the options are valid");
    let error = lazy.put("k", "v").timeout(Duration::ZERO).await;
    assert_eq!(
        error.expect_err("the call has no time").outcome(),
        Outcome::NotSent
    );
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(count.load(Ordering::Relaxed), 0);
}
