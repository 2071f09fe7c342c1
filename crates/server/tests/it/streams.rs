//! The streams of Watch and of LeaseKeepAlive: the same requests to real etcd and to the embedded
//! server have the same responses.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use etcdex::{Client, Put};
use etcdex_proto::etcdserverpb as pb;
use etcdex_proto::etcdserverpb::watch_request::RequestUnion;
use etcdex_proto::method::lease::LEASE_KEEP_ALIVE;
use etcdex_proto::method::watch::WATCH;
use etcdex_proto::mvccpb;
use etcdex_proto::mvccpb::event::EventType;
use etcdex_server::Server;
use tokio::time::timeout;

use crate::raw::{Stream, connect};
use crate::real::{Real, assert_same};

const DEADLINE: Duration = Duration::from_secs(30);

/// A stream of watches, and a client that changes keys.
struct Watches {
    stream: Stream,
    client: Client,
    /// The revision before the test.
    base: i64,
    transcript: Vec<String>,
}

impl Watches {
    async fn open(url: &str) -> Self {
        let client = Client::connect(url).await.unwrap();
        Self {
            stream: Stream::open(&connect(url).await, WATCH).await,
            base: client.get("k").await.unwrap().header.revision,
            client,
            transcript: Vec::new(),
        }
    }

    fn request(&mut self, union: RequestUnion) {
        let request_union = Some(union);
        self.stream.send(&pb::WatchRequest { request_union });
    }

    fn create(&mut self, create: pb::WatchCreateRequest) {
        self.request(RequestUnion::CreateRequest(create));
    }

    fn cancel(&mut self, watch_id: i64) {
        let cancel = pb::WatchCancelRequest { watch_id };
        self.request(RequestUnion::CancelRequest(cancel));
    }

    /// Notes this many lines: one for each answer to a request, and one for each revision that a watch is
    /// told of, as one response may have several of them.
    async fn note(&mut self, step: &str, count: usize) {
        self.transcript.push(format!("# {step}"));
        let first = self.transcript.len();
        while self.transcript.len() < first + count {
            let response = timeout(DEADLINE, self.stream.next()).await;
            let response = response.expect("a response").expect("the stream goes on");
            self.add(&response);
        }
        // Two watches are told in no order.
        self.transcript[first..].sort_by_key(|line| line.split(' ').next().map(str::to_owned));
    }

    fn add(&mut self, response: &pb::WatchResponse) {
        let revision = response.header.as_ref().unwrap().revision;
        let id = response.watch_id;
        let mut lines: BTreeMap<i64, String> = BTreeMap::new();
        for event in &response.events {
            let main = event.kv.as_ref().unwrap().mod_revision;
            assert!(main <= revision);
            let line = lines.entry(main).or_insert_with(|| {
                let fragment = response.fragment;
                format!("{id} +{} fragment {fragment}", main - self.base)
            });
            line.push_str(&self.event(event));
        }
        if lines.is_empty() {
            let answer = format!(
                "{id} header +{} created {} canceled {} compacted {} {:?}",
                (revision - self.base).max(-1),
                response.created,
                response.canceled,
                (response.compact_revision - self.base).max(-1),
                response.cancel_reason,
            );
            lines.insert(revision, answer);
        }
        self.transcript.extend(lines.into_values());
    }

    fn event(&self, event: &mvccpb::Event) -> String {
        let kv = event.kv.as_ref().unwrap();
        let before = event.prev_kv.as_ref();
        format!(
            ", {:?} {:?}: {} bytes, version {} create +{} before {:?}",
            EventType::try_from(event.r#type).unwrap(),
            kv.key,
            kv.value.len(),
            kv.version,
            (kv.create_revision - self.base).max(0),
            before.map(|kv| (kv.mod_revision - self.base, kv.value.len())),
        )
    }
}

fn on(key: &'static str) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest {
        key: key.into(),
        ..pb::WatchCreateRequest::default()
    }
}

