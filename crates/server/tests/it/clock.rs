//! The clock of a server, turned forward by a test.

use std::time::Duration;

use etcdex::{Batch, Client, LeaseState, WatchStream};
use etcdex_server::Server;
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
