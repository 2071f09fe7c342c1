//! Endpoints that a client learns from the cluster, and members by their IDs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use etcdex_proto::etcdserverpb as pb;
use tokio::io::DuplexStream;
use tokio::time::sleep;

use super::peer::{Asked, Peers, framed, serve};
use crate::{Client, Endpoint, ErrorKind};

const INTERVAL: Duration = Duration::from_secs(60);
const LIST: &str = "/etcdserverpb.Cluster/MemberList";
const STATUS: &str = "/etcdserverpb.Maintenance/Status";
const LOGIN: &str = "/etcdserverpb.Auth/Authenticate";

/// The member list of a cluster, and the URLs at which no server listens.
#[derive(Clone, Default)]
pub(super) struct Script {
    members: Arc<Mutex<Vec<pb::Member>>>,
    down: Arc<Mutex<Vec<&'static str>>>,
    lists: Arc<AtomicUsize>,
    /// URLs at which another cluster listens.
    moved: Arc<Mutex<Vec<&'static str>>>,
    /// The ID of the member at each URL.
    ids: Arc<Mutex<Vec<(&'static str, u64)>>>,
    /// URLs that do not give the ID of their cluster without a token.
    silent: Arc<Mutex<Vec<&'static str>>>,
    /// URLs of the peers that got other requests, in order.
    asked: Arc<Mutex<Vec<&'static str>>>,
}

impl Script {
    pub(super) fn advertise(&self, urls: &[&str]) {
        let members = urls.iter().enumerate().map(|(number, url)| pb::Member {
            id: number as u64 + 1,
            client_ur_ls: match *url {
                "" => vec![],
                url => url.split(',').map(str::to_owned).collect(),
            },
            is_learner: url.contains("learner"),
            ..pb::Member::default()
        });
        *self.members.lock().expect("no panic") = members.collect();
    }

    fn kill(&self, url: &'static str) {
        self.down.lock().expect("no panic").push(url);
    }

    fn asked(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.asked.lock().expect("no panic"))
    }

    /// Peers of one cluster at `urls`, and of another cluster at `foreign`.
    pub(super) fn peers(&self, urls: &[&'static str], foreign: &[&'static str]) -> Peers {
        let all = urls.iter().map(|url| (*url, 7));
        let all = all.chain(foreign.iter().map(|url| (*url, 8)));
        all.fold(Peers::default(), |peers, (url, cluster)| {
            let script = self.clone();
            peers.and(url, move |_, stream| {
                script.clone().serve(url, cluster, stream)
            })
        })
    }

    async fn serve(self, url: &'static str, cluster: u64, stream: DuplexStream) {
        let down = Arc::clone(&self.down);
        let is_down = move || down.lock().expect("no panic").contains(&url);
        let dies = async {
            while !is_down() {
                sleep(Duration::from_millis(100)).await;
            }
        };
        let serving = serve(stream, move |asked: Asked| {
            let script = self.clone();
            async move { script.answer(url, cluster, asked) }
        });
        tokio::select! {
            biased;
            () = dies => {}
            () = serving => {}
        }
    }

    fn answer(&self, url: &'static str, cluster_id: u64, asked: Asked) {
        let has = |urls: &Mutex<Vec<&str>>| urls.lock().expect("no panic").contains(&url);
        let ids = self.ids.lock().expect("no panic").clone();
        let id = ids.iter().find(|(known, _)| *known == url);
        let header = pb::ResponseHeader {
            cluster_id: cluster_id + u64::from(has(&self.moved)),
            member_id: id.map_or(0, |(_, id)| *id),
            ..pb::ResponseHeader::default()
        };
        if asked.path == STATUS {
            assert!(
                !asked.headers.contains_key("token"),
                "the connection has no proof yet"
            );
            if has(&self.silent) {
                return asked.fail("3", "etcdserver: user name is empty");
            }
            return asked.answer(framed(&pb::StatusResponse {
                header: Some(header),
                ..pb::StatusResponse::default()
            }));
        }
        if asked.path == LOGIN {
            self.asked.lock().expect("no panic").push(url);
            return asked.answer(framed(&pb::AuthenticateResponse {
                header: Some(header),
                token: "hush".to_owned(),
            }));
        }
        if asked.path != LIST {
            self.asked.lock().expect("no panic").push(url);
            return asked.answer_well();
        }
        self.lists.fetch_add(1, Ordering::Relaxed);
        asked.answer(framed(&pb::MemberListResponse {
            header: Some(header),
            members: self.members.lock().expect("no panic").clone(),
        }));
    }
}

