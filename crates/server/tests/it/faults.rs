//! Faults that a test causes, as the client meets them.

use std::time::Duration;

use etcdex::{Client, ErrorKind, Outcome, WatchStream};
use etcdex_proto::method::{kv, watch};
use etcdex_server::{Code, Server};
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(30);
/// The time of a call that is not answered.
const SOON: Duration = Duration::from_millis(200);

async fn start() -> (Server, Client) {
    let server = Server::builder().start().await.unwrap();
    let client = Client::connect(server.client_url()).await.unwrap();
    (server, client)
}

async fn next_value(stream: &mut WatchStream) -> String {
    loop {
        let batch = timeout(DEADLINE, stream.try_next()).await.expect("soon");
        let batch = batch.unwrap().expect("it goes on");
        if let Some(event) = batch.events.first() {
            return event.kv.value_str().unwrap().to_owned();
        }
    }
}

#[tokio::test]
async fn calls_are_refused_by_method_and_number() {
    let (server, client) = start().await;
    let puts = server.faults().method(kv::PUT);
    puts.refuse(2, Code::PermissionDenied, "etcdserver: permission denied");
    for _ in 0..2 {
        let error = client.put("k", "v").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    }
    assert_eq!(
        client.get("k").await.unwrap().count,
        0,
        "they were not carried out"
    );
    client.put("k", "v").await.unwrap();
    puts.refuse(0, Code::Internal, "nothing");
    client.put("k", "v").await.unwrap();
}

#[tokio::test]
async fn a_server_that_hangs_answers_pings_and_goes_on_when_it_is_healed() {
    let (server, client) = start().await;
    let mut stream = client.watch("k").await.unwrap();
    let connections = server.connections();
    server.faults().hang();
    let error = client.get("k").timeout(SOON).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    let put = tokio::spawn(client.put("k", "late").timeout(DEADLINE).into_future());
    assert!(timeout(SOON, stream.try_next()).await.is_err());
    assert!(!put.is_finished());
    assert!(
        connections
            .iter()
            .all(|one| server.connections().contains(one))
    );
    server.faults().heal();
    timeout(DEADLINE, put).await.unwrap().unwrap().unwrap();
    assert_eq!(next_value(&mut stream).await, "late");
}

#[tokio::test]
async fn one_method_hangs_and_another_one_is_delayed() {
    let (server, client) = start().await;
    server.faults().method(kv::RANGE).hang();
    server.faults().method(kv::PUT).delay(SOON);
    let begun = tokio::time::Instant::now();
    client.put("k", "v").timeout(DEADLINE).await.unwrap();
    assert!(begun.elapsed() >= SOON);
    client.get("k").timeout(SOON).await.unwrap_err();
    client.delete("k").await.unwrap();
}

#[tokio::test]
async fn a_stalled_connection_is_replaced() {
    let server = Server::builder().start().await.unwrap();
    let other = Client::connect(server.client_url()).await.unwrap();
    let [first] = server.connections()[..] else {
        panic!("one connection");
    };
    let builder = Client::builder().endpoint(server.client_url());
    let builder = builder
        .keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(1));
    let client = builder.connect().await.unwrap();
    let stalled = server.connections();
    let stalled = stalled.iter().find(|one| **one != first).unwrap();
    server.faults().connection(*stalled).stall();
    // The client finds out by itself, and its call is answered over a new connection.
    client.get("k").timeout(DEADLINE).await.unwrap();
    assert!(
        server
            .connections()
            .iter()
            .any(|one| one != stalled && *one != first)
    );
    other.get("k").timeout(SOON).await.unwrap();
    assert!(server.connections().contains(&first));
}

