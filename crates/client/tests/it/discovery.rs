//! Endpoints that a client learns from the cluster.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use etcdex::connector::ByteStream;
use etcdex::connector::ConnectFuture;
use etcdex::{Client, Connector, Endpoint, ErrorKind, Outcome};
use etcdex_testkit::{Cluster, Etcd, Proxy};

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

        // A learner is no endpoint, and a member with a vote is one.
        let newcomer = cluster.newcomer().unwrap();
        let added = client.add_member([newcomer.peer_url()]).learner();
        let id = added.await.unwrap().member.id;
        newcomer.launch().unwrap();
        eventually("the learner is promoted", || async {
            client.promote_member(id).await.is_ok()
        })
        .await;
        newcomer.ready().await.unwrap();
        let mut all = cluster.endpoints();
        all.push(newcomer.endpoint());
        has(&client, all).await;

        // A member is found by its ID, independently of the client's endpoints.
        let other = Client::connect(cluster.endpoints()[0].clone())
            .await
            .unwrap();
        let fourth = other.member(id).await.unwrap();
        let status = fourth.maintenance().status().await.unwrap();
        assert_eq!(status.header.member_id, id);
        assert_eq!(other.endpoints().len(), 1);
        let unknown = other.member(77).await.unwrap_err();
        assert_eq!(unknown.kind(), ErrorKind::MemberNotFound, "{unknown}");

        client.remove_member(id).await.unwrap();
        has(&client, cluster.endpoints()).await;
        // The seed may be removed, too.
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

/// For example a cluster in a private network, behind a gateway.
#[tokio::test]
async fn a_seed_stays_if_no_advertised_url_can_be_reached() {
    ends(|binary| async move {
        let unused = "http://127.0.0.1:1";
        let bogus = format!("--advertise-client-urls={unused}");
        let etcd = Etcd::builder().binary(&binary).args([bogus]);
        let etcd = etcd.start().await.unwrap();
        let client = connect(etcd.endpoint()).await;
        let list = client.list_members().await.unwrap();
        assert_eq!(list.members[0].client_urls, [unused]);
        for _ in 0..10 {
            client.put("k", "v").await.unwrap();
            assert_eq!(endpoints(&client), [etcd.endpoint()]);
            tokio::time::sleep(INTERVAL / 2).await;
        }
        // No server listens; the error shows that the client has tried the URL.
        let id = list.members[0].id;
        let member = client.member(id).await.unwrap();
        let error = member.get("k").timeout(Duration::from_millis(500)).await;
        let error = error.unwrap_err();
        assert!(error.to_string().contains(unused), "{error}");
    })
    .await;
}

/// Connects the URL of each of two members to that member, or to the other one.
struct Crossing {
    members: [SocketAddr; 2],
    proxies: [SocketAddr; 2],
    swapped: Arc<AtomicBool>,
}

impl Connector for Crossing {
    fn connect(&self, endpoint: &Endpoint) -> ConnectFuture {
        let first = format!("http://{}", self.members[0]);
        let second = endpoint.url() != first;
        let swapped = self.swapped.load(Ordering::Relaxed);
        let address = self.proxies[usize::from(second != swapped)];
        Box::pin(async move {
            let stream = tokio::net::TcpStream::connect(address).await?;
            Ok(Box::new(stream) as Box<dyn ByteStream>)
        })
    }
}

/// A member gets the address of another one, as restarted containers do.
#[tokio::test]
async fn a_handle_of_a_member_by_its_id_reaches_no_other_member() {
    ends(|binary| async move {
        let cluster = Cluster::start(&binary, 3).await.unwrap();
        let members = [0, 1].map(|place| cluster.members()[place].client_address());
        let proxies = [
            Proxy::start(members[0]).await.unwrap(),
            Proxy::start(members[1]).await.unwrap(),
        ];
        let swapped = Arc::new(AtomicBool::new(false));
        let connector = Crossing {
            members,
            proxies: [proxies[0].address(), proxies[1].address()],
            swapped: Arc::clone(&swapped),
        };
        let endpoints = cluster.endpoints();
        let builder = Client::builder().endpoints(&endpoints[..2]);
        let client = builder.connector(connector).connect().await.unwrap();
        let list = client.list_members().await.unwrap().members;
        let id_of = |url: &String| {
            let member = list.iter().find(|member| member.client_urls.contains(url));
            member.unwrap().id
        };
        let ids = [id_of(&endpoints[0]), id_of(&endpoints[1])];
        let mut handles = Vec::new();
        for id in ids {
            let handle = client.member(id).await.unwrap();
            let header = handle.put("k", "before").await.unwrap().header;
            assert_eq!(header.member_id, id);
            handles.push(handle);
        }
        let written = client.get("k").await.unwrap().header.revision;

        let swap = |now: bool| {
            swapped.store(now, Ordering::Relaxed);
            proxies.iter().for_each(Proxy::reset);
        };
        swap(true);
        for handle in &handles {
            eventually("the connection has broken", || async {
                let error = handle.put("k", "after").await.unwrap_err();
                error.kind() == ErrorKind::MemberNotFound && error.outcome() == Outcome::NotSent
            })
            .await;
        }
        assert_eq!(client.get("k").await.unwrap().header.revision, written);

        swap(false);
        for id in ids {
            eventually("the member is found again", || async {
                let Ok(handle) = client.member(id).await else {
                    return false;
                };
                let reply = handle.put("k", "found").await;
                reply.is_ok_and(|reply| reply.header.member_id == id)
            })
            .await;
        }
    })
    .await;
}

#[tokio::test]
async fn endpoints_are_synced_on_demand_and_replaced() {
    ends(|binary| async move {
        let cluster = start(&binary, &[]).await;
        let all = cluster.endpoints();
        let client = Client::builder().endpoint(&all[0]).timeout(DEADLINE);
        let client = client.connect().await.unwrap();
        client.sync_endpoints().await.unwrap();
        has(&client, all.clone()).await;
        client.set_endpoints(&all[1..2]).unwrap();
        assert_eq!(endpoints(&client), all[1..2]);
        client.put("k", "v").await.unwrap();
    })
    .await;
}
