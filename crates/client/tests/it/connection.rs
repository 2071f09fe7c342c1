//! Options of a client that affect its connections and calls.

use std::time::{Duration, Instant};

use etcdex::{Client, ClientBuilder, ErrorKind, Lock, Outcome};
use etcdex_testkit::{Direction, Proxy, until};

use crate::stage::{DEADLINE, Stage, each, eventually};

/// A client behind a proxy, with the options of `options`.
async fn behind_proxy(
    stage: &Stage,
    options: fn(ClientBuilder) -> ClientBuilder,
) -> (Proxy, Client) {
    let proxy = Proxy::start(stage.etcd.client_address()).await.unwrap();
    let builder = Client::builder().endpoint(proxy.endpoint());
    let builder = builder.namespace(stage.prefix.as_str()).timeout(DEADLINE);
    let client = options(builder).connect().await.unwrap();
    (proxy, client)
}

#[tokio::test]
async fn errors_have_the_name_of_the_client() {
    each(|stage| async move {
        let (_proxy, client) = behind_proxy(&stage, |builder| builder.name("orders")).await;
        let error = client.get("k").revision(i64::MAX).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FutureRevision);
        assert!(error.to_string().contains("orders"), "{error}");
        assert!(format!("{client:?}").contains("orders"));
    })
    .await;
}

/// Windows that are smaller than a reply, and a proxy that delays bytes.
#[tokio::test]
async fn a_large_reply_comes_through_small_windows() {
    each(|stage| async move {
        let small = |builder: ClientBuilder| {
            let builder = builder.stream_window(64 * 1024);
            builder.connection_window(64 * 1024).nodelay(false)
        };
        let (_proxy, client) = behind_proxy(&stage, small).await;
        let value = vec![7; 1_000_000];
        client.put("k", value.clone()).await.unwrap();
        let kv = client.get("k").await.unwrap().into_kv().unwrap();
        assert_eq!(kv.value, value);
    })
    .await;
}

#[tokio::test]
async fn a_silent_server_fails_the_connect() {
    each(|stage| async move {
        let proxy = Proxy::start(stage.etcd.client_address()).await.unwrap();
        proxy.black_hole();
        let builder = Client::builder().endpoint(proxy.endpoint());
        let limit = Duration::from_millis(400);
        let begun = Instant::now();
        let error = builder.connect_timeout(limit).connect().await.unwrap_err();
        let took = begun.elapsed();
        assert!(took >= limit && took < DEADLINE / 6, "{took:?}");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert_eq!(error.outcome(), Outcome::NotSent);
        assert!(error.to_string().contains(&proxy.endpoint()), "{error}");
    })
    .await;
}

#[tokio::test]
async fn without_retries_a_read_fails_with_its_link() {
    each(|stage| async move {
        let (proxy, client) = behind_proxy(&stage, |builder| builder.retries(0)).await;
        client.put("k", "v").await.unwrap();
        proxy.delay(Duration::from_millis(150));
        let before = proxy.forwarded(Direction::ToServer);
        let get = tokio::spawn(client.get("k").into_future());
        until("the get goes to the server", || {
            proxy.forwarded(Direction::ToServer) > before
        })
        .await;
        proxy.reset();
        proxy.heal();
        let error = get.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert_eq!((error.outcome(), error.attempts()), (Outcome::Unknown, 1));
        assert_eq!(client.get("k").string().await.unwrap().unwrap(), "v");
    })
    .await;
}

/// The time-out of the client, of a handle and of a call.
#[tokio::test]
async fn the_time_outs_of_client_handle_and_call_apply() {
    each(|stage| async move {
        let short = |builder: ClientBuilder| builder.timeout(Duration::from_millis(300));
        let (proxy, client) = behind_proxy(&stage, short).await;
        client.put("k", "v").no_timeout().await.unwrap();
        proxy.stall();
        let endless = client.no_timeout();
        let long = client.with_timeout(DEADLINE);
        let patient = [
            client.get("k").no_timeout(),
            client.get("k").timeout(DEADLINE),
            endless.get("k"),
            long.get("k"),
        ]
        .map(|get| tokio::spawn(get.string()));
        for impatient in [
            client.get("k"),
            endless.get("k").timeout(Duration::from_millis(300)),
        ] {
            let begun = Instant::now();
            let error = impatient.await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
            assert!(begun.elapsed() >= Duration::from_millis(300));
        }
        assert!(patient.iter().all(|get| !get.is_finished()));
        proxy.heal();
        for get in patient {
            assert_eq!(get.await.unwrap().unwrap().as_deref(), Some("v"));
        }
    })
    .await;
}

