//! Members that are cut off from their peers.

use std::time::Duration;

use etcdex::{Client, Error};
use etcdex_testkit::{Binaries, Binary, Cluster, Etcd};
use tokio::time::{Instant, sleep};

/// Time-out of a call. A member without a quorum never answers.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longer than elections take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_isolated_follower_serves_serializable_reads_only_until_it_is_healed() {
    for binary in Binaries::for_tests().all() {
        let cluster = start(binary).await;
        let leader = leader(&cluster).await;
        let follower = (leader + 1) % 3;
        isolate_and_heal(&cluster, follower).await;
    }
}

#[tokio::test]
async fn an_isolated_leader_serves_serializable_reads_only_until_it_is_healed() {
    for binary in Binaries::for_tests().all() {
        let cluster = start(binary).await;
        let leader = leader(&cluster).await;
        isolate_and_heal(&cluster, leader).await;
    }
}

#[tokio::test]
async fn only_members_that_exist_behind_proxies_can_be_isolated() {
    let Some(binary) = crate::newest() else {
        return;
    };
    let cluster = start(&binary).await;
    cluster.isolate(3).await.unwrap_err();
    cluster.heal(3).unwrap_err();
    let direct = Cluster::start(&binary, 1).await.unwrap();
    direct.isolate(0).await.unwrap_err();
    direct.heal(0).unwrap_err();
}

async fn start(binary: &Binary) -> Cluster {
    let builder = Etcd::builder().binary(binary).peer_proxies();
    builder.start_cluster(3).await.unwrap()
}

async fn leader(cluster: &Cluster) -> usize {
    let leader = cluster.leader().await.unwrap();
    let mut members = cluster.members().iter();
    members
        .position(|member| member.name() == leader.name())
        .unwrap()
}

async fn isolate_and_heal(cluster: &Cluster, isolated: usize) {
    let member = &cluster.members()[isolated];
    let version = member.version();
    let cut_off = client(member);
    let others = cluster
        .members()
        .iter()
        .filter(|other| !same(other, member));
    let rest: Vec<Client> = others.map(client).collect();
    served(&cut_off, "plum").await;

    cluster.isolate(isolated).await.unwrap();
    // Twice: the second time, the member has noticed the loss of its peers.
    for _ in 0..2 {
        assert_eq!(serializable(&cut_off).await, "plum", "{version}");
        let error = linearizable(&cut_off).await.unwrap_err();
        println!("{version}: {error}");
    }
    for client in &rest {
        served(client, "fig").await;
    }
    // Neither the member's own connections nor those of its peers carry the log.
    assert_eq!(serializable(&cut_off).await, "plum", "{version}");

    cluster.heal(isolated).unwrap();
    eventually("the healed member has caught up", async || {
        serializable(&cut_off).await == "fig"
    })
    .await;
    for client in rest.iter().chain([&cut_off]) {
        served(client, "kiwi").await;
    }
}

fn same(one: &Etcd, other: &Etcd) -> bool {
    one.name() == other.name()
}

fn client(member: &Etcd) -> Client {
    let builder = Client::builder().endpoint(member.endpoint());
    builder.timeout(PATIENCE).connect_lazy().unwrap()
}

/// Waits until a client can write a value and read it, after elections.
async fn served(client: &Client, value: &str) {
    eventually("a member with a quorum serves", async || {
        let written = client.put("fruit", value).await;
        written.is_ok() && linearizable(client).await.is_ok_and(|read| read == value)
    })
    .await;
}

async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition().await {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn linearizable(client: &Client) -> Result<String, Error> {
    client.get("fruit").await.map(value)
}

async fn serializable(client: &Client) -> String {
    value(client.get("fruit").serializable().await.unwrap())
}

fn value(reply: etcdex::kv::GetResponse) -> String {
    let value = reply.kvs.first().map(|kv| kv.value.to_vec());
    String::from_utf8(value.unwrap_or_default()).unwrap()
}