fn endpoints(client: &Client) -> Vec<String> {
    let endpoints = client.endpoints();
    let mut urls: Vec<String> = endpoints.iter().map(|one| one.url().to_owned()).collect();
    urls.sort();
    urls
}

/// A client that was given these endpoints.
async fn client(peers: &Peers, seeds: &[&str]) -> Client {
    let builder = Client::builder().endpoints(seeds).connector(peers.clone());
    let builder = builder.auto_sync_interval(INTERVAL);
    let client = builder.connect().await.expect("the client connects");
    sleep(Duration::from_secs(5)).await;
    client
}

#[tokio::test(start_paused = true)]
async fn members_are_learned_and_forgotten() {
    let script = Script::default();
    let peers = script.peers(&["http://a:1", "http://b:1", "http://c:1"], &[]);
    script.advertise(&["http://a:1", "http://b:1", "http://learner:1"]);
    let client = client(&peers, &["http://a:1"]).await;
    assert_eq!(endpoints(&client), ["http://a:1", "http://b:1"]);
    client.add_endpoint("http://own:1").expect("a URL");

    script.advertise(&["http://a:1", "http://b:1", "http://c:1"]);
    sleep(INTERVAL * 2).await;
    let all = ["http://a:1", "http://b:1", "http://c:1", "http://own:1"];
    assert_eq!(endpoints(&client), all);
    script.advertise(&["http://b:1", "http://c:1"]);
    sleep(INTERVAL * 2).await;
    assert_eq!(endpoints(&client), all[1..]);
    client.get("k").await.expect("an answer");
    assert_ne!(script.asked(), ["http://a:1"]);

    // Once in an interval, plus or minus a tenth, in addition to other attempts.
    let before = script.lists.load(Ordering::Relaxed);
    sleep(INTERVAL * 20).await;
    let lists = script.lists.load(Ordering::Relaxed) - before;
    assert!((18..=20 * 3).contains(&lists), "{lists}");
    client.close(Duration::ZERO).await;
    let before = script.lists.load(Ordering::Relaxed);
    sleep(INTERVAL * 20).await;
    assert_eq!(script.lists.load(Ordering::Relaxed), before);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_cannot_be_reached_is_not_used() {
    let script = Script::default();
    let peers = script.peers(&["http://seed:1"], &["http://localhost:2379"]);
    script.advertise(&["http://10.0.0.1:1", "http://localhost:2379"]);
    let client = client(&peers, &["http://seed:1"]).await;
    for _ in 0..3 {
        assert_eq!(endpoints(&client), ["http://seed:1"]);
        sleep(INTERVAL).await;
        client.put("k", "v").await.expect("an answer");
    }
    assert_eq!(
        script.asked(),
        ["http://seed:1"; 3],
        "not the other cluster"
    );
}

#[tokio::test(start_paused = true)]
async fn a_seed_is_dropped_and_used_again_when_no_endpoint_answers() {
    let script = Script::default();
    let urls = ["http://a:1", "http://b:1", "http://seed:1"];
    let peers = script.peers(&urls, &[]);
    script.advertise(&urls[..2]);
    let client = client(&peers, &["http://seed:1"]).await;
    assert_eq!(endpoints(&client), urls[..2]);
    client.put("k", "v").await.expect("an answer");
    assert_ne!(script.asked(), ["http://seed:1"]);

    script.kill("http://a:1");
    script.kill("http://b:1");
    sleep(Duration::from_secs(1)).await;
    client.get("k").await.expect("the seed answers");
    assert_eq!(script.asked(), ["http://seed:1"]);
    sleep(INTERVAL * 3).await;
    assert_eq!(endpoints(&client), urls, "no other endpoint has answered");
    script.down.lock().expect("no panic").clear();
    sleep(INTERVAL * 3).await;
    assert_eq!(endpoints(&client), urls[..2]);
}

#[tokio::test(start_paused = true)]
async fn a_lazy_client_connects_only_for_calls() {
    let script = Script::default();
    let peers = script.peers(&["http://a:1", "http://b:1"], &[]);
    script.advertise(&["http://a:1", "http://b:1"]);
    let builder = Client::builder().endpoint("http://a:1");
    let builder = builder.connector(peers.clone());
    let client = builder.auto_sync_interval(INTERVAL).connect_lazy();
    let client = client.expect("a client");
    sleep(INTERVAL * 3).await;
    assert_eq!(peers.connections("http://a:1"), 0);
    client.get("k").await.expect("an answer");
    sleep(Duration::from_secs(5)).await;
    assert_eq!(endpoints(&client).len(), 2);
    drop(client);
    let before = script.lists.load(Ordering::Relaxed);
    sleep(INTERVAL * 20).await;
    assert_eq!(script.lists.load(Ordering::Relaxed), before);
}

#[tokio::test(start_paused = true)]
async fn a_member_is_found_by_its_id() {
    let script = Script::default();
    let peers = script.peers(&["http://a:1", "http://b:1"], &[]);
    script.advertise(&["http://a:1", "https://b:1,http://b:1", "", "https://c:1"]);
    let builder = Client::builder().endpoint("http://a:1");
    let client = builder.connector(peers.clone()).connect().await;
    let client = client.expect("the client connects");
    let b = client.member(2).await.expect("a member");
    let a = client.member(1).await.expect("a member");
    assert_eq!(
        script.lists.load(Ordering::Relaxed),
        1,
        "the client caches the member list"
    );
    for _ in 0..3 {
        b.get("k").await.expect("an answer");
        a.get("k").await.expect("an answer");
        client.get("k").await.expect("an answer");
    }
    assert_eq!(
        script.asked(),
        ["http://b:1", "http://a:1", "http://a:1"].repeat(3)
    );
    assert_eq!(
        endpoints(&client),
        ["http://a:1"],
        "only the handle of the member uses it"
    );
    // An unused member has no connection.
    sleep(Duration::from_secs(120)).await;
    b.get("k").await.expect("an answer");
    assert_eq!(peers.connections("http://b:1"), 2);

    let kind = async |id| client.member(id).await.expect_err("none").kind();
    assert_eq!(kind(77).await, ErrorKind::MemberNotFound);
    assert_eq!(kind(3).await, ErrorKind::Unavailable);
    assert_eq!(
        kind(4).await,
        ErrorKind::Config,
        "the member has only https URLs"
    );
    // The client asks for the list again for an unknown ID.
    script.advertise(&["http://a:1", "http://b:1", "http://b:1"]);
    let third = client.member(3).await.expect("a member");
    third.get("k").await.expect("an answer");

    // An endpoint that is added stays the member's, and a removed one is neither.
    let b_endpoint: Endpoint = "http://b:1".parse().expect("a URL");
    assert!(client.add_endpoint(b_endpoint.url()).expect("a URL"));
    b.get("k").await.expect("an answer");
    assert!(client.remove_endpoint(b_endpoint.url()).expect("a URL"));
    assert_eq!(
        b.get("k").await.expect_err("gone").kind(),
        ErrorKind::Config
    );
    let again = client.member(2).await.expect("a member");
    again.get("k").await.expect("an answer");
}

/// A client with credentials and the seed `http://a:1`, which learns the other endpoints.
async fn with_credentials(peers: &Peers) -> Client {
    let builder = Client::builder().endpoint("http://a:1");
    let builder = builder.connector(peers.clone()).credentials("root", "hush");
    let client = builder.auto_sync_interval(INTERVAL).connect().await;
    sleep(Duration::from_secs(5)).await;
    client.expect("the client connects")
}

#[tokio::test(start_paused = true)]
async fn each_connection_to_a_learned_address_asks_for_its_cluster() {
    let script = Script::default();
    let urls = ["http://a:1", "http://b:1"];
    let peers = script.peers(&urls, &[]);
    script.advertise(&urls);
    let client = with_credentials(&peers).await;
    assert_eq!(endpoints(&client), urls);
    let b = client.with_endpoint("http://b:1").expect("an endpoint");
    b.get("k").await.expect("an answer");

    // Another machine has the address now.
    script.kill("http://b:1");
    sleep(Duration::from_secs(1)).await;
    script.moved.lock().expect("no panic").push("http://b:1");
    script.down.lock().expect("no panic").clear();
    script.asked();
    let before = peers.connections("http://b:1");
    let error = b.put("k", "v").await.expect_err("another cluster listens");
    assert_eq!(error.kind(), ErrorKind::ClusterMismatch, "{error}");
    assert_eq!(error.outcome(), crate::Outcome::NotSent);
    assert!(peers.connections("http://b:1") > before);
    sleep(INTERVAL * 3).await;
    client.put("k", "v").await.expect("an answer");
    let asked = script.asked();
    assert!(!asked.contains(&"http://b:1"), "{asked:?}");

    // The cluster has a new ID, too: the seed answers with it, and learned endpoints are asked
    // again.
    script.moved.lock().expect("no panic").push("http://a:1");
    sleep(INTERVAL * 3).await;
    b.put("k", "v").await.expect("an answer");
}

#[tokio::test(start_paused = true)]
async fn an_address_without_a_cluster_id_is_used_only_if_the_user_adds_it() {
    let script = Script::default();
    let urls = ["http://a:1", "http://b:1"];
    let peers = script.peers(&urls, &[]);
    script.advertise(&urls);
    script.silent.lock().expect("no panic").push("http://b:1");
    let client = with_credentials(&peers).await;
    sleep(INTERVAL * 3).await;
    assert_eq!(endpoints(&client), urls[..1]);
    let b = client.member(2).await.expect("a member");
    let error = b
        .get("k")
        .await
        .expect_err("the server gives no cluster ID");
    // The scripted server does not answer the watch either.
    assert!(error.to_string().contains("which cluster"), "{error}");
    let asked = script.asked();
    assert!(!asked.contains(&"http://b:1"), "{asked:?}");

    client.add_endpoint("http://b:1").expect("a URL");
    let b = client.with_endpoint("http://b:1").expect("an endpoint");
    b.get("k").await.expect("an answer");
}

#[tokio::test(start_paused = true)]
async fn a_handle_of_a_member_by_its_id_never_reaches_another_member() {
    let script = Script::default();
    let urls = ["http://a:1", "http://b:1"];
    let peers = script.peers(&urls, &[]);
    let identify = |ids: [u64; 2]| {
        let ids = urls.into_iter().zip(ids).collect();
        *script.ids.lock().expect("no panic") = ids;
    };
    identify([1, 2]);
    script.advertise(&urls);
    let builder = Client::builder().endpoints(urls).connector(peers.clone());
    let client = builder.connect().await.expect("the client connects");
    let handles = [
        client.member(1).await.expect("a member"),
        client.member(2).await.expect("a member"),
    ];
    for handle in &handles {
        handle.put("k", "v").await.expect("an answer");
    }
    assert_eq!(script.asked(), urls);

    // The members swap their URLs.
    script.down.lock().expect("no panic").extend(urls);
    sleep(Duration::from_secs(1)).await;
    identify([2, 1]);
    script.advertise(&["http://b:1", "http://a:1"]);
    script.down.lock().expect("no panic").clear();
    for (handle, id) in handles.iter().zip([1, 2]) {
        let error = handle.put("k", "v").await.expect_err("another member");
        assert_eq!(error.kind(), ErrorKind::MemberNotFound, "{error}");
        assert_eq!(error.outcome(), crate::Outcome::NotSent, "{error}");
        assert!(script.asked().is_empty(), "member {id}: {error}");
    }
    // Calls without a member go on.
    client.put("k", "v").await.expect("an answer");
    script.asked();
    for (id, url) in [(1, urls[1]), (2, urls[0])] {
        let member = client.member(id).await.expect("a member");
        member.put("k", "v").await.expect("an answer");
        assert_eq!(script.asked(), [url], "member {id}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_from_before_the_handle_is_asked_for_its_member_too() {
    let script = Script::default();
    let urls = ["http://a:1", "http://b:1"];
    let peers = script.peers(&urls, &[]);
    // The member list is out of date: another member has the second URL.
    *script.ids.lock().expect("no panic") = vec![(urls[0], 1), (urls[1], 3)];
    script.advertise(&urls);
    let builder = Client::builder().endpoints(urls).connector(peers.clone());
    let client = builder.connect().await.expect("the client connects");
    let second = client.with_endpoint(urls[1]).expect("an endpoint");
    second.put("k", "v").await.expect("an answer");
    assert_eq!(script.asked(), [urls[1]]);
    let handle = client.member(2).await.expect("a member");
    let error = handle.put("k", "v").await.expect_err("another member");
    assert_eq!(error.kind(), ErrorKind::MemberNotFound, "{error}");
    assert_eq!(script.asked(), [""; 0]);
    second.put("k", "v").await.expect("an answer");
    assert_eq!(script.asked(), [urls[1]]);
}

#[tokio::test(start_paused = true)]
async fn endpoints_are_learned_on_demand() {
    let script = Script::default();
    let peers = script.peers(&["http://a:1", "http://b:1"], &["http://alien:1"]);
    let builder = Client::builder().endpoint("http://a:1").connector(peers);
    let client = builder.connect().await.expect("the client connects");
    script.advertise(&["http://a:1", "http://b:1", "http://alien:1"]);
    let synced = client.sync_endpoints().await.expect("an answer");
    assert_eq!(synced, client.endpoints());
    assert_eq!(endpoints(&client), ["http://a:1", "http://b:1"]);
    script.advertise(&["http://b:1"]);
    client.sync_endpoints().await.expect("an answer");
    assert_eq!(endpoints(&client), ["http://b:1"]);
    // The client uses the given endpoint again when it has no other.
    script.kill("http://b:1");
    client
        .get("k")
        .await
        .expect("an answer of the given endpoint");
    client.close(Duration::from_secs(1)).await;
    let error = client
        .sync_endpoints()
        .await
        .expect_err("the client is closed");
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_sync_under_way_does_not_undo_set_endpoints() {
    let script = Script::default();
    let urls = ["http://a:1", "http://b:1", "http://c:1"];
    script.advertise(&urls[..2]);
    let builder = Client::builder().endpoint(urls[0]);
    let builder = builder.connector(script.peers(&urls, &[]));
    let client = builder.connect().await.expect("the client connects");
    let mut sync = Box::pin(client.sync_endpoints());
    assert!(super::peer::poll_once(&mut sync).is_pending());
    client.set_endpoints("http://c:1").expect("a URL");
    assert_eq!(sync.await.expect("an answer").len(), 1);
    assert_eq!(endpoints(&client), ["http://c:1"]);
    client.get("k").await.expect("an answer");
    assert_eq!(script.asked(), ["http://c:1"]);
}

#[tokio::test(start_paused = true)]
async fn set_endpoints_replaces_the_seeds() {
    let script = Script::default();
    let peers = script.peers(&["http://a:1", "http://b:1", "http://c:1"], &[]);
    script.advertise(&["http://a:1"]);
    let client = client(&peers, &["http://a:1"]).await;
    script.advertise(&["http://b:1"]);
    client.set_endpoints("http://c:1").expect("a URL");
    client.get("k").await.expect("an answer");
    sleep(INTERVAL * 2).await;
    assert_eq!(endpoints(&client), ["http://b:1"]);
    script.kill("http://b:1");
    sleep(INTERVAL).await;
    assert_eq!(endpoints(&client), ["http://b:1", "http://c:1"]);
}