/// Plays the same requests, and returns the responses.
async fn play(url: &str) -> Vec<String> {
    let mut watches = Watches::open(url).await;
    let client = watches.client.clone();
    watches.create(on("k"));
    watches.create(pb::WatchCreateRequest {
        watch_id: 7,
        prev_kv: true,
        ..on("k")
    });
    watches.note("two watches of a key", 2).await;
    client.put("k", "one").await.unwrap();
    client.put("k", "two").await.unwrap();
    client.put("other", "").await.unwrap();
    client.delete("k").await.unwrap();
    client.delete("k").await.unwrap();
    watches.note("puts and a deletion", 6).await;
    watches.create(pb::WatchCreateRequest {
        watch_id: 7,
        ..on("x")
    });
    watches.create(pb::WatchCreateRequest {
        range_end: "a".into(),
        ..on("b")
    });
    watches.create(pb::WatchCreateRequest {
        range_end: "b".into(),
        ..on("b")
    });
    watches
        .note("an ID that is in use, and empty ranges", 3)
        .await;
    watches.cancel(7);
    watches.cancel(99);
    watches.note("cancellations", 1).await;
    watches.create(pb::WatchCreateRequest {
        watch_id: 1,
        ..on("one")
    });
    watches.create(on("next"));
    watches
        .note("an ID that the server chooses skips those in use", 2)
        .await;
    watches.create(pb::WatchCreateRequest {
        range_end: "\0".into(),
        start_revision: watches.base + 1,
        watch_id: 20,
        prev_kv: true,
        ..on("")
    });
    watches.note("all keys from the past", 5).await;
    watches.cancel(20);
    let filters: [(i64, &[i32]); 3] = [(30, &[0]), (31, &[1]), (32, &[0, 1])];
    for (watch_id, filters) in filters {
        watches.create(pb::WatchCreateRequest {
            range_end: "l".into(),
            start_revision: watches.base + 1,
            watch_id,
            filters: filters.to_vec(),
            ..on("k")
        });
    }
    watches.note("filters", 7).await;
    let puts = ["k1", "k0", "z"].map(|key| Put::new(key, key));
    client.txn().then_all(puts).await.unwrap();
    client.delete("k").prefix().await.unwrap();
    watches.note("changes of one revision", 2).await;
    let revision = client.get("k").await.unwrap().header.revision;
    client.compact(revision).await.unwrap();
    for (watch_id, start_revision) in [(40, watches.base + 1), (41, revision - 1), (42, revision)] {
        watches.create(pb::WatchCreateRequest {
            watch_id,
            start_revision,
            prev_kv: true,
            ..on("k0")
        });
    }
    watches.note("from compacted revisions", 6).await;
    watches.create(pb::WatchCreateRequest {
        watch_id: 40,
        ..on("k40")
    });
    watches.cancel(40);
    watches.cancel(41);
    watches.create(pb::WatchCreateRequest {
        watch_id: 40,
        ..on("k40")
    });
    watches.note("cancellations of what is canceled", 4).await;
    client.put("k40", "").await.unwrap();
    watches
        .note("an ID of a watch that the server has canceled", 2)
        .await;
    fragments(&mut watches).await;
    watches.transcript
}

/// A revision of 4 MB, to a watch that takes fragments, and to one that does not.
async fn fragments(watches: &mut Watches) {
    for (watch_id, fragment) in [(50, true), (51, false)] {
        watches.create(pb::WatchCreateRequest {
            range_end: "m".into(),
            watch_id,
            fragment,
            ..on("large")
        });
    }
    watches.note("watches of large values", 2).await;
    let large = (0..50).map(|n| Put::new(format!("large{n:02}"), vec![b'x'; 20_000]));
    watches.client.txn().then_all(large).await.unwrap();
    watches.note("a large revision", 2).await;
    // With the values from before, the next response is too large for one message.
    watches.create(pb::WatchCreateRequest {
        range_end: "m".into(),
        watch_id: 52,
        fragment: true,
        prev_kv: true,
        ..on("large")
    });
    watches.note("a watch with the values from before", 1).await;
    let large = (0..50).map(|n| Put::new(format!("large{n:02}"), vec![b'y'; 29_000]));
    watches.client.txn().then_all(large).await.unwrap();
    watches
        .note("a revision that is told in fragments", 4)
        .await;
    let ids: Vec<i64> = vec![0, 1, 2, 30, 31, 32, 40, 42, 50, 51, 52];
    for id in ids {
        watches.cancel(id);
    }
    watches.note("the end", 11).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_watches_is_answered_as_by_real_etcd() {
    let Some(real) = Real::start(&[]).await else {
        return;
    };
    let server = Server::builder().start().await.unwrap();
    let expected = play(&real.etcd.endpoint()).await;
    let found = play(&server.client_url()).await;
    assert_same(&found, &expected);
}

async fn renew(url: &str) -> Vec<String> {
    let client = Client::connect(url).await.unwrap();
    let lease = client.grant(Duration::from_secs(60)).await.unwrap().id;
    let short = client.grant(Duration::from_secs(1)).await.unwrap().id;
    let mut stream = Stream::open(&connect(url).await, LEASE_KEEP_ALIVE).await;
    let names = HashMap::from([(lease.as_i64(), "long"), (short.as_i64(), "short")]);
    let mut transcript = Vec::new();
    let base = client.get("k").await.unwrap().header.revision;
    for id in [
        lease.as_i64(),
        short.as_i64(),
        lease.as_i64(),
        12_345,
        0,
        -1,
    ] {
        stream.send(&pb::LeaseKeepAliveRequest { id });
        let reply: pb::LeaseKeepAliveResponse = stream.next().await.unwrap();
        let revision = reply.header.as_ref().unwrap().revision - base;
        let name = names.get(&reply.id).copied().unwrap_or("unknown");
        transcript.push(format!("{name} {} +{revision}", reply.ttl));
    }
    client.revoke(lease).await.unwrap();
    stream.send(&pb::LeaseKeepAliveRequest { id: lease.as_i64() });
    let reply: pb::LeaseKeepAliveResponse = stream.next().await.unwrap();
    transcript.push(format!("revoked {}", reply.ttl));
    stream.end();
    assert!(stream.next::<pb::LeaseKeepAliveResponse>().await.is_none());
    transcript.push(stream.status().await.0);
    transcript
}

#[tokio::test]
async fn renewals_are_answered_as_by_real_etcd() {
    let Some(real) = Real::start(&[]).await else {
        return;
    };
    let server = Server::builder().start().await.unwrap();
    let expected = renew(&real.etcd.endpoint()).await;
    assert_eq!(renew(&server.client_url()).await, expected);
}
