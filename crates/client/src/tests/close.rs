//! `Client::close`: refused calls, awaited calls, revoked leases, and the report of the rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::leases::{Manner, Script, one};
use super::peer::{Asked, Peers};
use crate::lease::LeaseEnd;
use crate::{ErrorKind, LeaseId, LeaseState, Outcome};

const GRACE: Duration = Duration::from_secs(20);

fn id(number: i64) -> LeaseId {
    LeaseId::new(number).expect("not 0")
}

/// Answers the calls that the peer holds.
fn release(script: &Script) {
    let held = std::mem::take(&mut *script.held.lock().expect("no panic"));
    held.into_iter().for_each(Asked::answer_well);
}

/// A peer that counts the connections that are open.
fn counted(script: &Script) -> (Peers, Arc<AtomicUsize>) {
    let (script, open) = (script.clone(), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&open);
    let peers = Peers::one(move |_, stream| {
        let (script, open) = (script.clone(), Arc::clone(&counter));
        async move {
            open.fetch_add(1, Ordering::Relaxed);
            script.serve(stream).await;
            open.fetch_sub(1, Ordering::Relaxed);
        }
    });
    (peers, open)
}

#[tokio::test(start_paused = true)]
async fn a_close_waits_for_calls_and_refuses_new_ones() {
    let script = Script::new(Manner::Answer);
    let (peers, open) = counted(&script);
    let client = peers.client().await;
    let call = tokio::spawn(client.put("hang", "v"));
    sleep(Duration::from_millis(10)).await;
    let closing = tokio::spawn({
        let client = client.clone();
        async move { client.close(GRACE).await }
    });
    sleep(Duration::from_secs(4)).await;
    let error = client.get("k").await.expect_err("the client is closing");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert_eq!(error.outcome(), Outcome::NotSent, "{error}");
    let error = client
        .list("k")
        .try_next()
        .await
        .expect_err("the client is closing");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    let error = client.get("k").stream().try_next().await;
    assert_eq!(error.expect_err("closing").kind(), ErrorKind::Closed);
    assert!(!closing.is_finished());
    let begun = Instant::now();
    release(&script);
    assert!(closing.await.expect("no panic").is_clean());
    assert!(begun.elapsed() < Duration::from_millis(100));
    call.await.expect("no panic").expect("an answer");
    // The handle still exists, and its connection is closed.
    sleep(Duration::from_millis(100)).await;
    assert_eq!(open.load(Ordering::Relaxed), 0);
    assert!(client.close(GRACE).await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn calls_without_an_answer_within_the_grace_end() {
    let script = Script::new(Manner::Answer);
    let (peers, open) = counted(&script);
    let client = peers.client().await;
    let calls = [
        tokio::spawn(client.put("hang", "v").no_timeout()),
        tokio::spawn(client.put("hang", "w").no_timeout()),
    ];
    let read = tokio::spawn(client.get("hang").no_timeout());
    sleep(Duration::from_millis(10)).await;
    let begun = Instant::now();
    let left = client.close(GRACE).await;
    assert_eq!(begun.elapsed().as_secs(), GRACE.as_secs());
    assert_eq!((left.calls, left.leases.len()), (3, 0));
    for call in calls {
        let error = call
            .await
            .expect("no panic")
            .expect_err("the client is closed");
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
        assert_eq!(error.attempts(), 1, "{error}");
    }
    let error = read
        .await
        .expect("no panic")
        .expect_err("the client is closed");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert_eq!(begun.elapsed().as_secs(), GRACE.as_secs());
    sleep(Duration::from_millis(100)).await;
    assert_eq!(open.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn leases_are_renewed_until_the_calls_are_answered_and_then_revoked() {
    let script = Script::new(Manner::Answer);
    let client = one(&script).client().await;
    let mut keepers: Vec<_> = (1..=200).map(|number| client.keep(id(number))).collect();
    let extra = client.keep(id(7));
    for keeper in &mut keepers {
        keeper.changed().await;
    }
    drop(keepers.pop());
    let call = tokio::spawn(client.put("hang", "v").no_timeout());
    sleep(Duration::from_millis(10)).await;
    let before = script.renewals();
    let begun = Instant::now();
    let left = client.close(GRACE).await;
    // The call had three quarters of the grace, and the leases took no time.
    assert_eq!(begun.elapsed().as_secs(), 15);
    assert_eq!((left.calls, left.leases.len()), (1, 0));
    assert!(call.await.expect("no panic").is_err());
    // Renewals of leases of six seconds, over fifteen seconds.
    assert!(
        script.renewals() > before + 199 * 5,
        "the leases were renewed"
    );
    let mut revoked = script.revoked.lock().expect("no panic").clone();
    revoked.sort_unstable();
    assert_eq!(revoked, (1..=199).collect::<Vec<_>>(), "each once");
    for keeper in keepers.iter().chain([&extra]) {
        assert_eq!(keeper.state(), LeaseState::Lost(LeaseEnd::Revoked));
    }
    let after = script.renewals();
    sleep(GRACE).await;
    assert_eq!(script.renewals(), after);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_not_revoked_is_reported() {
    let script = Script::new(Manner::Answer);
    let client = one(&script).client().await;
    let mut keeper = client.keep(id(7));
    keeper.changed().await;
    script.set_manner(Manner::Silent);
    let begun = Instant::now();
    let left = client.close(Duration::from_secs(4)).await;
    assert_eq!(begun.elapsed().as_secs(), 4);
    assert_eq!((left.calls, left.leases), (0, vec![id(7)]));
    assert!(!matches!(keeper.state(), LeaseState::Lost(_)));
}

#[tokio::test(start_paused = true)]
async fn a_close_that_was_dropped_can_be_repeated() {
    let script = Script::new(Manner::Answer);
    let client = one(&script).client().await;
    let mut keeper = client.keep(id(7));
    keeper.changed().await;
    let call = tokio::spawn(client.put("hang", "v").no_timeout());
    sleep(Duration::from_millis(10)).await;
    let closing = tokio::time::timeout(Duration::from_secs(1), client.close(GRACE));
    closing.await.expect_err("the call hangs");
    assert!(client.get("k").await.is_err(), "the client stays closed");
    // The stream of renewals hangs, so the client may open another one.
    script.set_manner(Manner::Silent);
    sleep(Duration::from_secs(4)).await;
    script.set_manner(Manner::Answer);
    sleep(GRACE).await;
    assert!(matches!(keeper.state(), LeaseState::Alive { .. }));
    release(&script);
    call.await.expect("no panic").expect("an answer");
    assert!(client.close(GRACE).await.is_clean());
    assert_eq!(keeper.state(), LeaseState::Lost(LeaseEnd::Revoked));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_a_connection_is_refused() {
    let client = crate::Client::builder()
        .endpoint("http://absent:1")
        .connector(Peers::default())
        .no_timeout()
        .connect_lazy()
        .expect("a client");
    let call = tokio::spawn(client.put("k", "v"));
    sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    assert!(client.close(GRACE).await.is_clean());
    assert!(begun.elapsed() < Duration::from_millis(100));
    let error = call
        .await
        .expect("no panic")
        .expect_err("the client is closed");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert_eq!(error.outcome(), Outcome::NotSent, "{error}");
}
