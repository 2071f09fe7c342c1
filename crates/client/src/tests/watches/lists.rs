//! Watched lists against a scripted etcd, in virtual time.

mod random;
mod store;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use self::store::{Compaction, Store, pairs};
use super::super::peer::Peers;
use super::MOMENT;
use crate::watch::WatchListMessage;
use crate::{Client, ErrorKind, EventKind, KeyValue, WatchEnd, WatchList};

/// A consumer's copy of a prefix, and the messages that it got.
struct Consumer {
    list: WatchList,
    copy: BTreeMap<Bytes, KeyValue>,
    causes: Vec<WatchEnd>,
    /// The keys of all events, in order.
    told: Vec<Bytes>,
}

impl Consumer {
    fn new(client: &Client) -> Self {
        Self {
            list: client.watch_list("k").page(3),
            copy: BTreeMap::new(),
            causes: Vec::new(),
            told: Vec::new(),
        }
    }

    /// Reads and applies one message, if one comes in time.
    async fn step(&mut self, patience: Duration) -> Option<WatchListMessage> {
        let message = timeout(patience, self.list.try_next()).await.ok()?;
        let message = message.expect("no error").expect("the stream does not end");
        match &message {
            WatchListMessage::Resync { cause } => self.causes.push(cause.clone()),
            WatchListMessage::Changes { events, .. } => {
                self.told
                    .extend(events.iter().map(|event| event.kv.key.clone()));
            }
            WatchListMessage::Synced { .. } => {}
        }
        message.clone().apply(&mut self.copy);
        Some(message)
    }

    /// Reads until a listing is complete.
    async fn synced(&mut self) -> i64 {
        loop {
            let message = self.step(Duration::from_secs(60)).await;
            if let WatchListMessage::Synced { revision } = message.expect("in time") {
                return revision;
            }
        }
    }

    /// Reads until no message comes.
    async fn drain(&mut self) {
        while self.step(Duration::from_secs(5)).await.is_some() {}
    }
}

async fn with_credentials(store: &Store) -> Client {
    let builder = store.peers().builder().credentials("user", "hunter2");
    builder.connect().await.expect("the client connects")
}

/// A watch from the revision after the listing would get no event until the store reaches that
/// revision again, and would miss all events before it.
#[tokio::test(start_paused = true)]
async fn a_store_that_goes_back_between_listing_and_watching_is_noticed() {
    let store = Store::new(980, 20);
    let mut consumer = Consumer::new(&store.peers().client().await);
    assert_eq!(consumer.synced().await, 1_000);
    store.roll_back(990);
    store.put("k100");
    consumer.drain().await;
    let (watched, store_at) = (1_000, 991);
    let rolled_back = WatchEnd::RolledBack {
        watched,
        store: store_at,
    };
    assert_eq!(consumer.causes, [rolled_back]);
    assert_eq!(pairs(&consumer.copy), store.pairs());
    store.put("k101");
    consumer.drain().await;
    assert_eq!(pairs(&consumer.copy), store.pairs());
}

/// The revision of the other cluster may be higher: only its ID differs for sure.
#[tokio::test(start_paused = true)]
async fn another_cluster_between_listing_and_watching_is_noticed() {
    let store = Store::new(10, 5);
    let mut consumer = Consumer::new(&store.peers().client().await);
    consumer.synced().await;
    store.change_cluster(100, 3);
    consumer.drain().await;
    assert_eq!(consumer.causes, [WatchEnd::ClusterChanged]);
    assert_eq!(pairs(&consumer.copy), store.pairs());
}

