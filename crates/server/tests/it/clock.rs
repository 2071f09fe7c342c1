//! The clock of a server, turned forward by a test.

use std::time::Duration;

use etcdex::{Batch, Client, ErrorKind, LeaseState, WatchStream};
use etcdex_server::{AutoCompaction, Server};
use tokio::time::timeout;

/// Longer than any wait takes. Nothing here waits for as long as the clock is turned.
const DEADLINE: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3_600);

async fn start(server: etcdex_server::ServerBuilder) -> (Server, Client) {
    let server = server.start().await.unwrap();
    let client = Client::connect(server.client_url()).await.unwrap();
    (server, client)
}

#[tokio::test]
async fn leases_end_when_the_clock_is_turned() {
    let (server, client) = start(Server::builder()).await;
    let lease = client.grant(HOUR).await.unwrap().id;
    client.put("k", "v").lease(lease).await.unwrap();
    let mut watch = client.watch("k").await.unwrap();
    server.clock().advance(HOUR - Duration::from_secs(60));
    assert_eq!(client.get("k").await.unwrap().count, 1);
    let left = client.ttl(lease).await.unwrap();
    let left = left.ttl.expect("it is alive");
    assert!(left <= Duration::from_secs(60), "{left:?}");
    server.clock().advance(Duration::from_secs(60));
    // The keys are gone when the call returns.
    assert_eq!(client.get("k").await.unwrap().count, 0);
    let batch = timeout(DEADLINE, watch.try_next()).await;
    let batch = batch.unwrap().unwrap().unwrap();
    assert_eq!(batch.events[0].kind, etcdex::EventKind::Delete);
    // It can be turned too far, but not back.
    server.clock().advance(Duration::MAX);
    server.clock().advance(Duration::MAX);
    let lease = client.grant(HOUR).await.unwrap().id;
    assert!(client.ttl(lease).await.unwrap().ttl.is_some());
}

#[tokio::test]
async fn a_kept_lease_that_the_clock_has_ended_is_reported_by_the_next_renewal() {
    let (server, client) = start(Server::builder()).await;
    let lease = client.grant(Duration::from_secs(2)).await.unwrap().id;
    let mut keeper = client.keep(lease);
    let mut state = keeper.state();
    timeout(DEADLINE, async {
        while !matches!(state, LeaseState::Alive { .. }) {
            state = keeper.changed().await;
        }
        server.clock().advance(HOUR);
        while !matches!(state, LeaseState::Lost(_)) {
            state = keeper.changed().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn idle_watches_are_told_of_progress_when_the_clock_is_turned() {
    let (server, client) = start(Server::builder().watch_progress_notify_interval(HOUR)).await;
    let mut idle = client.watch("idle").progress_notify().await.unwrap();
    let mut busy = client.watch("busy").progress_notify().await.unwrap();
    let put = client.put("busy", "v").await.unwrap().header.revision;
    while next(&mut busy).await.events.is_empty() {}
    server.clock().advance(HOUR);
    while next(&mut idle).await.revision < put {}
    // The other one was told of a change, so it is told of progress only the next time.
    let later = client.put("elsewhere", "v").await.unwrap().header.revision;
    server.clock().advance(HOUR);
    let batch = next(&mut busy).await;
    assert!(batch.is_progress());
    assert_eq!(batch.revision, later);
}

async fn next(stream: &mut WatchStream) -> Batch {
    let batch = timeout(DEADLINE, stream.try_next()).await;
    batch.expect("soon").unwrap().expect("it goes on")
}

/// Returns whether the store is compacted at a later revision than this.
async fn compacted(client: &Client, revision: i64) -> bool {
    match client.get("k").revision(revision).await {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Compacted, "{error}");
            true
        }
    }
}

#[tokio::test]
async fn the_history_of_a_time_is_kept() {
    let kept = AutoCompaction::Periodic(HOUR);
    let (server, client) = start(Server::builder().auto_compaction(kept)).await;
    let old = client.put("k", "1").await.unwrap().header.revision;
    for _ in 0..5 {
        turn(&server, HOUR / 10).await;
    }
    let new = client.put("k", "2").await.unwrap().header.revision;
    for _ in 0..7 {
        turn(&server, HOUR / 10).await;
    }
    // The first compaction is at the revision of the start, and the second one an hour later.
    assert!(!compacted(&client, old).await);
    for _ in 0..9 {
        turn(&server, HOUR / 10).await;
    }
    until("the old revision is gone", || compacted(&client, old)).await;
    for _ in 0..11 {
        turn(&server, HOUR / 10).await;
    }
    // The last one is never gone.
    assert!(!compacted(&client, new).await);
}

/// Turns the clock, and waits until the server has had a turn.
async fn turn(server: &Server, by: Duration) {
    server.clock().advance(by);
    // The server's thread looks at the clock before it takes a new connection.
    let address = server.client_url();
    Client::connect(address)
        .await
        .unwrap()
        .get("k")
        .await
        .unwrap();
}

async fn until<T: Future<Output = bool>>(expected: &str, condition: impl Fn() -> T) {
    timeout(DEADLINE, async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect(expected);
}

#[tokio::test]
async fn a_number_of_revisions_is_kept() {
    let kept = AutoCompaction::Revision(3);
    let (server, client) = start(Server::builder().auto_compaction(kept)).await;
    for number in 0..10 {
        client.put("k", number.to_string()).await.unwrap();
    }
    let last = client.get("k").await.unwrap().header.revision;
    assert!(!compacted(&client, 2).await);
    server.clock().advance(Duration::from_secs(300));
    until("it is compacted", || compacted(&client, last - 4)).await;
    assert!(!compacted(&client, last - 3).await);
}
