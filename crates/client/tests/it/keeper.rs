//! Kept leases, under faults of connections and servers.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use etcdex::lease::LeaseEnd;
use etcdex::{Client, ErrorKind, LeaseKeeper, LeaseState};
use etcdex_testkit::{Cluster, Etcd, Proxy, left_out, until};

use crate::stage::{DEADLINE, connect, each, each_alone, ends, newest};

const TTL: Duration = Duration::from_secs(3);

/// Keeps a lease with the key `k`.
async fn kept(client: &Client) -> LeaseKeeper {
    kept_for(client, TTL).await
}

async fn kept_for(client: &Client, ttl: Duration) -> LeaseKeeper {
    let lease = client.grant(ttl).await.unwrap();
    client
        .put("hush-k", "hush-v")
        .lease(lease.id)
        .await
        .unwrap();
    let mut keeper = client.keep(lease.id);
    let state = keeper.changed().await;
    assert!(is_alive(state.clone()), "{state:?}");
    keeper
}

/// Checks for fifteen seconds that the lease is not lost, and that it is alive at the end.
async fn stays_kept(keeper: &LeaseKeeper) {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(15) {
        let state = keeper.state();
        assert!(!matches!(state, LeaseState::Lost(_)), "{state:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(is_alive(keeper.state()), "{:?}", keeper.state());
}

fn is_alive(state: LeaseState) -> bool {
    matches!(state, LeaseState::Alive { .. })
}

async fn lost(keeper: &LeaseKeeper) -> LeaseEnd {
    tokio::time::timeout(DEADLINE, keeper.lost()).await.unwrap()
}

/// The lease goes on for three times its time-to-live.
async fn goes_on(client: &Client, keeper: &LeaseKeeper) {
    let end = Instant::now() + TTL * 3;
    while Instant::now() < end {
        let state = keeper.state();
        if let LeaseState::Alive { expires, .. } = state {
            assert!(expires <= Instant::now() + TTL);
        }
        assert!(!matches!(state, LeaseState::Lost(_)), "{state:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(is_alive(keeper.state()), "{:?}", keeper.state());
    assert!(client.get("hush-k").string().await.unwrap().is_some());
}

#[tokio::test]
async fn a_lease_is_kept_and_then_revoked() {
    each(|stage| async move {
        let client = stage.inside();
        let keeper = kept(&client).await;
        goes_on(&client, &keeper).await;
        let second = client.keep(keeper.id());
        keeper.revoke().await.unwrap();
        assert!(client.get("hush-k").string().await.unwrap().is_none());
        assert_eq!(lost(&second).await, LeaseEnd::Revoked);
        assert_eq!(second.state(), LeaseState::Lost(LeaseEnd::Revoked));
    })
    .await;
}

#[tokio::test]
async fn a_dropped_keeper_renews_no_more() {
    each(|stage| async move {
        let client = stage.inside();
        let keeper = kept(&client).await;
        let (id, second) = (keeper.id(), client.keep(keeper.id()));
        drop(keeper);
        tokio::time::sleep(TTL + Duration::from_secs(1)).await;
        assert!(client.get("hush-k").string().await.unwrap().is_some());
        drop(second);
        let dropped = Instant::now();
        while client.ttl(id).await.unwrap().ttl.is_some() {
            assert!(dropped.elapsed() < TTL + Duration::from_secs(3));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(client.get("hush-k").string().await.unwrap().is_none());
        // The next keeper starts the renewals again.
        let keeper = kept(&client).await;
        assert!(is_alive(keeper.state()));
    })
    .await;
}

#[tokio::test]
async fn a_keeper_outlives_the_other_handles() {
    each(|stage| async move {
        let other = connect(stage.etcd).await;
        let keeper = kept(&stage.client.namespace(stage.key("a"))).await;
        let last = kept(&other.namespace(stage.key("b"))).await;
        drop(other);
        tokio::time::sleep(TTL * 2).await;
        assert!(is_alive(last.state()) && is_alive(keeper.state()));
        let (id, _) = (last.id(), drop(last));
        tokio::time::sleep(TTL + Duration::from_secs(2)).await;
        assert_eq!(stage.client.ttl(id).await.unwrap().ttl, None);
    })
    .await;
}

#[tokio::test]
async fn a_lease_is_lost_when_another_client_revokes_it() {
    each(|stage| async move {
        let client = stage.inside();
        let keeper = kept(&client).await;
        let id = format!("{:x}", keeper.id());
        if !stage.etcd.has_etcdctl() {
            return left_out("its end needs etcdctl");
        }
        stage.etcd.etcdctl(["lease", "revoke", &id]).await.unwrap();
        assert_eq!(lost(&keeper).await, LeaseEnd::Revoked);

        let unknown = client.keep(keeper.id());
        assert_eq!(lost(&unknown).await, LeaseEnd::Expired);
    })
    .await;
}

/// The next renewals are minutes away, so only the client itself can notify its keepers.
#[tokio::test]
async fn a_revoke_of_the_same_client_is_reported_at_once() {
    each(|stage| async move {
        let client = stage.inside();
        let first = kept_for(&client, Duration::from_secs(3_600)).await;
        let second = stage.client.keep(first.id());
        client.revoke(first.id()).await.unwrap();
        assert_eq!(lost(&first).await, LeaseEnd::Revoked);
        assert_eq!(lost(&second).await, LeaseEnd::Revoked);
        // The first renewal and the revoke are under way together.
        for _ in 0..50 {
            let lease = client.grant(Duration::from_secs(3_600)).await.unwrap();
            let keeper = client.keep(lease.id);
            client.revoke(lease.id).await.unwrap();
            assert_eq!(lost(&keeper).await, LeaseEnd::Revoked);
        }
    })
    .await;
}

/// A round trip of 800 ms: nearly half of the one time-to-live, and a sixth of the other one.
#[tokio::test]
async fn a_slow_network_keeps_a_lease_alive_over_one_stream() {
    each(|stage| async move {
        let kept = [2, 5].map(|ttl| kept_over_a_slow_network(stage.etcd, ttl));
        let [short, long] = kept;
        tokio::join!(short, long);
    })
    .await;
}

/// Keeps a lease for 15 s. The test asserts nothing if the machine itself has stalled.
async fn kept_over_a_slow_network(etcd: &Etcd, ttl: u64) {
    let proxy = Proxy::start(etcd.client_address()).await.unwrap();
    let mut tap = proxy.tap("/etcdserverpb.Lease/LeaseKeepAlive");
    proxy.delay(Duration::from_millis(400));
    let builder = Client::builder().endpoint(proxy.endpoint());
    let client = builder.timeout(DEADLINE).connect().await.unwrap();
    let lease = client.grant(Duration::from_secs(ttl)).await.unwrap();
    assert_eq!(lease.ttl, Duration::from_secs(ttl));
    let mut keeper = client.keep(lease.id);
    assert!(is_alive(keeper.changed().await));
    let (begun, mut looked, mut stood_still) = (Instant::now(), Instant::now(), Duration::ZERO);
    let mut unknown = 0;
    while begun.elapsed() < Duration::from_secs(15) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        stood_still = stood_still.max(looked.elapsed());
        looked = Instant::now();
        unknown += usize::from(matches!(
            keeper.state(),
            LeaseState::Unknown { .. } | LeaseState::Lost(_)
        ));
    }
    let mut streams = HashSet::new();
    while let Some(passage) = tap.take() {
        streams.insert((passage.link, passage.stream));
    }
    if stood_still < Duration::from_millis(300) {
        assert_eq!(unknown, 0, "in doubt with a time-to-live of {ttl} s");
        assert_eq!(streams.len(), 1, "streams with a time-to-live of {ttl} s");
    } else {
        eprintln!("skipped: the machine stalled for {stood_still:?}");
    }
}

#[tokio::test]
async fn a_lease_survives_a_killed_server() {
    each_alone(&[], |etcd| async move {
        let client = connect(&etcd).await;
        let keeper = kept(&client).await;
        etcd.restart().await.unwrap();
        goes_on(&client, &keeper).await;
    })
    .await;
}

#[tokio::test]
async fn a_lease_survives_cuts() {
    each_alone(&[], |etcd| async move {
        let (proxy, client) = behind_proxy(&etcd).await;
        let keeper = kept(&client).await;
        for fault in [Proxy::cut, Proxy::reset, Proxy::cut] {
            fault(&proxy);
            tokio::time::sleep(TTL / 3).await;
        }
        goes_on(&client, &keeper).await;
    })
    .await;
}

async fn behind_proxy(etcd: &Etcd) -> (Proxy, Client) {
    let proxy = Proxy::start(etcd.client_address()).await.unwrap();
    let builder = Client::builder().endpoint(proxy.endpoint());
    let client = builder.timeout(DEADLINE).connect().await.unwrap();
    (proxy, client)
}

#[tokio::test]
async fn a_lease_survives_a_stopped_server() {
    each_alone(&[], |etcd| async move {
        let client = connect(&etcd).await;
        let keeper = kept(&client).await;
        etcd.pause().unwrap();
        tokio::time::sleep(TTL / 2).await;
        etcd.resume().unwrap();
        goes_on(&client, &keeper).await;
    })
    .await;
}

#[tokio::test]
async fn a_lease_is_at_risk_and_then_unknown_without_a_server() {
    each_alone(&[], |etcd| async move {
        let (proxy, client) = behind_proxy(&etcd).await;
        let mut keeper = kept(&client).await;
        proxy.refuse();
        proxy.cut();
        let state = keeper.changed().await;
        let LeaseState::AtRisk {
            remaining, cause, ..
        } = state
        else {
            panic!("{state:?}");
        };
        assert!(remaining <= TTL / 3);
        assert!(
            [ErrorKind::Unavailable, ErrorKind::Timeout].contains(&cause.kind()),
            "{cause}"
        );
        let begun = Instant::now();
        let state = keeper.changed().await;
        assert!(matches!(state, LeaseState::Unknown { .. }), "{state:?}");
        assert!(begun.elapsed() + Duration::from_millis(10) >= remaining);
        // Only the server decides: the lease is lost when the server says so.
        tokio::time::sleep(TTL).await;
        let state = keeper.state();
        assert!(matches!(state, LeaseState::Unknown { .. }), "{state:?}");
        proxy.heal();
        assert_eq!(lost(&keeper).await, LeaseEnd::Expired);
    })
    .await;
}

#[tokio::test]
async fn a_lease_survives_the_loss_of_its_member() {
    ends(|binary| async move {
        let cluster = Cluster::start(&binary, 3).await.unwrap();
        let proxies = [
            Proxy::start(cluster.members()[0].client_address())
                .await
                .unwrap(),
            Proxy::start(cluster.members()[1].client_address())
                .await
                .unwrap(),
            Proxy::start(cluster.members()[2].client_address())
                .await
                .unwrap(),
        ];
        let builder = Client::builder().endpoints(proxies.iter().map(Proxy::endpoint));
        let client = builder.timeout(DEADLINE).connect().await.unwrap();
        let keeper = kept_for(&client, Duration::from_secs(5)).await;
        let used = proxies.iter().position(|proxy| proxy.open() > 0).unwrap();
        cluster.members()[used].kill();
        stays_kept(&keeper).await;
        assert!(client.get("hush-k").string().await.unwrap().is_some());

        // The client leaves a stopped member, too.
        cluster.members()[used].restart().await.unwrap();
        let used = proxies.iter().position(|proxy| proxy.open() > 0).unwrap();
        cluster.members()[used].pause().unwrap();
        stays_kept(&keeper).await;
        cluster.members()[used].resume().unwrap();
    })
    .await;
}

/// Keeps two thousand leases by default, and ten thousand with `ETCDEX_LEASES=10000 cargo test
/// --release -p etcdex --test it many_leases -- --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_leases_are_kept_over_one_stream() {
    let Some(binary) = newest() else { return };
    let count: usize = std::env::var("ETCDEX_LEASES").map_or(2_000, |text| {
        text.parse().expect("ETCDEX_LEASES is a number")
    });
    let ttl = Duration::from_secs(10);
    let etcd = Etcd::start(binary).await.unwrap();
    let client = connect(&etcd).await;
    let mut keepers = Vec::new();
    // Granted in parallel: otherwise the first lease would expire before the last grant.
    for _ in 0..count.div_ceil(500) {
        let grants: Vec<_> = (0..500)
            .map(|_| tokio::spawn(client.grant(ttl).into_future()))
            .collect();
        for grant in grants {
            keepers.push(client.keep(grant.await.unwrap().unwrap().id));
        }
    }
    let alive = || {
        keepers
            .iter()
            .filter(|keeper| is_alive(keeper.state()))
            .count()
    };
    until("all are alive", || alive() == keepers.len()).await;
    let (sent, cpu, begun) = (received(&etcd).await, cpu(), Instant::now());
    while begun.elapsed() < ttl * 3 {
        assert_eq!(alive(), keepers.len());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let (time, sent) = (begun.elapsed().as_secs_f64(), received(&etcd).await - sent);
    println!(
        "{} leases of 10 s: {:.0} renewals/s, {:.2} % of a core",
        keepers.len(),
        sent / time,
        100.0 * (self::cpu() - cpu) / time,
    );
    assert!(sent / time < keepers.len() as f64 * 4.0 / 10.0);
    let listed = client.leases().await.unwrap().leases;
    assert_eq!(listed.len(), keepers.len());
}

/// Number of renewals that the server has counted.
async fn received(etcd: &Etcd) -> f64 {
    let metrics = etcd.metrics().await.unwrap();
    let line = metrics.lines().find(|line| {
        line.starts_with("grpc_server_msg_received_total{") && line.contains("\"LeaseKeepAlive\"")
    });
    let number = line.and_then(|line| line.rsplit(' ').next());
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}

/// Seconds of processor time that this process has used; 100 ticks are one.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    let ticks: f64 = fields
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    ticks / 100.0
}

#[tokio::test]
async fn a_client_that_is_closed_revokes_its_leases() {
    each(|stage| async move {
        let other = stage.inside();
        let builder = Client::builder().endpoint(stage.etcd.endpoint());
        let builder = builder.namespace(stage.prefix.as_str()).timeout(DEADLINE);
        let client = builder.connect().await.unwrap();
        let keeper = kept_for(&client, Duration::from_secs(600)).await;
        let unkept = client.grant(Duration::from_secs(600)).await.unwrap().id;
        let left = client.close(DEADLINE).await;
        assert!(left.is_clean(), "{left:?}");
        assert_eq!(keeper.state(), LeaseState::Lost(LeaseEnd::Revoked));
        assert!(other.get("k").string().await.unwrap().is_none());
        assert!(other.ttl(keeper.id()).await.unwrap().ttl.is_none());
        assert!(other.ttl(unkept).await.unwrap().ttl.is_some());
        let error = client.get("k").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    })
    .await;
}
