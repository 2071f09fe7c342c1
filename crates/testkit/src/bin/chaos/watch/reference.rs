//! The reference history of the store, from its writes and reads.
//!
//! No watch is used for it. Writers report the revision of each write that the server has
//! acknowledged. A revision without a report after a while (the outcome of its write is unknown, or
//! a lease has expired) is read: all keys at that revision are compared with the known state of the
//! revision before. All keys are read and compared every two seconds, to find errors of the
//! reference itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcdex::{Client, ErrorKind, KeyValue};
use etcdex_testkit::history::{Compaction, EventKind, History, Moment, Op, Pair, hash};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::clock::Clock;

/// Interval at which reports are added to the history.
const BEAT: Duration = Duration::from_millis(5);
/// How late the report of a revision may be before the revision is read.
const LATE: Duration = Duration::from_millis(40);
/// Interval of reads of the store's revision, which find writes with an unknown outcome and expired
/// leases.
const LOOK: Duration = Duration::from_millis(100);
/// Interval of complete comparisons.
const COMPARE: Duration = Duration::from_secs(2);

/// A write that was acknowledged.
#[derive(Debug)]
pub(crate) struct Ack {
    pub(crate) revision: i64,
    /// When the write began.
    pub(crate) began: u64,
    pub(crate) at: u64,
    pub(crate) ops: Vec<Op>,
}

/// The growing history.
#[derive(Clone, Debug)]
pub(crate) struct Reference(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<ReferenceState>,
    /// The last revision of the history.
    settled: AtomicI64,
    acks: mpsc::UnboundedSender<Ack>,
    clock: Clock,
}

/// The history so far, and counters.
#[derive(Debug, Default)]
pub(crate) struct ReferenceState {
    pub(crate) history: History,
    /// Number of revisions that were read, for want of a report.
    pub(crate) read: u64,
    /// Number of complete comparisons.
    pub(crate) compared: u64,
}

/// Why there is no reference.
#[derive(Debug)]
pub(crate) enum ReferenceError {
    /// The store contradicts an earlier answer or a report.
    Contradiction(String),
    /// The store could not be read.
    Unread(etcdex::Error),
}

impl Reference {
    /// Makes the reference of an empty store, and the channel of reports for its builder.
    pub(crate) fn begin(clock: Clock) -> (Self, mpsc::UnboundedReceiver<Ack>) {
        let (acks, receiver) = mpsc::unbounded_channel();
        let history = History::since(1);
        let reference = Self(Arc::new(Inner {
            settled: AtomicI64::new(history.revision()),
            state: Mutex::new(ReferenceState {
                history,
                read: 0,
                compared: 0,
            }),
            acks,
            clock,
        }));
        (reference, receiver)
    }

    /// Returns the time of the run.
    pub(crate) fn now(&self) -> u64 {
        self.0.clock.now()
    }

    /// Reports an acknowledged write that began at this time.
    pub(crate) fn tell(&self, began: u64, revision: i64, ops: Vec<Op>) {
        // The builder may be gone at the end of a run; the report is dropped then.
        let _ = self.0.acks.send(Ack {
            revision,
            began,
            at: self.0.clock.now(),
            ops,
        });
    }