/// etcd closes connections over which pings come more often than every five seconds.
#[tokio::test]
async fn pings_are_rare_enough_for_the_server() {
    each(|stage| async move {
        let often = |builder: ClientBuilder| builder.keep_alive_interval(Duration::from_secs(5));
        let (proxy, client) = behind_proxy(&stage, often).await;
        let lease = async || client.grant(Duration::from_secs(60)).await.unwrap().id;
        let held = client.lock("hush", lease().await).await.unwrap();
        // No leader monitor, and no reads of the queue: only pings are counted.
        let patient = client.require_leader(false);
        let waiting = tokio::spawn(patient.run(Lock::with_server_lease("hush")));
        eventually("the lock waits", || async {
            client.get("hush/").prefix().await.unwrap().count == 2
        })
        .await;
        let (links, sent) = (proxy.connections(), proxy.forwarded(Direction::ToServer));
        tokio::time::sleep(Duration::from_secs(17)).await;
        // A ping has 17 bytes: only pings were sent, on links that stay open.
        let pings = proxy.forwarded(Direction::ToServer) - sent;
        assert!((2 * 17..=8 * 17).contains(&pings), "{pings} bytes");
        assert_eq!(pings % 17, 0);
        assert_eq!((proxy.connections(), proxy.open()), (links, links));
        client.unlock(held.key).await.unwrap();
        waiting.await.unwrap().unwrap();
    })
    .await;
}

/// A lock waits without a limit, but ends when its server has disappeared silently.
#[tokio::test]
async fn a_waiting_call_ends_with_its_dead_connection() {
    each(|stage| async move {
        let quick = |builder: ClientBuilder| {
            let builder = builder.keep_alive_interval(Duration::from_secs(5));
            builder.keep_alive_timeout(Duration::from_secs(1))
        };
        let (proxy, client) = behind_proxy(&stage, quick).await;
        let lease = async || client.grant(Duration::from_secs(60)).await.unwrap().id;
        client.lock("hush", lease().await).await.unwrap();
        let waiting = tokio::spawn(client.lock("hush", lease().await));
        eventually("the lock waits", || async {
            client.get("hush/").prefix().await.unwrap().count == 2
        })
        .await;
        proxy.black_hole();
        let begun = Instant::now();
        let error = tokio::time::timeout(DEADLINE, waiting).await.unwrap();
        let error = error.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert_eq!(error.outcome(), Outcome::Unknown);
        assert!(error.to_string().contains("keep-alive"), "{error}");
        assert!(begun.elapsed() >= Duration::from_secs(1));
        proxy.heal();
        client.get("hush/").prefix().await.unwrap();
    })
    .await;
}

/// With a varying delay, two pings may arrive closer together than they were sent. etcd counts each
/// ping that arrives early, while it sends nothing else, and closes the connection at the third.
#[tokio::test]
async fn a_waiting_call_survives_a_network_with_varying_delay() {
    each(|stage| async move {
        let (proxy, client) = behind_proxy(&stage, |builder| builder).await;
        let lease = async || client.grant(Duration::from_secs(120)).await.unwrap().id;
        let held = client.lock("hush", lease().await).await.unwrap();
        let waiting = tokio::spawn(client.lock("hush", lease().await));
        eventually("the lock waits", || async {
            client.get("hush/").prefix().await.unwrap().count == 2
        })
        .await;
        let links = proxy.connections();
        let end = Instant::now() + Duration::from_secs(40);
        while Instant::now() < end {
            let delay = fastrand::u64(0..150);
            proxy.delay(Duration::from_millis(delay));
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert!(!waiting.is_finished(), "{:?}", waiting.await);
        }
        proxy.heal();
        assert_eq!(proxy.connections(), links);
        client.unlock(held.key).await.unwrap();
        waiting.await.unwrap().unwrap();
    })
    .await;
}
