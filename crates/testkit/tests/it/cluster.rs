//! Three nodes.

use etcdex_testkit::{Binaries, Cluster, Etcd};

use crate::is_alive;

#[tokio::test]
async fn three_nodes_are_one_cluster_and_outlive_one_of_them() {
    for binary in Binaries::for_tests().all() {
        let cluster = Cluster::start(binary, 3).await.unwrap();
        let [first, second, third] = cluster.members() else {
            panic!("three members");
        };
        if binary.etcdctl().is_none() {
            continue;
        }
        first.etcdctl(["put", "fruit", "plum"]).await.unwrap();
        assert_eq!(get(third).await, "fruit\nplum\n", "{}", third.version());

        first.kill();
        cluster.leader().await.unwrap();
        second.etcdctl(["put", "fruit", "fig"]).await.unwrap();
        assert_eq!(get(third).await, "fruit\nfig\n");

        first.restart().await.unwrap();
        assert_eq!(get(first).await, "fruit\nfig\n");
    }
}

#[tokio::test]
async fn another_leads_when_the_leader_is_paused() {
    let Some(binary) = crate::newest() else {
        return;
    };
    let cluster = Cluster::start(&binary, 3).await.unwrap();
    assert_eq!(cluster.endpoints().len(), 3);
    let leader = cluster.leader().await.unwrap();
    leader.pause().unwrap();
    let next = cluster.leader().await.unwrap();
    assert_ne!(next.name(), leader.name());
    next.etcdctl(["put", "fruit", "kiwi"]).await.unwrap();
    leader.resume().unwrap();
    assert_eq!(get(leader).await, "fruit\nkiwi\n");

    let pids: Vec<u32> = cluster.members().iter().filter_map(Etcd::pid).collect();
    drop(cluster);
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
}

async fn get(etcd: &Etcd) -> String {
    etcd.etcdctl(["get", "fruit", "--command-timeout=10s"])
        .await
        .unwrap()
}