/// The same while the watch is in force, and while the pages of a listing are read.
#[tokio::test(start_paused = true)]
async fn another_cluster_and_an_older_store_are_read_again_at_any_time() {
    for goes_back in [false, true] {
        for amid_listing in [false, true] {
            let store = Store::new(10, 5);
            let mut consumer = Consumer::new(&store.peers().client().await);
            if amid_listing {
                consumer.step(MOMENT).await.expect("the first page");
            } else {
                consumer.synced().await;
                consumer.drain().await;
                store.put("k000");
                consumer.drain().await;
            }
            if goes_back {
                store.roll_back(11);
            } else {
                store.change_cluster(13, 4);
            }
            consumer.drain().await;
            let what = (goes_back, amid_listing);
            assert_eq!(pairs(&consumer.copy), store.pairs(), "{what:?}");
            assert!(
                matches!(
                    (&consumer.causes[..], goes_back),
                    ([WatchEnd::ClusterChanged], false) | ([WatchEnd::RolledBack { .. }], true)
                ),
                "{what:?}: {:?}",
                consumer.causes
            );
        }
    }
}

/// Keys may have the same revision in two histories, and different values.
#[tokio::test(start_paused = true)]
async fn keys_of_another_history_are_delivered_again_even_with_equal_revisions() {
    for goes_back in [false, true] {
        let store = Store::new(10, 4);
        let mut consumer = Consumer::new(&store.peers().client().await);
        consumer.synced().await;
        consumer.drain().await;
        // Revisions 11 to 14 exist in both histories.
        if goes_back {
            store.put("k100");
            consumer.drain().await;
            store.roll_back(12);
            store.put("k002");
            store.put("k003");
        } else {
            store.change_cluster(10, 4);
        }
        let told = consumer.told.len();
        consumer.drain().await;
        assert_eq!(pairs(&consumer.copy), store.pairs(), "{goes_back}");
        let again = consumer.told[told..]
            .iter()
            .filter(|key| store.pairs().contains_key(*key));
        assert_eq!(again.count(), 4, "{goes_back}: each key is delivered again");
    }
}

/// The server cancels the watch after the answer to its creation, or in that answer.
#[tokio::test(start_paused = true)]
async fn after_a_compaction_between_listing_and_watching_the_list_is_read_again() {
    for compaction in [Compaction::Cancels, Compaction::Refuses] {
        let store = Store::new(10, 5);
        store.state().compaction = compaction;
        let mut consumer = Consumer::new(&store.peers().client().await);
        consumer.synced().await;
        store.put("k000");
        store.put("k100");
        store.delete("k001");
        store.compact(18);
        consumer.drain().await;
        let expected = WatchEnd::Compacted { revision: 18 };
        assert_eq!(consumer.causes, [expected], "{compaction:?}");
        assert_eq!(pairs(&consumer.copy), store.pairs());
        let told = &consumer.told[5..];
        assert_eq!(
            told,
            ["k000", "k001", "k100"],
            "only differences are delivered"
        );
    }
}

/// The server answers each creation by a cancellation: the client pauses between its requests.
#[tokio::test(start_paused = true)]
async fn requests_to_a_server_that_reports_everything_compacted_have_pauses() {
    let store = Store::new(10, 5);
    let mut consumer = Consumer::new(&store.peers().client().await);
    store.state().compaction = Compaction::RefusesAll;
    let _ = timeout(Duration::from_secs(100), async {
        loop {
            consumer.step(Duration::from_secs(200)).await;
        }
    })
    .await;
    let asked = store.state().creations.len();
    // The pauses are one to two seconds.
    assert!((40..120).contains(&asked), "{asked}");
    assert_eq!(consumer.causes.len(), asked);
}

