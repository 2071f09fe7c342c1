//! The readers and writers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use etcdex::txn::Swapped;
use etcdex::{Client, Error, KeyValue, Outcome};

use super::{TaskResult, Watch};
use crate::stage::keys;

/// Pause between two calls of a task, so that the load is steady and leaves processor time.
const PACE: Duration = Duration::from_millis(10);

/// Time-out of one write.
///
/// The proposals of a leader that dies are lost without an error: etcd lets the caller wait until
/// its time-out. A program that needs a successful answer within five seconds uses a shorter
/// time-out, reads whether the write was applied, and writes again.
const WRITE: Duration = Duration::from_millis(500);

/// The common state of a task.
#[derive(Clone)]
pub(super) struct Work {
    pub(super) client: Client,
    pub(super) gaps: Arc<Watch>,
    pub(super) over: Arc<AtomicBool>,
}

impl Work {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Records a successful answer to a call that began at `begun`.
    async fn good(&self, longest: &std::sync::atomic::AtomicU64, begun: Instant, turn: &mut u64) {
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap();
        longest.fetch_max(micros, Ordering::Relaxed);
        let now = self.gaps.turn.load(Ordering::Relaxed);
        if *turn != now {
            *turn = now;
            self.gaps.arrived.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(PACE).await;
    }

    /// Records the error of a write, whose outcome has to be unknown.
    fn unknown(&self, error: &Error) {
        assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
        self.gaps.unknown.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads a counter; no read fails, and none returns a value that was overwritten before the read
/// began.
pub(super) async fn read(work: Work, key: String, acknowledged: Arc<AtomicI64>) -> TaskResult {
    let mut turn = 0;
    while !work.is_over() {
        let begun = Instant::now();
        let floor = acknowledged.load(Ordering::SeqCst);
        let kv = work.client.get(&key).await.unwrap().into_kv().unwrap();
        assert!(kv.version >= floor, "{} < {floor}", kv.version);
        assert_eq!(number(&kv), kv.version);
        work.good(&work.gaps.read, begun, &mut turn).await;
    }
    TaskResult::Nothing
}

/// Returns the count in a value, 17 in `hush-17-by-3`.
fn number(kv: &KeyValue) -> i64 {
    let number = kv.value_str().unwrap().split('-').nth(1).unwrap();
    number.parse().unwrap()
}

/// A key whose value is incremented with each write, by compare-and-swap. Each attempt writes a
/// unique value.
pub(super) struct Counter {
    key: String,
    /// The last value that is known to have been in the store.
    present: KeyValue,
    /// Attempts with an unknown outcome.
    unknown: Vec<String>,
    attempts: u64,
    acknowledged: Arc<AtomicI64>,
}

impl Counter {
    pub(super) async fn new(client: &Client, number: usize) -> Self {
        let key = format!("hush/counter/{number}");
        let done = client.put_if_absent(&key, "hush-1-by-0").await.unwrap();
        assert!(done.is_done());
        let present = client.get(&key).await.unwrap().into_kv().unwrap();
        Self {
            key,
            acknowledged: Arc::new(AtomicI64::new(present.version)),
            present,
            unknown: Vec::new(),
            attempts: 0,
        }
    }

    pub(super) fn key(&self) -> String {
        self.key.clone()
    }

    /// The minimum version that reads have to return.
    pub(super) fn acknowledged(&self) -> Arc<AtomicI64> {
        Arc::clone(&self.acknowledged)
    }

    pub(super) async fn count(mut self, work: Work) -> TaskResult {
        let (mut turn, mut begun) = (0, Instant::now());
        while !work.is_over() {
            if self.attempt(&work).await {
                work.good(&work.gaps.write, begun, &mut turn).await;
                begun = Instant::now();
            }
        }
        TaskResult::Counter(self)
    }

    /// Returns whether the attempt is known to have been applied.
    async fn attempt(&mut self, work: &Work) -> bool {
        self.attempts += 1;
        let value = format!("hush-{}-by-{}", self.present.version + 1, self.attempts);
        let swap = work.client.swap(&self.key, &value);
        let swap = swap.if_mod(self.present.mod_revision).timeout(WRITE);
        match swap.await {
            Ok(Swapped::Done(header)) => {
                self.present.mod_revision = header.revision;
                self.present.version += 1;
                self.present.value = value.into();
                self.acknowledged
                    .store(self.present.version, Ordering::SeqCst);
                true
            }
            Ok(Swapped::Conflict { present, .. }) => {
                let present = present.unwrap();
                // An attempt that conflicts with its own value was sent twice.
                assert_ne!(present.value_str().unwrap(), value);
                assert!(self.settle(present, work), "a conflict with no known value");
                false
            }
            Err(error) => {
                work.unknown(&error);
                self.unknown.push(value.clone());
                let kv = work.client.get(&self.key).await.unwrap().into_kv();
                let kv = kv.unwrap();
                let applied = kv.value_str().unwrap() == value;
                self.settle(kv, work);
                applied
            }
        }
    }

    /// Records the pair in the store: the known one, or one of the open attempts.
    fn settle(&mut self, there: KeyValue, work: &Work) -> bool {
        if there.mod_revision == self.present.mod_revision {
            assert_eq!(there.value, self.present.value);
            return false;
        }
        assert!(there.mod_revision > self.present.mod_revision);
        assert_eq!(there.version, self.present.version + 1, "applied twice");
        let value = there.value_str().unwrap();
        assert!(self.unknown.iter().any(|one| one == value), "{value}");
        work.gaps.applied.fetch_add(1, Ordering::Relaxed);
        self.acknowledged.store(there.version, Ordering::SeqCst);
        self.present = there;
        true
    }

    pub(super) async fn check(&self, client: &Client) {
        let kv = client.get(&self.key).await.unwrap().into_kv().unwrap();
        assert_eq!(number(&kv), kv.version);
        // One of the open attempts may have been applied.
        let late = self.unknown.iter().any(|one| kv.value == *one);
        assert!(kv.version == self.present.version || late);
    }
}

/// Keys that are put once each, unconditionally: a put that is sent twice would have version 2.
pub(super) struct Puts {
    number: usize,
    /// For each key, whether its put was acknowledged.
    done: Vec<bool>,
}

impl Puts {
    pub(super) fn new(number: usize) -> Self {
        Self {
            number,
            done: Vec::new(),
        }
    }

    fn prefix(&self) -> String {
        format!("hush/put/{}/", self.number)
    }

    fn key(&self, put: usize) -> String {
        format!("{}{put:08}", self.prefix())
    }

    pub(super) async fn put(mut self, work: Work) -> TaskResult {
        let (mut turn, mut begun) = (0, Instant::now());
        while !work.is_over() {
            let key = self.key(self.done.len());
            let put = work.client.put(&key, &*key).timeout(WRITE).await;
            self.done.push(put.is_ok());
            match put {
                Ok(_) => {
                    work.good(&work.gaps.write, begun, &mut turn).await;
                    begun = Instant::now();
                }
                Err(error) => {
                    work.unknown(&error);
                    let there = work.client.get(&key).count_only().await.unwrap().count;
                    work.gaps.applied.fetch_add(there, Ordering::Relaxed);
                }
            }
        }
        TaskResult::Puts(self)
    }

    pub(super) async fn check(&self, client: &Client) {
        let all = client.get(self.prefix()).prefix().await.unwrap();
        for kv in &all.kvs {
            assert_eq!(kv.version, 1, "applied twice");
            assert_eq!(kv.key, kv.value);
        }
        let there: std::collections::HashSet<&str> = keys(&all.kvs).into_iter().collect();
        for (put, done) in self.done.iter().enumerate() {
            let key = self.key(put);
            assert!(!done || there.contains(&*key), "{key} is lost");
        }
        assert!(there.len() <= self.done.len());
    }
}