    /// Returns the last complete revision.
    pub(crate) fn settled(&self) -> i64 {
        self.0.settled.load(Relaxed)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, ReferenceState> {
        let state = self.0.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the history out at the end, when nothing is added any more.
    pub(crate) fn close(&self) -> ReferenceState {
        std::mem::take(&mut *self.state())
    }

    /// Records a compaction that is about to be requested. Its revision must not be above the
    /// settled one, as later revisions may still have to be read.
    pub(crate) fn compact(&self, revision: i64) {
        let at = self.0.clock.now();
        let compaction = Compaction { at, revision };
        self.state().history.compact(compaction);
    }
}

/// Builds a reference from reports and reads.
pub(crate) struct ReferenceBuilder {
    reference: Reference,
    acks: mpsc::UnboundedReceiver<Ack>,
    client: Client,
    /// Reports that wait for an earlier revision.
    told: BTreeMap<i64, Ack>,
    /// The highest revision that is known to exist.
    highest: i64,
    /// Since when the next revision is missing.
    missing: Option<Instant>,
}

impl ReferenceBuilder {
    pub(crate) fn new(
        reference: &Reference,
        acks: mpsc::UnboundedReceiver<Ack>,
        client: Client,
    ) -> Self {
        Self {
            reference: reference.clone(),
            acks,
            client,
            told: BTreeMap::new(),
            highest: reference.settled(),
            missing: None,
        }
    }

    /// Builds until the future is dropped, or until the reference is broken.
    pub(crate) async fn run(&mut self) -> ReferenceError {
        let mut look = Instant::now();
        let mut compare = Instant::now() + COMPARE;
        loop {
            sleep(BEAT).await;
            let outcome = async {
                self.listen()?;
                if Instant::now() >= look {
                    // This fails while no server answers; the store does not change then.
                    let _ = self.look().await;
                    look = Instant::now() + LOOK;
                }
                self.settle().await?;
                if Instant::now() >= compare {
                    self.compare().await?;
                    compare = Instant::now() + COMPARE;
                }
                Ok(())
            };
            if let Err(broken) = outcome.await {
                return broken;
            }
        }
    }

    /// Builds until all present revisions are settled, and compares everything once more.
    pub(crate) async fn finish(&mut self) -> Result<(), ReferenceError> {
        self.look().await.map_err(ReferenceError::Unread)?;
        let last = self.highest;
        while self.reference.settled() < last {
            self.listen()?;
            self.settle().await?;
            sleep(BEAT).await;
        }
        let compared = self.reference.state().compared;
        while self.reference.state().compared == compared {
            self.compare().await?;
            sleep(BEAT).await;
        }
        Ok(())
    }

    fn listen(&mut self) -> Result<(), ReferenceError> {
        while let Ok(ack) = self.acks.try_recv() {
            self.highest = self.highest.max(ack.revision);
            if ack.revision <= self.reference.settled() {
                self.confirm(&ack)?;
            } else if let Some(other) = self.told.insert(ack.revision, ack) {
                return Err(ReferenceError::Contradiction(format!(
                    "two writes were acknowledged at revision {}",
                    other.revision
                )));
            }
        }
        Ok(())
    }

    /// Checks that a late report agrees with the revision that was read.
    fn confirm(&self, ack: &Ack) -> Result<(), ReferenceError> {
        let so_far = self.reference.state();
        let known = |op: &Op| match op {
            Op::Put(key, value) => {
                let event = so_far.history.find(key, ack.revision);
                event
                    .is_some_and(|event| event.kind == EventKind::Put && event.pair.value == *value)
            }
            Op::Delete(key) => {
                let event = so_far.history.find(key, ack.revision);
                event.is_some_and(|event| event.kind == EventKind::Delete)
            }
        };
        match ack.ops.iter().find(|op| !known(op)) {
            None => Ok(()),
            Some(op) => Err(ReferenceError::Contradiction(format!(
                "{op:?} was acknowledged at {}, and is not in the store at it",
                ack.revision
            ))),
        }
    }

    async fn look(&mut self) -> Result<(), etcdex::Error> {
        let reply = self.client.get("none").count_only().await?;
        self.highest = self.highest.max(reply.header.revision);
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), ReferenceError> {
        loop {
            let next = self.reference.settled() + 1;
            if next > self.highest {
                self.missing = None;
                return Ok(());
            }
            if let Some(ack) = self.told.remove(&next) {
                self.append(ack.ops, Some(ack.began), ack.at);
                continue;
            }
            let since = *self.missing.get_or_insert_with(Instant::now);
            if since.elapsed() < LATE {
                return Ok(());
            }
            let Some(ops) = self.read(next).await? else {
                return Ok(());
            };
            self.append(ops, None, self.reference.now());
        }
    }

    fn append(&mut self, ops: Vec<Op>, began: Option<u64>, known: u64) {
        let mut so_far = self.reference.state();
        so_far.history.append(ops);
        so_far.read += u64::from(began.is_none());
        let settled = so_far.history.revision();
        so_far.history.date(Moment {
            revision: settled,
            began,
            known,
        });
        drop(so_far);
        self.reference.0.settled.store(settled, Relaxed);
        self.missing = None;
    }

    /// Returns the changes of a revision, by comparing its state with the one before. None while no
    /// server answers.
    async fn read(&self, revision: i64) -> Result<Option<Vec<Op>>, ReferenceError> {
        let Some(state) = self.state(revision).await? else {
            return Ok(None);
        };
        let so_far = self.reference.state();
        let before = so_far.history.present();
        let mut ops: Vec<Op> = before
            .keys()
            .filter(|key| !state.contains_key(*key))
            .map(|key| Op::Delete(Arc::clone(key)))
            .collect();
        for (key, pair) in &state {
            if pair.mod_revision == revision {
                ops.push(Op::Put(Arc::clone(key), pair.value));
            } else if before.get(key) != Some(pair) {
                return Err(ReferenceError::Contradiction(format!(
                    "{key} is {pair:?} at {revision}, and was {:?} before, as far as known",
                    before.get(key)
                )));
            }
        }
        Ok(Some(ops))
    }

    /// Compares all keys, if a server answers.
    async fn compare(&self) -> Result<(), ReferenceError> {
        let revision = self.reference.settled();
        let Some(state) = self.state(revision).await? else {
            return Ok(());
        };
        let mut so_far = self.reference.state();
        let known = so_far.history.present();
        let differs = |key: &&Arc<str>| state.get(*key) != known.get(*key);
        if let Some(key) = state.keys().chain(known.keys()).find(differs) {
            return Err(ReferenceError::Contradiction(format!(
                "at {revision} the store has {:?} at {key}, the history {:?}",
                state.get(key),
                known.get(key)
            )));
        }
        so_far.compared += 1;
        Ok(())
    }

    /// Returns all keys at a revision; none while no server answers.
    async fn state(
        &self,
        revision: i64,
    ) -> Result<Option<HashMap<Arc<str>, Pair>>, ReferenceError> {
        let get = self.client.get("").all_keys().revision(revision);
        match get.await {
            Ok(reply) => Ok(Some(reply.kvs.iter().map(entry).collect())),
            Err(error) if error.kind() == ErrorKind::Compacted => {
                Err(ReferenceError::Unread(error))
            }
            Err(_) => Ok(None),
        }
    }
}

fn entry(kv: &KeyValue) -> (Arc<str>, Pair) {
    let pair = Pair {
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: hash(&kv.value),
    };
    (text(&kv.key), pair)
}

/// Returns a key as text; all keys of a run are text.
pub(crate) fn text(key: &[u8]) -> Arc<str> {
    String::from_utf8_lossy(key).into()
}
