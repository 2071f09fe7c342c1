//! A member that is cut off from its peers: it answers pings, and no call that needs its quorum.

use std::time::{Duration, Instant};

use etcdex::{Client, ErrorKind, Mode};
use etcdex_testkit::{Binary, Cluster, Etcd};
use tokio::task::JoinSet;

use crate::matrix::chosen;
use crate::stage::{each_binary, eventually};

/// The default time-out of a call.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Duration of the load: three time-outs, one after the other.
const LOAD: Duration = Duration::from_secs(15);

/// When a call was made and when it ended, since the begin of the load.
#[derive(Clone, Copy, Debug)]
struct Call {
    made: Duration,
    ended: Duration,
    good: bool,
}

async fn cluster(binary: &Binary) -> Cluster {
    let builder = Etcd::builder().binary(binary).peer_proxies();
    builder.start_cluster(3).await.unwrap()
}

/// A client whose choice begins with the first member.
async fn begins_with_first(cluster: &Cluster, mode: Mode) -> Client {
    let endpoints = cluster.endpoints();
    let builder = Client::builder().endpoint(&endpoints[0]).mode(mode);
    let client = builder.timeout(TIMEOUT).connect().await.unwrap();
    for endpoint in &endpoints[1..] {
        assert!(client.add_endpoint(endpoint).unwrap());
    }
    client
}

/// Four tasks that make a call every 20 ms.
async fn load(client: &Client, reads: bool) -> Vec<Call> {
    let mut tasks = JoinSet::new();
    let begun = Instant::now();
    for task in 0..4 {
        let (client, key) = (client.clone(), format!("hush/{task}"));
        tasks.spawn(async move {
            let mut calls = Vec::new();
            while begun.elapsed() < LOAD {
                let made = begun.elapsed();
                let good = if reads {
                    client.get(&key).await.map(drop)
                } else {
                    client.put(&key, "v").await.map(drop)
                };
                let ended = begun.elapsed();
                let good = good.is_ok();
                calls.push(Call { made, ended, good });
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            calls
        });
    }
    tasks.join_all().await.concat()
}

fn assert_is_left(what: &str, mut calls: Vec<Call>) {
    calls.sort_by_key(|call| call.ended);
    let failed = calls.iter().find(|call| !call.good);
    if let Some(failed) = failed {
        let after: Vec<&Call> = calls.iter().filter(|c| c.made >= failed.ended).collect();
        let good = after.iter().filter(|call| call.good).count();
        assert!(
            good * 100 >= after.len() * 95,
            "{what}: {good} of {}",
            after.len()
        );
    }
    let good = calls.iter().filter(|call| call.good);
    let mut before = Duration::ZERO;
    let gaps = good.map(|call| call.ended - std::mem::replace(&mut before, call.ended));
    let gap = gaps.max().unwrap_or(LOAD);
    let bad = calls.iter().filter(|call| !call.good).count();
    println!(
        "{what}: {bad} of {} failed, longest gap {gap:?}",
        calls.len()
    );
    assert!(gap < TIMEOUT, "{what}: {gap:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_its_peers_is_left_and_found_again() {
    for binary in chosen() {
        is_left_and_found_again(&binary).await;
    }
}

async fn is_left_and_found_again(binary: &Binary) {
    println!("etcd {}:", binary.version());
    let cluster = cluster(binary).await;
    for mode in [Mode::PickFirst, Mode::Random, Mode::ConnectAll] {
        for reads in [false, true] {
            cluster.isolate(0).await.unwrap();
            // Another member leads when this returns.
            cluster.leader().await.unwrap();
            let client = begins_with_first(&cluster, mode).await;
            let calls = load(&client, reads).await;
            let what = if reads { "get" } else { "put" };
            assert_is_left(&format!("{mode:?}, {what}"), calls);
            cluster.heal(0).unwrap();
            cluster.members()[0].ready().await.unwrap();
            if mode != Mode::PickFirst {
                eventually("the client knows that the member serves again", || async {
                    let state = client.status().endpoints[0].state.clone();
                    matches!(state, etcdex::client::EndpointState::Ready)
                })
                .await;
            }
        }
    }
}

/// The request of a probe: etcd asks its quorum before it refuses the request for want of a user.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_without_a_user_needs_the_quorum_before_it_is_refused() {
    each_binary(|binary| async move {
        let cluster = cluster(&binary).await;
        let endpoint = &cluster.endpoints()[0];
        let client = Client::connect(endpoint.as_str()).await.unwrap();
        let auth = client.auth();
        auth.add_user("root", "secret").await.unwrap();
        auth.add_role("root").await.unwrap();
        auth.grant_role("root", "root").await.unwrap();
        auth.enable().await.unwrap();

        let probe = || client.get([0u8; 1]).count_only();
        let refused = probe().await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::TokenMissing, "{refused}");

        cluster.isolate(0).await.unwrap();
        let error = probe().timeout(Duration::from_secs(3)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        // A read that needs no quorum is refused at once.
        let local = probe().serializable().await.unwrap_err();
        assert_eq!(local.kind(), ErrorKind::TokenMissing, "{local}");
    })
    .await;
}