/// The server refuses tokens of the range and of the watch, once and for a long time.
#[tokio::test(start_paused = true)]
async fn a_watched_list_survives_refused_tokens() {
    let store = Store::new(10, 5);
    let client = with_credentials(&store).await;
    store.state().oldest_token = 1;
    let mut consumer = Consumer::new(&client);
    // The server accepts no token for a minute.
    store.state().oldest_token = u64::MAX;
    assert!(consumer.step(Duration::from_secs(60)).await.is_none());
    store.state().revoke_tokens();
    consumer.synced().await;
    store.state().oldest_token = u64::MAX;
    assert!(consumer.step(Duration::from_secs(60)).await.is_none());
    store.state().revoke_tokens();
    store.put("k000");
    consumer.drain().await;
    assert_eq!(pairs(&consumer.copy), store.pairs());
    store.state().revoke_tokens();
    store.cut();
    store.put("k001");
    consumer.drain().await;
    assert_eq!(pairs(&consumer.copy), store.pairs());
    assert!(consumer.causes.is_empty());
    for refusal in [
        ("16", "etcdserver: invalid auth token"),
        ("3", "etcdserver: revision of auth store is old"),
        ("3", "etcdserver: user name is empty"),
        ("9", "etcdserver: cluster ID mismatch"),
        ("15", "etcdserver: corrupt cluster"),
        ("14", "etcdserver: no leader"),
    ] {
        let mut consumer = Consumer::new(&client);
        store.state().range_refusals = vec![refusal; 20];
        consumer.synced().await;
        assert_eq!(pairs(&consumer.copy), store.pairs(), "{refusal:?}");
        store.state().range_refusals.clear();
    }
}

/// On a member without a leader a read would wait for its whole time-out.
#[tokio::test(start_paused = true)]
async fn a_member_without_a_leader_is_left_at_once() {
    let stores = [Store::new(10, 5), Store::new(10, 5)];
    let client = two(&stores).client().await;
    let mut first = Consumer::new(&client);
    first.synced().await;
    let used = usize::from(stores[0].state().ranges == 0);
    stores[used].state().leaderless = true;
    let mut consumer = Consumer::new(&client);
    let patience = Duration::from_secs(1);
    consumer.step(patience).await.expect("soon");
    consumer.synced().await;
    consumer.drain().await;
    stores[1 - used].put("k003");
    consumer.drain().await;
    assert_eq!(pairs(&consumer.copy), stores[1 - used].pairs());
}

fn two(stores: &[Store; 2]) -> Peers {
    let [one, two] = stores.clone();
    Peers::one(move |_, stream| one.clone().serve(stream))
        .and("http://two:1", move |_, stream| two.clone().serve(stream))
}

/// A retry cannot help, so the caller gets the error.
#[tokio::test(start_paused = true)]
async fn permanent_errors_are_returned() {
    let store = Store::new(10, 5);
    let client = store.peers().client().await;
    for (refusal, kind) in [
        (
            ("7", "etcdserver: permission denied"),
            ErrorKind::PermissionDenied,
        ),
        (
            ("3", "etcdserver: user name is empty"),
            ErrorKind::TokenMissing,
        ),
    ] {
        store.state().range_refusals = vec![refusal; 20];
        let mut list = client.watch_list("k");
        let error = timeout(Duration::from_secs(60), list.try_next()).await;
        let error = error.expect("in time").expect_err("the server refuses");
        assert_eq!(error.kind(), kind);
        assert!(list.try_next().await.expect("no error").is_none());
        store.state().range_refusals.clear();
    }
}

/// Before the first page nothing was delivered, so nothing has to be delivered again.
#[tokio::test(start_paused = true)]
async fn changes_after_a_listing_are_delivered_once() {
    let store = Store::new(10, 7);
    let mut consumer = Consumer::new(&store.peers().client().await);
    let listed = consumer.synced().await;
    consumer.drain().await;
    assert_eq!(
        store.state().creations,
        [listed + 1],
        "the watch begins after the listed revision"
    );
    store.put("k003");
    store.delete("k004");
    consumer.drain().await;
    let expected = ["k000", "k001", "k002", "k003", "k004", "k005", "k006"];
    assert_eq!(consumer.told[..7], expected);
    assert_eq!(consumer.told[7..], ["k003", "k004"]);
    assert_eq!(pairs(&consumer.copy), store.pairs());
    let deletes = |message: &WatchListMessage| match message {
        WatchListMessage::Changes { events, .. } => events
            .iter()
            .filter(|event| event.kind == EventKind::Delete)
            .count(),
        _ => 0,
    };
    store.delete("k000");
    let message = consumer.step(MOMENT).await.expect("a message");
    assert_eq!(deletes(&message), 1);
}
