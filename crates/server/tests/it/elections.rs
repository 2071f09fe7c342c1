//! The services Lock and Election: the same requests to real etcd and to the embedded server have the
//! same replies.

use std::time::Duration;

use bytes::Bytes;
use etcdex::{Client, LeaseId};
use etcdex_proto::method::{election, lock};
use etcdex_proto::{v3electionpb as pb, v3lockpb};
use etcdex_server::Server;
use h2::client::SendRequest;
use tokio::time::timeout;

use crate::raw::{Stream, call, connect};
use crate::real::{Real, assert_same};

const DEADLINE: Duration = Duration::from_secs(30);

struct Electors {
    sender: SendRequest<Bytes>,
    client: Client,
    base: i64,
    leases: [LeaseId; 3],
    transcript: Vec<String>,
}

impl Electors {
    async fn new(url: &str) -> Self {
        let client = Client::connect(url).await.unwrap();
        let mut leases = Vec::new();
        // The keys of the leases sort in the order of their IDs.
        for id in 1..=3 {
            let id = LeaseId::new(0x1234_5678_0000 + id).unwrap();
            let grant = client.grant(Duration::from_secs(60)).id(id);
            leases.push(grant.await.unwrap().id);
        }
        Self {
            sender: connect(url).await,
            base: client.get("k").await.unwrap().header.revision,
            client,
            leases: leases.try_into().unwrap(),
            transcript: Vec::new(),
        }
    }

    fn campaign(
        &self,
        name: &'static str,
        lease: usize,
        value: &'static str,
    ) -> pb::CampaignRequest {
        pb::CampaignRequest {
            name: name.into(),
            lease: self.leases[lease].as_i64(),
            value: value.into(),
        }
    }

    fn note(&mut self, step: &str, text: String) {
        self.transcript.push(format!("{step}: {text}"));
    }

    /// Returns the revision of a header.
    fn at(&self, header: Option<&etcdex_proto::etcdserverpb::ResponseHeader>) -> i64 {
        header.unwrap().revision - self.base
    }

    fn won(&self, won: &Result<pb::CampaignResponse, (String, String)>) -> String {
        match won {
            Ok(won) => {
                let leader = won.leader.as_ref().unwrap();
                let rev = leader.rev - self.base;
                let (name, key) = (&leader.name, &leader.key);
                format!("at {} {name:?} {key:?} {rev}", self.at(won.header.as_ref()))
            }
            Err(status) => format!("{status:?}"),
        }
    }

    fn leader(&self, told: &pb::LeaderResponse) -> String {
        let kv = told.kv.as_ref().unwrap();
        let (at, created) = (
            self.at(told.header.as_ref()),
            kv.create_revision - self.base,
        );
        format!("at {at} {:?}={:?} {created}", kv.key, kv.value)
    }
}

