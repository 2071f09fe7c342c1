//! Servers that are restarted, or stopped for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use etcdex::{Client, ErrorKind, Outcome};
use etcdex_testkit::{Etcd, until};
use tokio::task::JoinSet;

use crate::stage::{connect, each_alone, keys, newest};

/// Readers and writers that run until `end`.
pub(crate) struct Load {
    client: Client,
    over: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
    writes: Arc<AtomicU64>,
    tasks: JoinSet<Vec<Write>>,
}

/// The result of one put; each puts a key of its own.
pub(crate) struct Write {
    key: String,
    outcome: Option<Outcome>,
}

impl Load {
    /// Starts three readers and three writers.
    pub(crate) async fn start(client: &Client) -> Self {
        client.put("hush-present", "1").await.unwrap();
        let mut load = Self {
            client: client.clone(),
            over: Arc::default(),
            reads: Arc::default(),
            writes: Arc::default(),
            tasks: JoinSet::new(),
        };
        for task in 0..3 {
            let (over, reads) = (Arc::clone(&load.over), Arc::clone(&load.reads));
            let client = load.client.clone();
            load.tasks.spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    // Reads never fail.
                    let get = client.get("hush-present").string().await.unwrap();
                    assert_eq!(get.as_deref(), Some("1"));
                    reads.fetch_add(1, Ordering::Relaxed);
                }
                Vec::new()
            });
            let (over, writes) = (Arc::clone(&load.over), Arc::clone(&load.writes));
            let client = load.client.clone();
            load.tasks.spawn(async move {
                let mut told = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let key = format!("hush-write/{task}/{}", told.len());
                    let put = client.put(&key, "hush").await;
                    if put.is_ok() {
                        writes.fetch_add(1, Ordering::Relaxed);
                    }
                    let outcome = put.err().map(|error| {
                        assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
                        error.outcome()
                    });
                    told.push(Write { key, outcome });
                }
                told
            });
        }
        load
    }

    /// Waits until `more` reads and writes have succeeded.
    pub(crate) async fn goes_on(&self, more: u64) {
        let (reads, writes) = (&self.reads, &self.writes);
        let now = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (reads_then, writes_then) = (now(reads) + more, now(writes) + more);
        until("reads and writes go on", || {
            now(reads) >= reads_then && now(writes) >= writes_then
        })
        .await;
    }

    /// Stops the tasks, and compares the outcomes that the client reported with the store.
    pub(crate) async fn end(mut self) {
        self.over.store(true, Ordering::Relaxed);
        let mut told = Vec::new();
        while let Some(task) = self.tasks.join_next().await {
            told.extend(task.unwrap());
        }
        let all = self.client.get("hush-write/").prefix().await.unwrap();
        // Nothing was applied twice.
        assert!(all.kvs.iter().all(|kv| kv.version == 1));
        let there: std::collections::HashSet<&str> = keys(&all.kvs).into_iter().collect();
        for write in &told {
            let is_there = there.contains(&*write.key);
            assert!(is_there || write.outcome.is_some(), "{} is lost", write.key);
        }
        assert!(told.len() >= there.len());
    }
}

#[tokio::test]
async fn a_server_is_killed_and_restarted_under_load() {
    each_alone(&[], |etcd| async move {
        let client = connect(&etcd).await;
        let load = Load::start(&client).await;
        load.goes_on(50).await;
        etcd.restart().await.unwrap();
        load.goes_on(50).await;
        etcd.terminate().await.unwrap();
        etcd.launch().unwrap();
        load.goes_on(50).await;
        load.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_server_is_stopped_for_a_while() {
    each_alone(&[], |etcd| async move {
        let client = connect(&etcd).await;
        client.put("hush-present", "1").await.unwrap();
        etcd.pause().unwrap();
        let short = Duration::from_millis(200);
        let error = client
            .put("hush-lost", "1")
            .timeout(short)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert_eq!(error.outcome(), Outcome::Unknown);

        let mut put = tokio::spawn(client.put("k", "v"));
        let mut get = tokio::spawn(client.get("hush-present").string());
        let both = async { tokio::join!(&mut put, &mut get) };
        assert!(tokio::time::timeout(short, both).await.is_err());
        etcd.resume().unwrap();
        put.await.unwrap().unwrap();
        assert_eq!(get.await.unwrap().unwrap().as_deref(), Some("1"));
        let kv = client.get("k").await.unwrap().into_kv().unwrap();
        assert_eq!(kv.version, 1);
    })
    .await;
}

/// A pause of the client's own process is no silence of the server: the answers wait in the socket.
#[tokio::test]
async fn the_client_is_stopped_for_a_while() {
    let Some(binary) = newest() else { return };
    let etcd = Etcd::start(binary).await.unwrap();
    let client = connect(&etcd).await;
    etcd.pause().unwrap();
    let mut put = tokio::spawn(client.put("k", "v"));
    // After a second without an answer the client pings.
    let early = tokio::time::timeout(Duration::from_millis(1_500), &mut put).await;
    assert!(early.is_err());
    etcd.resume().unwrap();
    // Blocks the thread, with all its tasks, for longer than a ping may stay unanswered.
    std::thread::sleep(Duration::from_millis(3_500));
    put.await.unwrap().unwrap();
}
