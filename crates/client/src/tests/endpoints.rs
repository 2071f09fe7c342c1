//! Several endpoints: how calls spread over them, and what happens when they come, go and
//! grow old.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::DuplexStream;

use super::peer::{Asked, Peers, serve};
use crate::Mode;

const URLS: [&str; 3] = ["http://a:1", "http://b:1", "http://c:1"];

/// Three peers that count what they are asked.
fn three() -> (Peers, [Arc<AtomicUsize>; 3]) {
    let counts = [(); 3].map(|()| Arc::new(AtomicUsize::new(0)));
    let peers = URLS
        .iter()
        .zip(&counts)
        .fold(Peers::default(), |peers, (url, count)| {
            let count = Arc::clone(count);
            peers.and(url, move |_, stream: DuplexStream| {
                let count = Arc::clone(&count);
                serve(stream, move |asked: Asked| {
                    count.fetch_add(1, Ordering::Relaxed);
                    async move { asked.answer_well() }
                })
            })
        });
    (peers, counts)
}

fn asked(counts: &[Arc<AtomicUsize>; 3]) -> [usize; 3] {
    [0, 1, 2].map(|place: usize| counts[place].load(Ordering::Relaxed))
}

#[tokio::test(start_paused = true)]
async fn pick_first_stays_with_one_endpoint_and_a_fleet_spreads() {
    let mut homes = [0; 3];
    for seed in 0..30 {
        fastrand::seed(seed);
        let (peers, counts) = three();
        let client = peers.client().await;
        for _ in 0..20 {
            client.get("k").await.expect("an answer");
        }
        let home = asked(&counts).iter().position(|&count| count == 20);
        homes[home.expect("all go to one")] += 1;
    }
    assert!(homes.iter().all(|&clients| clients > 3), "{homes:?}");
}

#[tokio::test(start_paused = true)]
async fn the_other_modes_use_every_endpoint() {
    for mode in [Mode::Random, Mode::ConnectAll] {
        fastrand::seed(7);
        let (peers, counts) = three();
        let client = peers
            .builder()
            .mode(mode)
            .connect()
            .await
            .expect("it connects");
        while URLS.iter().any(|url| peers.connections(url) == 0) {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        for _ in 0..20 {
            let calls: Vec<_> = (0..30).map(|_| tokio::spawn(client.get("k"))).collect();
            for call in calls {
                call.await.expect("no panic").expect("an answer");
            }
        }
        let counts = asked(&counts);
        assert!(
            counts.iter().all(|&count| count > 100),
            "{mode:?}: {counts:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn connect_all_leaves_a_busy_endpoint_alone() {
    let stuck = |_, stream| {
        serve(stream, |asked: Asked| async move {
            std::future::pending::<()>().await;
            drop(asked);
        })
    };
    let well = |_, stream| serve(stream, |asked: Asked| async move { asked.answer_well() });
    let peers = Peers::default().and(URLS[0], stuck).and(URLS[1], well);
    let builder = peers.builder().mode(Mode::ConnectAll);
    let client = builder.connect().await.expect("it connects");
    tokio::time::sleep(Duration::from_millis(10)).await;
    // Of two that have nothing to do, the first one gets the call.
    let stuck = tokio::spawn(client.put("k", "v").no_timeout());
    tokio::task::yield_now().await;
    for _ in 0..100 {
        client
            .put("k", "v")
            .await
            .expect("it goes to the endpoint with fewer calls");
    }
    assert!(!stuck.is_finished());
}

#[tokio::test(start_paused = true)]
async fn endpoints_come_and_go() {
    let (peers, counts) = three();
    let builder = crate::Client::builder()
        .endpoint(URLS[0])
        .connector(peers.clone());
    let client = builder.connect().await.expect("it connects");
    client.get("k").await.expect("an answer");
    assert!(client.add_endpoint(URLS[1]).expect("a URL"));
    assert!(!client.add_endpoint(URLS[1]).expect("a URL"));
    assert!(client.remove_endpoint(URLS[0]).expect("a URL"));
    assert!(!client.remove_endpoint(URLS[0]).expect("a URL"));
    assert!(!client.remove_endpoint(URLS[1]).expect("the last one stays"));
    for _ in 0..5 {
        client.get("k").await.expect("an answer");
    }
    assert_eq!(asked(&counts), [1, 5, 0]);
    assert!(client.add_endpoint(URLS[0]).expect("a URL"));
    assert!(client.remove_endpoint(URLS[1]).expect("a URL"));
    client.get("k").await.expect("an answer");
    assert_eq!(asked(&counts), [2, 5, 0]);
    assert!(client.add_endpoint("ftp://x").is_err());
    assert!(client.member(URLS[1]).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_grows_old_is_replaced_and_nobody_notices() {
    fastrand::seed(1);
    let (peers, counts) = three();
    let builder = peers.builder().max_connection_age(Duration::from_secs(100));
    let client = builder.connect().await.expect("it connects");
    for _ in 0..2_000 {
        client.put("k", "v").await.expect("an answer");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let connections: usize = URLS.iter().map(|url| peers.connections(url)).sum();
    // About one in ninety seconds.
    assert!((18..=26).contains(&connections), "{connections}");
    assert!(
        asked(&counts).iter().all(|&count| count > 0),
        "it never moved"
    );
}

#[tokio::test(start_paused = true)]
async fn without_an_age_the_connection_stays() {
    let (peers, _) = three();
    let client = peers.builder().no_max_connection_age().connect().await;
    let client = client.expect("it connects");
    for _ in 0..100 {
        client.put("k", "v").await.expect("an answer");
        tokio::time::sleep(Duration::from_secs(100)).await;
    }
    let connections: usize = URLS.iter().map(|url| peers.connections(url)).sum();
    assert_eq!(connections, 1);
}

/// TLS is settled when a client is made: an https endpoint that comes later is refused, and
/// never spoken to in plain text.
#[tokio::test(start_paused = true)]
async fn an_https_endpoint_is_never_spoken_to_in_plain_text() {
    let (peers, _) = three();
    let peers = peers.and("https://d:1", |_, _stream| async {});
    let builder = crate::Client::builder()
        .endpoint(URLS[0])
        .connector(peers.clone());
    let client = builder.connect().await.expect("it connects");
    let error = client
        .add_endpoint("https://d:1")
        .expect_err("there is no TLS");
    assert_eq!(error.kind(), crate::ErrorKind::Config);
    assert_eq!(peers.connections("https://d:1"), 0);
}
