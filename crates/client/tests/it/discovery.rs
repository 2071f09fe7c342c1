//! Endpoints that a cluster tells of itself.

use std::time::Duration;

use etcdex::{Client, ErrorKind};
use etcdex_testkit::{Cluster, Etcd};

use crate::stage::{DEADLINE, ends, eventually};

const INTERVAL: Duration = Duration::from_millis(200);

fn endpoints(client: &Client) -> Vec<String> {
    let mut urls: Vec<String> = client
        .endpoints()
        .iter()
        .map(|endpoint| endpoint.url().to_owned())
        .collect();
    urls.sort();
    urls
}

async fn has(client: &Client, mut urls: Vec<String>) {
    urls.sort();
    eventually("the endpoints are those of the members", || async {
        endpoints(client) == urls
    })
    .await;
}

async fn connect(seed: String) -> Client {
    let builder = Client::builder().endpoint(seed).timeout(DEADLINE);
    builder
        .auto_sync_interval(INTERVAL)
        .connect()
        .await
        .unwrap()
}

async fn start(binary: &etcdex_testkit::Binary, arguments: &[&str]) -> Cluster {
    let builder = Etcd::builder().binary(binary).args(arguments);
    builder.start_cluster(3).await.unwrap()
}

#[tokio::test]
async fn a_client_follows_the_members_of_its_cluster() {
    ends(|binary| async move {
        let cluster = start(&binary, &["--strict-reconfig-check=false"]).await;
        let client = connect(cluster.endpoints()[0].clone()).await;
        has(&client, cluster.endpoints()).await;

        // A learner is none of them, and one with a vote is.
        let newcomer = cluster.newcomer().unwrap();
        let added = client.add_member([newcomer.peer_url()]).learner();
        let id = added.await.unwrap().member.id;
        newcomer.launch().unwrap();
        eventually("it is promoted", || async {
            client.promote_member(id).await.is_ok()
        })
        .await;
        newcomer.ready().await.unwrap();
        let mut all = cluster.endpoints();
        all.push(newcomer.endpoint());
        has(&client, all).await;

        // A member by its ID, whichever endpoints a client has.
        let other = Client::connect(cluster.endpoints()[0].clone())
            .await
            .unwrap();
        let fourth = other.member_with_id(id).await.unwrap();
        let status = fourth.maintenance().status().await.unwrap();
        assert_eq!(status.header.member_id, id);
        assert_eq!(other.endpoints().len(), 1);
        let unknown = other.member_with_id(77).await.unwrap_err();
        assert_eq!(unknown.kind(), ErrorKind::MemberNotFound, "{unknown}");

        client.remove_member(id).await.unwrap();
        has(&client, cluster.endpoints()).await;
        // The seed may go, too.
        cluster.members()[0].kill();
        for number in 0..10 {
            client
                .put("k", number.to_string())
                .await
                .unwrap_or_else(|error| {
                    assert_ne!(error.outcome(), etcdex::Outcome::Rejected, "{error}");
                    etcdex::kv::PutResponse::default()
                });
            client.get("k").await.unwrap();
        }
    })
    .await;
}

/// As with a cluster in a network of its own, behind a gateway.
#[tokio::test]
async fn a_cluster_that_advertises_what_nobody_can_reach_leaves_the_seed() {
    ends(|binary| async move {
        let nobody = "http://127.0.0.1:1";
        let bogus = format!("--advertise-client-urls={nobody}");
        let etcd = Etcd::builder().binary(&binary).args([bogus]);
        let etcd = etcd.start().await.unwrap();
        let client = connect(etcd.endpoint()).await;
        let list = client.list_members().await.unwrap();
        assert_eq!(list.members[0].client_urls, [nobody]);
        for _ in 0..10 {
            client.put("k", "v").await.unwrap();
            assert_eq!(endpoints(&client), [etcd.endpoint()]);
            tokio::time::sleep(INTERVAL / 2).await;
        }
        // Nobody is there; that it was tried is seen by the error.
        let id = list.members[0].id;
        let member = client.member_with_id(id).await.unwrap();
        let error = member.get("k").timeout(Duration::from_millis(500)).await;
        let error = error.unwrap_err();
        assert!(error.to_string().contains(nobody), "{error}");
    })
    .await;
}