async fn play(url: &str) -> Vec<String> {
    let mut on = Electors::new(url).await;
    let sender = on.sender.clone();
    let request = pb::LeaderRequest { name: "e".into() };
    let none = call::<pb::LeaderResponse>(&sender, election::LEADER, &request).await;
    on.note("no leader", format!("{none:?}"));
    let mut observed = Stream::open(&sender, election::OBSERVE).await;
    observed.send(&request);
    observed.end();
    let first = call(&sender, election::CAMPAIGN, &on.campaign("e", 0, "one")).await;
    on.note("the first", on.won(&first));
    let told = observed.next().await.unwrap();
    on.note("observed", on.leader(&told));
    let again = call(&sender, election::CAMPAIGN, &on.campaign("e", 0, "two")).await;
    on.note("again, with another value", on.won(&again));
    let told = observed.next().await.unwrap();
    on.note("observed", on.leader(&told));
    let leader = first.unwrap().leader;
    let proclaim = pb::ProclaimRequest {
        leader: leader.clone(),
        value: "three".into(),
    };
    let reply: Result<pb::ProclaimResponse, _> = call(&sender, election::PROCLAIM, &proclaim).await;
    on.note(
        "proclaimed",
        format!("{:?}", reply.map(|one| on.at(one.header.as_ref()))),
    );
    let told = observed.next().await.unwrap();
    on.note("observed", on.leader(&told));
    // Two wait: the younger one goes away, and leaves no key.
    let mut second = Stream::open(&sender, election::CAMPAIGN).await;
    second.send(&on.campaign("e", 1, "second"));
    queue_has(&on.client, "e/", 2).await;
    let mut third = Stream::open(&sender, election::CAMPAIGN).await;
    third.send(&on.campaign("e", 2, "third"));
    queue_has(&on.client, "e/", 3).await;
    drop(third);
    queue_has(&on.client, "e/", 2).await;
    let resign = pb::ResignRequest { leader };
    let reply: Result<pb::ResignResponse, _> = call(&sender, election::RESIGN, &resign).await;
    on.note("resigned", format!("{}", reply.is_ok()));
    let won = timeout(DEADLINE, second.next()).await.unwrap().unwrap();
    on.note("the second", on.won(&Ok(won)));
    let told = observed.next().await.unwrap();
    on.note("observed", on.leader(&told));
    let reply: Result<pb::ProclaimResponse, _> = call(&sender, election::PROCLAIM, &proclaim).await;
    on.note("proclaimed by the old leader", format!("{reply:?}"));
    let reply: Result<pb::ResignResponse, _> = call(&sender, election::RESIGN, &resign).await;
    on.note("resigned again", format!("{}", reply.is_ok()));
    let nobody = pb::ProclaimRequest::default();
    let reply: Result<pb::ProclaimResponse, _> = call(&sender, election::PROCLAIM, &nobody).await;
    on.note("proclaimed by nobody", format!("{reply:?}"));
    locks(&mut on).await;
    on.transcript
}

async fn queue_has(client: &Client, prefix: &str, count: u64) {
    let wait = async {
        while client
            .get(prefix)
            .prefix()
            .count_only()
            .await
            .unwrap()
            .count
            != count
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, wait)
        .await
        .expect("the queue has that length");
}

async fn locks(on: &mut Electors) {
    let sender = on.sender.clone();
    let request = |lease: i64| v3lockpb::LockRequest {
        name: "l".into(),
        lease,
    };
    let one = request(on.leases[0].as_i64());
    for step in ["a lock", "the same lock again"] {
        let reply: Result<v3lockpb::LockResponse, _> = call(&sender, lock::LOCK, &one).await;
        on.note(step, format!("{:?}", reply.unwrap().key));
    }
    let mut waiting = Stream::open(&sender, lock::LOCK).await;
    waiting.send(&request(on.leases[1].as_i64()));
    queue_has(&on.client, "l/", 2).await;
    // The lease of the one that waits ends.
    on.client.revoke(on.leases[1]).await.unwrap();
    on.client.revoke(on.leases[0]).await.unwrap();
    assert!(
        timeout(DEADLINE, waiting.next::<v3lockpb::LockResponse>())
            .await
            .unwrap()
            .is_none()
    );
    let status = waiting.status().await;
    on.note("the lease has ended", format!("{status:?}"));
    let reply: Result<v3lockpb::LockResponse, _> = call(&sender, lock::LOCK, &request(99)).await;
    on.note("no such lease", format!("{reply:?}"));
    let reply: v3lockpb::LockResponse = call(&sender, lock::LOCK, &request(0)).await.unwrap();
    let unlock = v3lockpb::UnlockRequest { key: reply.key };
    let reply: Result<v3lockpb::UnlockResponse, _> = call(&sender, lock::UNLOCK, &unlock).await;
    on.note("unlocked", format!("{}", reply.is_ok()));
    let nothing = v3lockpb::UnlockRequest::default();
    let reply: Result<v3lockpb::UnlockResponse, _> = call(&sender, lock::UNLOCK, &nothing).await;
    on.note("no key", format!("{reply:?}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_and_elections_are_those_of_real_etcd() {
    let Some(real) = Real::start(&[]).await else {
        return;
    };
    let server = Server::builder().start().await.unwrap();
    let expected = play(&real.etcd.endpoint()).await;
    let found = play(&server.client_url()).await;
    assert_same(&found, &expected);
}
