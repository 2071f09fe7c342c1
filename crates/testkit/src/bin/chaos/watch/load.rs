//! The writes of a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use etcdex::txn::OperationResponse;
use etcdex::{Client, Delete, Error, Put, Txn};
use etcdex_testkit::history::{Op, hash};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::watch::reference::{Reference, text};

/// Number of writers.
const WRITERS: u32 = 4;
/// Number of keys that all clients watch.
pub(crate) const BUSY: usize = 40;
/// Number of keys with a watch of their own.
pub(crate) const CROWD: usize = 1_000;
/// Number of keys of a large revision, which is written every few seconds, and the size of each
/// value. With the pairs before, such a revision is larger than a message, so that it comes in
/// fragments.
const BULK: usize = 100;
const BULK_VALUE: usize = 13_000;
const BULK_PAUSE: Duration = Duration::from_secs(4);
/// Number of revisions of small events before the first pause, and the duration of a pause.
const SMALL_FIRST: u32 = 5;
const SMALL_PAUSE: Duration = Duration::from_secs(15);

/// A writer.
#[derive(Clone)]
struct Writer {
    client: Client,
    reference: Reference,
    counts: Arc<Counts>,
    random: fastrand::Rng,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Writes that were acknowledged.
    pub(crate) acknowledged: AtomicU64,
    /// Writes that failed; some of them were applied.
    pub(crate) failed: AtomicU64,
    stop: AtomicBool,
}

/// A running load.
pub(crate) struct Load {
    writers: JoinSet<()>,
    counts: Arc<Counts>,
}

impl Load {
    /// Starts writers that make `rate` revisions per second together. Some revisions have `small`
    /// small events, if that is not 0.
    pub(crate) fn start(
        client: &Client,
        reference: &Reference,
        rate: u32,
        small: u32,
        seed: u64,
    ) -> Self {
        let counts = Arc::new(Counts::default());
        let mut writers = JoinSet::new();
        for number in 0..WRITERS {
            let writer = Writer {
                client: client.clone(),
                reference: reference.clone(),
                counts: Arc::clone(&counts),
                random: fastrand::Rng::with_seed(seed.wrapping_add(number.into())),
            };
            let pause = Duration::from_secs(1) * WRITERS / rate;
            writers.spawn(writer.clone().write(pause));
            if number == 0 {
                writers.spawn(writer.clone().write_bulk());
                if small > 0 {
                    writers.spawn(writer.clone().write_small(small));
                }
                writers.spawn(writer.lease());
            }
        }
        Self { writers, counts }
    }

    pub(crate) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Ends the load after the writes that are under way.
    pub(crate) async fn stop(mut self) {
        self.counts.stop.store(true, Relaxed);
        while self.writers.join_next().await.is_some() {}
    }
}

