//! Several endpoints: how calls spread over them, added and removed endpoints, and the age of
//! connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::DuplexStream;

use super::peer::{Asked, Peers, handshake, read, serve};
use crate::Mode;
use crate::method::Lane;
use crate::transport::PickInfo;

const URLS: [&str; 3] = ["http://a:1", "http://b:1", "http://c:1"];

/// Three peers that count their requests.
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
        homes[home.expect("all calls go to one endpoint")] += 1;
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
            .expect("the client connects");
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
async fn connect_all_avoids_a_busy_endpoint() {
    let stuck = |_, stream| {
        serve(stream, |asked: Asked| async move {
            std::future::pending::<()>().await;
            drop(asked);
        })
    };
    let well = |_, stream| serve(stream, |asked: Asked| async move { asked.answer_well() });
    let peers = Peers::default().and(URLS[0], stuck).and(URLS[1], well);
    let builder = peers.builder().mode(Mode::ConnectAll);
    let client = builder.connect().await.expect("the client connects");
    tokio::time::sleep(Duration::from_millis(10)).await;
    let first = client
        .with_endpoint(URLS[0])
        .expect("the endpoint is known");
    let stuck = tokio::spawn(first.put("k", "v").no_timeout());
    tokio::task::yield_now().await;
    for _ in 0..100 {
        client
            .put("k", "v")
            .await
            .expect("the call goes to the endpoint with fewer calls");
    }
    assert!(!stuck.is_finished());
}

