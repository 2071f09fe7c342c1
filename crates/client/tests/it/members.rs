//! The members of a cluster, by etcd's documentation:
//! <https://etcd.io/docs/v3.6/op-guide/runtime-configuration/>.

use std::time::Duration;

use etcdex::cluster::Member;
use etcdex::{Client, ErrorKind, Outcome};
use etcdex_testkit::{Binaries, Binary, Cluster, Etcd};
use serde_json::Value;

use crate::ctl::{json, texts, wait};
use crate::stage::{assert_refused, connect_cluster};

/// Disables the check that all members have been connected for five seconds.
const AT_ONCE: [&str; 1] = ["--strict-reconfig-check=false"];

async fn start(binary: &Binary) -> (Cluster, Client) {
    let cluster = Etcd::builder().binary(binary).args(AT_ONCE);
    let cluster = cluster.start_cluster(3).await.unwrap();
    let client = connect_cluster(&cluster).await;
    (cluster, client)
}

/// ID, name, peer URLs, client URLs, and whether it is a learner.
type Row = (u64, String, Vec<String>, Vec<String>, bool);

/// The output of `etcdctl member list`.
async fn listed(etcd: &Etcd) -> Vec<Row> {
    let list = json(etcd, &["member", "list"]).await;
    let member = |member: &Value| {
        (
            member["ID"].as_u64().unwrap(),
            member["name"].as_str().unwrap_or_default().to_owned(),
            texts(&member["peerURLs"]),
            texts(&member["clientURLs"]),
            member["isLearner"].as_bool().unwrap_or(false),
        )
    };
    let list = list["members"].as_array().unwrap();
    list.iter().map(member).collect()
}

fn told(members: &[Member]) -> Vec<Row> {
    let member = |member: &Member| {
        (
            member.id,
            member.name.clone(),
            member.peer_urls.clone(),
            member.client_urls.clone(),
            member.is_learner,
        )
    };
    members.iter().map(member).collect()
}

/// One version after another: twenty servers at once are too many for two cores.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_added_and_removed() {
    for binary in Binaries::for_tests().all() {
        let (cluster, client) = start(binary).await;
        println!("etcd {}", binary.version());
        list(&cluster, &client).await;
        let id = learn(&cluster, &client).await;
        leave(&cluster, &client, id).await;
        nonsense(&client).await;
        without_quorum(&cluster, &client).await;
    }
}

async fn list(cluster: &Cluster, client: &Client) {
    let list = client.list_members().await.unwrap();
    let names: Vec<&str> = list.members.iter().map(|member| &*member.name).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert_eq!(told(&list.members), listed(&cluster.members()[0]).await);
    assert_eq!(list.header.revision, 0);
    assert_ne!(list.header.member_id, 0);
    let known = list.members.iter().map(|member| member.id);
    assert!(known.into_iter().any(|id| id == list.header.member_id));
    let serializable = client.list_members().serializable().await.unwrap();
    assert_eq!(serializable.members, list.members);
}

/// A fourth member follows, and then gets a vote.
async fn learn(cluster: &Cluster, client: &Client) -> u64 {
    let newcomer = cluster.newcomer().unwrap();
    let added = client.add_member([newcomer.peer_url()]).learner();
    let added = added.await.unwrap();
    let member = added.member;
    assert_eq!(member.peer_urls, [newcomer.peer_url()]);
    assert!(member.is_learner && member.name.is_empty() && member.client_urls.is_empty());
    assert_eq!(added.members.len(), 4);
    assert!(added.members.contains(&member));

    let again = client.add_member([newcomer.peer_url()]).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::MemberExists, "{again}");
    assert_eq!(again.outcome(), Outcome::Rejected, "{again}");
    // The learner has not caught up, because it has not started.
    let early = client.promote_member(member.id).await.unwrap_err();
    assert_eq!(early.kind(), ErrorKind::MembershipRefused, "{early}");

    newcomer.launch().unwrap();
    wait!(
        "the learner catches up and is promoted",
        match client.promote_member(member.id).await {
            Ok(promoted) => {
                let of = |other: &&Member| other.id == member.id;
                assert!(!promoted.members.iter().find(of).unwrap().is_learner);
                true
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::MembershipRefused, "{error}");
                false
            }
        }
    );
    newcomer.ready().await.unwrap();
    let list = client.list_members().await.unwrap();
    assert_eq!(told(&list.members), listed(&cluster.members()[0]).await);
    let joined = list.members.iter().find(|other| other.id == member.id);
    let joined = joined.unwrap();
    assert_eq!((&*joined.name, joined.is_learner), ("n4", false));
    assert_eq!(joined.client_urls, [newcomer.endpoint()]);
    member.id
}

/// The member changes its peer URLs, and is then removed.
async fn leave(cluster: &Cluster, client: &Client, id: u64) {
    let elsewhere = ["http://127.0.0.1:1", "http://[::1]:1"];
    let updated = client.update_member(id, elsewhere).await.unwrap();
    let member = updated.members.iter().find(|member| member.id == id);
    let mut urls = member.unwrap().peer_urls.clone();
    urls.sort();
    assert_eq!(urls, elsewhere);

    let promoted = client.promote_member(id).await.unwrap_err();
    assert_eq!(promoted.kind(), ErrorKind::MembershipRefused, "{promoted}");

    let removed = client.remove_member(id).await.unwrap();
    assert_eq!(removed.members.len(), 3);
    assert!(removed.members.iter().all(|member| member.id != id));
    assert_eq!(told(&removed.members), listed(&cluster.members()[0]).await);
    for error in [
        client.remove_member(id).await.unwrap_err(),
        client.update_member(id, elsewhere).await.unwrap_err(),
        client.promote_member(77).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::MemberNotFound, "{error}");
        assert_eq!(error.outcome(), Outcome::Rejected, "{error}");
    }
}

async fn nonsense(client: &Client) {
    assert_refused(client.add_member(["127.0.0.1:2380"]).await);
    assert_refused(client.add_member(["http://127.0.0.1"]).await);
    assert_refused(client.add_member([""; 0]).await);
    assert_refused(client.update_member(7, ["http://127.0.0.1:1/x"]).await);
    assert_refused(client.update_member(0, ["http://127.0.0.1:1"]).await);
    assert_refused(client.remove_member(0).await);
    assert_refused(client.promote_member(0).await);
}

/// A member without a quorum answers a serializable request.
async fn without_quorum(cluster: &Cluster, client: &Client) {
    let [alone, others @ ..] = cluster.members() else {
        panic!("there are three members");
    };
    let before = client.list_members().await.unwrap().members;
    others.iter().for_each(Etcd::kill);
    let client = client.with_endpoint(alone.endpoint()).unwrap();
    let known = client.list_members().serializable().await.unwrap();
    assert_eq!(known.members, before);

    let agreed = client.list_members().timeout(Duration::from_secs(2)).await;
    if alone.version().is_at_least(3, 5) {
        agreed.unwrap_err();
    } else {
        assert_eq!(agreed.unwrap().members, before);
    }
}