impl Writer {
    async fn write(mut self, pause: Duration) {
        let mut ticks = interval(pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.counts.stop.load(Relaxed) {
            ticks.tick().await;
            let busy = format!("busy/{:02}", self.random.usize(..BUSY));
            let crowd = format!("crowd/{:04}", self.random.usize(..CROWD));
            let outcome = match self.random.u8(..100) {
                0..45 => self.put(busy).await,
                45..70 => self.put(crowd).await,
                70..82 => self.delete(busy).await,
                82..86 => self.delete(crowd).await,
                86..89 => self.delete_range().await,
                _ => self.txn().await,
            };
            self.count(outcome).await;
        }
    }

    /// Writes large revisions, which come in fragments.
    async fn write_bulk(mut self) {
        while !self.pause(BULK_PAUSE).await {
            let mut txn = Txn::new();
            let mut ops = Vec::new();
            for number in 0..BULK {
                let key = format!("bulk/{number:03}");
                let mut value = self.random.u64(..).to_le_bytes().to_vec();
                value.resize(BULK_VALUE, 7);
                ops.push(Op::Put(key.as_str().into(), hash(&value)));
                txn = txn.then(Put::new(key, value));
            }
            let began = self.reference.now();
            let outcome = self.client.run(txn).await;
            let outcome =
                outcome.map(|reply| self.reference.tell(began, reply.header.revision, ops));
            self.count(outcome).await;
        }
    }

    /// Writes revisions of many small events: some in a row, then one after each pause.
    async fn write_small(self, events: u32) {
        let mut written = 0;
        loop {
            let keys = (0..events).map(|number| format!("small/{number:05}"));
            let mut txn = Txn::new();
            let mut ops = Vec::new();
            for key in keys {
                ops.push(Op::Put(key.as_str().into(), hash(b"")));
                txn = txn.then(Put::new(key, ""));
            }
            let began = self.reference.now();
            let outcome = self.client.run(txn).await;
            let outcome =
                outcome.map(|reply| self.reference.tell(began, reply.header.revision, ops));
            self.count(outcome).await;
            written += 1;
            let pause = if written < SMALL_FIRST {
                Duration::ZERO
            } else {
                SMALL_PAUSE
            };
            if self.pause(pause).await {
                return;
            }
        }
    }

    /// Writes keys with a lease; most leases expire.
    async fn lease(mut self) {
        let mut number = 0_u32;
        while !self.pause(Duration::from_millis(700)).await {
            number += 1;
            let granted = self.client.grant(Duration::from_secs(2)).await;
            let Ok(lease) = granted else { continue };
            for part in 0..self.random.u8(1..4) {
                let key = format!("lease/{:02}/{part}", number % 50);
                let value = self.value();
                let op = Op::Put(key.as_str().into(), hash(&value));
                let began = self.reference.now();
                let outcome = self.client.put(key, value).lease(lease.id).await;
                let outcome = outcome
                    .map(|reply| self.reference.tell(began, reply.header.revision, vec![op]));
                self.count(outcome).await;
            }
        }
    }

    async fn put(&mut self, key: String) -> Result<(), Error> {
        let value = self.value();
        let op = Op::Put(key.as_str().into(), hash(&value));
        let began = self.reference.now();
        let reply = self.client.put(key, value).await?;
        self.reference.tell(began, reply.header.revision, vec![op]);
        Ok(())
    }

    async fn delete(&mut self, key: String) -> Result<(), Error> {
        let began = self.reference.now();
        let reply = self.client.delete(key).prev_kv().await?;
        self.deleted(began, reply.header.revision, deletes(&reply));
        Ok(())
    }

    async fn delete_range(&mut self) -> Result<(), Error> {
        let first = self.random.usize(..BUSY);
        let from = format!("busy/{first:02}");
        let to = format!("busy/{:02}", first + self.random.usize(2..6));
        let delete = Delete::new(from).range_end(to).prev_kv();
        let began = self.reference.now();
        let reply = self.client.run(delete).await?;
        self.deleted(began, reply.header.revision, deletes(&reply));
        Ok(())
    }

    /// Does some puts and deletes in one revision.
    async fn txn(&mut self) -> Result<(), Error> {
        let mut txn = Txn::new();
        let mut puts = Vec::new();
        let first = self.random.usize(..BUSY);
        let count = self.random.usize(2..12);
        for step in 0..count {
            let key = format!("busy/{:02}", (first + step) % BUSY);
            if self.random.u8(..4) == 0 {
                txn = txn.then(Delete::new(key).prev_kv());
            } else {
                let value = self.value();
                puts.push(Op::Put(key.as_str().into(), hash(&value)));
                txn = txn.then(Put::new(key, value));
            }
        }
        let began = self.reference.now();
        let reply = self.client.run(txn).await?;
        let mut ops = puts;
        for response in &reply.responses {
            if let OperationResponse::Delete(reply) = response {
                ops.extend(deletes(reply));
            }
        }
        self.deleted(began, reply.header.revision, ops);
        Ok(())
    }

    /// Reports deletes; a delete of nothing makes no revision.
    fn deleted(&self, began: u64, revision: i64, ops: Vec<Op>) {
        if !ops.is_empty() {
            self.reference.tell(began, revision, ops);
        }
    }

    fn value(&mut self) -> Vec<u8> {
        let length = if self.random.u8(..50) == 0 {
            4_000
        } else {
            self.random.usize(8..150)
        };
        let mut value = self.random.u64(..).to_le_bytes().to_vec();
        value.resize(length, b'v');
        value
    }

    async fn count(&self, outcome: Result<(), Error>) {
        match outcome {
            Ok(()) => {
                self.counts.acknowledged.fetch_add(1, Relaxed);
            }
            Err(_) => {
                self.counts.failed.fetch_add(1, Relaxed);
                // Calls to a server that is down fail at once: pause.
                sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Waits, and returns whether the load is to end.
    async fn pause(&self, time: Duration) -> bool {
        let mut left = time;
        let step = Duration::from_millis(100);
        while !left.is_zero() && !self.counts.stop.load(Relaxed) {
            sleep(step.min(left)).await;
            left = left.saturating_sub(step);
        }
        self.counts.stop.load(Relaxed)
    }
}

fn deletes(reply: &etcdex::kv::DeleteResponse) -> Vec<Op> {
    let keys = reply.prev_kvs.iter().map(|kv| text(&kv.key));
    keys.map(Op::Delete).collect()
}