#[tokio::test(start_paused = true)]
async fn connect_all_spreads_calls_that_come_one_after_the_other() {
    let (peers, counts) = three();
    let builder = peers.builder().mode(Mode::ConnectAll);
    let client = builder.connect().await.expect("the client connects");
    tokio::time::sleep(Duration::from_millis(10)).await;
    for _ in 0..300 {
        client.get("k").await.expect("an answer");
    }
    let counts = asked(&counts);
    assert!(counts.iter().all(|&count| count > 50), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn an_added_endpoint_is_connected_to_if_the_mode_uses_all() {
    for (mode, expected) in [
        (Mode::PickFirst, [1, 0, 0]),
        (Mode::Random, [1, 1, 1]),
        (Mode::ConnectAll, [1, 1, 1]),
    ] {
        let (peers, _) = three();
        let builder = crate::Client::builder()
            .endpoint(URLS[0])
            .connector(peers.clone());
        let client = builder
            .mode(mode)
            .connect()
            .await
            .expect("the client connects");
        client.add_endpoint(URLS[1]).expect("a URL");
        client.add_endpoint(URLS[2]).expect("a URL");
        tokio::time::sleep(Duration::from_millis(10)).await;
        let connections = URLS.map(|url| peers.connections(url));
        assert_eq!(connections, expected, "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn endpoints_can_be_added_and_removed() {
    let (peers, counts) = three();
    let builder = crate::Client::builder()
        .endpoint(URLS[0])
        .connector(peers.clone());
    let client = builder.connect().await.expect("the client connects");
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
    assert!(client.with_endpoint(URLS[1]).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_connection_over_its_age_is_replaced_and_fails_no_call() {
    fastrand::seed(1);
    let (peers, counts) = three();
    let builder = peers.builder().max_connection_age(Duration::from_secs(100));
    let client = builder.connect().await.expect("the client connects");
    for _ in 0..2_000 {
        client.put("k", "v").await.expect("an answer");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let connections: usize = URLS.iter().map(|url| peers.connections(url)).sum();
    // About one in ninety seconds.
    assert!((18..=26).contains(&connections), "{connections}");
    assert!(
        asked(&counts).iter().all(|&count| count > 0),
        "the client never changed its endpoint"
    );
}

#[tokio::test(start_paused = true)]
async fn without_an_age_the_connection_stays() {
    let (peers, _) = three();
    let client = peers.builder().no_max_connection_age().connect().await;
    let client = client.expect("the client connects");
    for _ in 0..100 {
        client.put("k", "v").await.expect("an answer");
        tokio::time::sleep(Duration::from_secs(100)).await;
    }
    let connections: usize = URLS.iter().map(|url| peers.connections(url)).sum();
    assert_eq!(connections, 1);
}

/// A client without TLS refuses an https endpoint that is added later, and never connects to it in
/// plain text.
#[tokio::test(start_paused = true)]
async fn an_https_endpoint_is_never_used_in_plain_text() {
    let (peers, _) = three();
    let peers = peers.and("https://d:1", |_, _stream| async {});
    let builder = crate::Client::builder()
        .endpoint(URLS[0])
        .connector(peers.clone());
    let client = builder.connect().await.expect("the client connects");
    let error = client
        .add_endpoint("https://d:1")
        .expect_err("there is no TLS");
    assert_eq!(error.kind(), crate::ErrorKind::Config);
    assert_eq!(peers.connections("https://d:1"), 0);
}

/// A handle of a member has one endpoint: its calls wait for the next connection there.
#[tokio::test(start_paused = true)]
async fn a_members_handle_outlives_a_graceful_goaway() {
    let peers = Peers::one(|number, stream| async move {
        let mut connection = handshake(stream).await;
        while let Some(Ok((request, reply))) = connection.accept().await {
            if number == 0 {
                connection.graceful_shutdown();
            }
            tokio::spawn(async move {
                if let Some(asked) = read(request, reply).await {
                    // The first connection is still open when the next call comes.
                    tokio::time::sleep(Duration::from_secs(u64::from(number == 0))).await;
                    asked.answer_well();
                }
            });
        }
    });
    let client = peers.client().await;
    let slow = tokio::spawn(client.get("k"));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let member = client
        .with_endpoint("http://one:1")
        .expect("the endpoint is known");
    member
        .put("k", "v")
        .await
        .expect("an answer over the second connection");
    slow.await
        .expect("no panic")
        .expect("an answer over the first");
    assert_eq!(peers.connections("http://one:1"), 2);
}

/// An endpoint counts as slow after 250 ms without a connection, so no call waits until the attempt
/// to connect ends.
#[tokio::test(start_paused = true)]
async fn a_refused_call_waits_little_for_endpoints_that_do_not_connect() {
    for mode in [Mode::PickFirst, Mode::Random, Mode::ConnectAll] {
        for silent in 1..4_u32 {
            let refusals = Arc::new(AtomicUsize::new(1));
            let script = Arc::clone(&refusals);
            let peers = Peers::default().and("http://well:1", move |_, stream| {
                let refusals = Arc::clone(&script);
                serve(stream, move |asked: Asked| {
                    let refusals = Arc::clone(&refusals);
                    async move {
                        let left = refusals.load(Ordering::Relaxed);
                        if asked.path != "/etcdserverpb.KV/Put" || left == 0 {
                            return asked.answer_well();
                        }
                        refusals.store(left - 1, Ordering::Relaxed);
                        asked.fail("14", "etcdserver: no leader");
                    }
                })
            });
            let peers = (0..silent).fold(peers, |peers, number| {
                peers.and(
                    &format!("http://silent{number}:1"),
                    |_, stream| async move {
                        let _stream = stream;
                        std::future::pending::<()>().await;
                    },
                )
            });
            let client = peers.builder().mode(mode).connect().await;
            let client = client.expect("the client connects");
            let begin = tokio::time::Instant::now();
            client.put("k", "v").await.expect("the next attempt");
            let limit = Duration::from_millis(300) * silent + Duration::from_millis(100);
            assert!(begin.elapsed() < limit, "{mode:?}: {:?}", begin.elapsed());
            assert_eq!(refusals.load(Ordering::Relaxed), 0);
        }
    }
}

/// Calls choose among the endpoints while endpoints are added.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn choosing_and_adding_at_once_do_not_deadlock() {
    let (peers, _) = three();
    for mode in [Mode::Random, Mode::ConnectAll] {
        let client = peers
            .builder()
            .mode(mode)
            .connect()
            .await
            .expect("the client connects");
        let caller = client.clone();
        let calls = tokio::spawn(async move {
            let pick = PickInfo {
                lane: Lane::Unary,
                member: None,
                avoided: None,
                during_shutdown: false,
            };
            for _ in 0..50_000 {
                drop(caller.core().pool.try_acquire(pick));
            }
        });
        let adding = async {
            while !calls.is_finished() {
                client.add_endpoint(URLS[0]).expect("a URL");
                tokio::task::yield_now().await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(60), adding).await;
        ended.expect("no deadlock");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handle_of_a_removed_endpoint_returns_an_error() {
    let (peers, _) = three();
    let client = peers.client().await;
    let member = client
        .with_endpoint(URLS[1])
        .expect("the endpoint is known");
    client.remove_endpoint(URLS[1]).expect("a URL");
    let error = member.get("k").await.expect_err("the endpoint was removed");
    assert_eq!(error.kind(), crate::ErrorKind::Config, "{error}");
}

#[tokio::test(start_paused = true)]
async fn all_endpoints_can_be_replaced_and_connections_stay() {
    let (peers, counts) = three();
    let builder = crate::Client::builder().endpoints(&URLS[..2]);
    let builder = builder.mode(Mode::ConnectAll).connector(peers.clone());
    let client = builder.connect().await.expect("the client connects");
    client.add_endpoint(URLS[0]).expect("a URL");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let handle = client
        .with_endpoint(URLS[0])
        .expect("the endpoint is known");
    client
        .set_endpoints(&URLS[1..])
        .expect("the URLs are valid");
    let urls: Vec<_> = client
        .endpoints()
        .iter()
        .map(|one| one.url().to_owned())
        .collect();
    assert_eq!(urls, URLS[1..]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = asked(&counts)[0];
    for _ in 0..20 {
        client.get("k").await.expect("an answer");
    }
    assert_eq!(
        asked(&counts)[0],
        before,
        "the removed endpoint is not used"
    );
    assert!(asked(&counts)[2] > 0, "the added endpoint is used");
    assert_eq!(peers.connections(URLS[1]), 1, "the connection stays");
    handle.get("k").await.expect_err("the endpoint was removed");
}

#[tokio::test(start_paused = true)]
async fn invalid_endpoints_change_nothing() {
    let (peers, _) = three();
    let client = peers.client().await;
    let before = client.endpoints();
    let none: [&str; 0] = [];
    let refused = [
        client.set_endpoints(none),
        client.set_endpoints(""),
        client.set_endpoints(["http://c:1", "ftp://c:1"]),
        client.set_endpoints(["http://c:1", "https://d:1"]),
    ];
    for refusal in refused {
        let error = refusal.expect_err("the list is invalid");
        assert_eq!(error.kind(), crate::ErrorKind::Config, "{error}");
    }
    assert_eq!(client.endpoints(), before);
}