#[tokio::test]
async fn a_watch_outlives_cut_connections_and_goaways() {
    let (server, client) = start().await;
    let mut stream = client.watch("k").await.unwrap();
    for number in 0..20 {
        let before = server.connections();
        match number % 2 {
            0 => server.faults().cut(),
            _ => server.faults().go_away(),
        }
        let value = number.to_string();
        let put = async { while client.put("k", &*value).await.is_err() {} };
        timeout(DEADLINE, put).await.unwrap();
        let mut told = next_value(&mut stream).await;
        while told != value {
            told = next_value(&mut stream).await;
        }
        let is_new = || server.connections().iter().any(|one| !before.contains(one));
        let wait = async {
            while !is_new() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(DEADLINE, wait).await.expect("another connection");
    }
}

#[tokio::test]
async fn bytes_come_one_by_one() {
    let (server, client) = start().await;
    client.put("k", "v".repeat(5_000)).await.unwrap();
    server.faults().fragment(1);
    let value = client.get("k").string().await.unwrap().unwrap();
    assert_eq!(value.len(), 5_000);
}

#[tokio::test]
async fn without_a_leader_calls_fail_and_watches_go_on() {
    let (server, client) = start().await;
    let mut stream = client.watch("k").await.unwrap();
    let strict = client.require_leader(true);
    server.faults().lose_leader();
    let error = strict.put("k", "no").timeout(DEADLINE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoLeader, "{error}");
    let error = client.put("k", "no").timeout(SOON).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    client.maintenance().status().await.unwrap();
    server.faults().heal();
    client.put("k", "yes").timeout(DEADLINE).await.unwrap();
    while next_value(&mut stream).await != "yes" {}
}

#[tokio::test]
async fn tokens_end_and_history_is_compacted_now() {
    let (server, client) = start().await;
    client.put("k", "one").await.unwrap();
    let two = client.put("k", "two").await.unwrap().header.revision;
    server.faults().compact();
    server.faults().compact();
    let error = client.get("k").revision(two - 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Compacted, "{error}");
    client.auth().add_user("root", "secret").await.unwrap();
    client.auth().add_role("root").await.unwrap();
    client.auth().grant_role("root", "root").await.unwrap();
    client.auth().enable().await.unwrap();
    let builder = Client::builder().endpoint(server.client_url());
    let root = builder
        .credentials("root", "secret")
        .connect()
        .await
        .unwrap();
    root.get("k").await.unwrap();
    server.faults().expire_tokens();
    // The client logs in again.
    root.get("k").await.unwrap();
    let mut stream = root.watch("k").await.unwrap();
    server.clock().advance(Duration::from_secs(3_600));
    root.put("k", "three").await.unwrap();
    assert_eq!(next_value(&mut stream).await, "three");
}

#[tokio::test]
async fn a_stream_of_watches_is_refused_and_opened_again() {
    let (server, client) = start().await;
    let watches = server.faults().method(watch::WATCH);
    watches.refuse(1, Code::Unavailable, "etcdserver: too many requests");
    let mut stream = timeout(DEADLINE, client.watch("k")).await.unwrap().unwrap();
    client.put("k", "v").await.unwrap();
    assert_eq!(next_value(&mut stream).await, "v");
}

/// The write is applied, and its reply is lost: the client says that it does not know.
#[tokio::test]
async fn the_connection_of_a_method_is_cut_before_its_reply() {
    let (server, client) = start().await;
    client.get("k").await.unwrap();
    server.faults().method(kv::PUT).cut();
    client.get("k").await.unwrap();
    let error = client.put("k", "v").await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    assert_eq!(
        client.get("k").string().await.unwrap().as_deref(),
        Some("v")
    );
    client.put("k", "w").await.expect("it comes once");
    // A connection without such a call stays.
    let other = Client::connect(server.client_url()).await.unwrap();
    other.get("k").await.unwrap();
    let before = server.connections();
    server.faults().method(kv::DELETE_RANGE).cut();
    client.delete("k").await.unwrap_err();
    other.get("k").await.unwrap();
    assert!(server.connections().contains(before.last().unwrap()));
}

#[tokio::test]
async fn the_connection_of_a_method_stalls_until_it_is_healed() {
    let (server, client) = start().await;
    let only = server.connections()[0];
    let elsewhere = "127.0.0.1:1".parse().unwrap();
    server.faults().connection(elsewhere).method(kv::PUT).cut();
    server.faults().connection(only).method(kv::PUT).stall();
    client.get("k").await.unwrap();
    let put = tokio::spawn(client.put("k", "v").timeout(DEADLINE).into_future());
    // Once the put has come, nothing is answered.
    let stalled = async { while client.get("k").timeout(SOON).await.is_ok() {} };
    timeout(DEADLINE, stalled).await.expect("it stalls");
    assert!(!put.is_finished());
    server.faults().heal();
    put.await.unwrap().unwrap();
}

/// A watch is one call, and its reply begins with the response that says that it is there.
#[tokio::test]
async fn a_stream_is_cut_before_its_first_response() {
    let (server, client) = start().await;
    server.faults().method(watch::WATCH).cut();
    let mut stream = client.watch("k").await.unwrap();
    client.put("k", "v").await.unwrap();
    assert_eq!(next_value(&mut stream).await, "v");
    server.faults().method(kv::PUT).go_away();
    client.put("k", "w").await.unwrap();
    assert_eq!(next_value(&mut stream).await, "w");
}
