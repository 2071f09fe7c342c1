//! The history of the store, told by its writes and read from itself.
//!
//! No watch has a part in it. Writers tell at which revision each of their writes happened, as
//! the server has acknowledged it. A revision that nobody tells of soon (the outcome of its
//! write is not known, or a lease has ended) is read: all keys as they were at it, compared
//! with what is known of the one before. And now and then everything is read and compared,
//! which would show a history that has gone wrong.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcdex::{Client, ErrorKind, KeyValue};
use etcdex_testkit::history::{Compaction, EventKind, History, Moment, Op, Pair, hash};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::clock::Clock;

/// How often what was told is put together.
const BEAT: Duration = Duration::from_millis(5);
/// How long a revision may be told of late before it is read.
const LATE: Duration = Duration::from_millis(40);
/// How often the store is asked for its revision: writes whose outcome is not known and
/// leases that end are noticed by it.
const LOOK: Duration = Duration::from_millis(100);
/// How often everything is compared.
const COMPARE: Duration = Duration::from_secs(2);

/// A write that was acknowledged.
#[derive(Debug)]
pub(crate) struct Ack {
    pub(crate) revision: i64,
    /// When the write was begun.
    pub(crate) began: u64,
    pub(crate) at: u64,
    pub(crate) ops: Vec<Op>,
}

/// The history as it grows.
#[derive(Clone, Debug)]
pub(crate) struct Chronicle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    written: Mutex<Written>,
    /// The last revision of the history.
    settled: AtomicI64,
    acks: mpsc::UnboundedSender<Ack>,
    clock: Clock,
}

/// What is known so far.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) history: History,
    /// How many revisions were read, as nobody had told of them.
    pub(crate) read: u64,
    /// How often everything was compared.
    pub(crate) compared: u64,
}

/// Why there is no history to judge by.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The store says something else than it said before.
    Contradiction(String),
    /// It could not be read.
    Unread(etcdex::Error),
}

impl Chronicle {
    /// Begins one for a store that is empty, and what puts it together.
    pub(crate) fn begin(clock: Clock) -> (Self, mpsc::UnboundedReceiver<Ack>) {
        let (acks, receiver) = mpsc::unbounded_channel();
        let history = History::since(1);
        let chronicle = Self(Arc::new(Inner {
            settled: AtomicI64::new(history.revision()),
            written: Mutex::new(Written {
                history,
                read: 0,
                compared: 0,
            }),
            acks,
            clock,
        }));
        (chronicle, receiver)
    }

    /// The time of the run.
    pub(crate) fn now(&self) -> u64 {
        self.0.clock.now()
    }

    /// Tells of a write that was begun at this time.
    pub(crate) fn tell(&self, began: u64, revision: i64, ops: Vec<Op>) {
        // INVARIANT: this holds the sender's other end open, if anything does.
        let _ = self.0.acks.send(Ack {
            revision,
            began,
            at: self.0.clock.now(),
            ops,
        });
    }

    /// The last revision of which all is known.
    pub(crate) fn settled(&self) -> i64 {
        self.0.settled.load(Relaxed)
    }

    pub(crate) fn written(&self) -> MutexGuard<'_, Written> {
        let written = self.0.written.lock();
        written.unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that is known, taken out: nothing is added any more.
    pub(crate) fn close(&self) -> Written {
        std::mem::take(&mut *self.written())
    }

    /// Notes a compaction that will be asked for now. No revision above what is settled may
    /// be, or it could not be read any more.
    pub(crate) fn compact(&self, revision: i64) {
        let at = self.0.clock.now();
        let compaction = Compaction { at, revision };
        self.written().history.compact(compaction);
    }
}

/// Puts a chronicle together from what is told.
pub(crate) struct Scribe {
    chronicle: Chronicle,
    acks: mpsc::UnboundedReceiver<Ack>,
    client: Client,
    /// What was told and cannot be added before what comes before it.
    told: BTreeMap<i64, Ack>,
    /// The highest revision that is known to have happened.
    highest: i64,
    /// Since when the next one is missing.
    missing: Option<Instant>,
}

impl Scribe {
    pub(crate) fn new(
        chronicle: &Chronicle,
        acks: mpsc::UnboundedReceiver<Ack>,
        client: Client,
    ) -> Self {
        Self {
            chronicle: chronicle.clone(),
            acks,
            client,
            told: BTreeMap::new(),
            highest: chronicle.settled(),
            missing: None,
        }
    }

    /// Writes until it is dropped, or until there is nothing to judge by.
    pub(crate) async fn run(&mut self) -> Broken {
        let mut look = Instant::now();
        let mut compare = Instant::now() + COMPARE;
        loop {
            sleep(BEAT).await;
            let outcome = async {
                self.listen()?;
                if Instant::now() >= look {
                    // It fails while no server answers; then nothing happens in the store.
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

    /// Goes on until all is settled that has happened by now, and compares everything.
    pub(crate) async fn finish(&mut self) -> Result<(), Broken> {
        self.look().await.map_err(Broken::Unread)?;
        let last = self.highest;
        while self.chronicle.settled() < last {
            self.listen()?;
            self.settle().await?;
            sleep(BEAT).await;
        }
        let compared = self.chronicle.written().compared;
        while self.chronicle.written().compared == compared {
            self.compare().await?;
            sleep(BEAT).await;
        }
        Ok(())
    }

    fn listen(&mut self) -> Result<(), Broken> {
        while let Ok(ack) = self.acks.try_recv() {
            self.highest = self.highest.max(ack.revision);
            if ack.revision <= self.chronicle.settled() {
                self.confirm(&ack)?;
            } else if let Some(other) = self.told.insert(ack.revision, ack) {
                return Err(Broken::Contradiction(format!(
                    "two writes were acknowledged at revision {}",
                    other.revision
                )));
            }
        }
        Ok(())
    }

    /// What is told late has to be what was read.
    fn confirm(&self, ack: &Ack) -> Result<(), Broken> {
        let written = self.chronicle.written();
        let known = |op: &Op| match op {
            Op::Put(key, value) => {
                let event = written.history.find(key, ack.revision);
                event
                    .is_some_and(|event| event.kind == EventKind::Put && event.pair.value == *value)
            }
            Op::Delete(key) => {
                let event = written.history.find(key, ack.revision);
                event.is_some_and(|event| event.kind == EventKind::Delete)
            }
        };
        match ack.ops.iter().find(|op| !known(op)) {
            None => Ok(()),
            Some(op) => Err(Broken::Contradiction(format!(
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

    async fn settle(&mut self) -> Result<(), Broken> {
        loop {
            let next = self.chronicle.settled() + 1;
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
            self.append(ops, None, self.chronicle.now());
        }
    }

    fn append(&mut self, ops: Vec<Op>, began: Option<u64>, known: u64) {
        let mut written = self.chronicle.written();
        written.history.append(ops);
        written.read += u64::from(began.is_none());
        let settled = written.history.revision();
        written.history.date(Moment {
            revision: settled,
            began,
            known,
        });
        drop(written);
        self.chronicle.0.settled.store(settled, Relaxed);
        self.missing = None;
    }

    /// What a revision did: the state at it, compared with the one before. None while no
    /// server answers.
    async fn read(&self, revision: i64) -> Result<Option<Vec<Op>>, Broken> {
        let Some(state) = self.state(revision).await? else {
            return Ok(None);
        };
        let written = self.chronicle.written();
        let before = written.history.present();
        let mut ops: Vec<Op> = before
            .keys()
            .filter(|key| !state.contains_key(*key))
            .map(|key| Op::Delete(Arc::clone(key)))
            .collect();
        for (key, pair) in &state {
            if pair.mod_revision == revision {
                ops.push(Op::Put(Arc::clone(key), pair.value));
            } else if before.get(key) != Some(pair) {
                return Err(Broken::Contradiction(format!(
                    "{key} is {pair:?} at {revision}, and was {:?} before, as far as known",
                    before.get(key)
                )));
            }
        }
        Ok(Some(ops))
    }

    /// Compares everything, if a server answers.
    async fn compare(&self) -> Result<(), Broken> {
        let revision = self.chronicle.settled();
        let Some(state) = self.state(revision).await? else {
            return Ok(());
        };
        let mut written = self.chronicle.written();
        let known = written.history.present();
        let differs = |key: &&Arc<str>| state.get(*key) != known.get(*key);
        if let Some(key) = state.keys().chain(known.keys()).find(differs) {
            return Err(Broken::Contradiction(format!(
                "at {revision} the store has {:?} at {key}, the history {:?}",
                state.get(key),
                known.get(key)
            )));
        }
        written.compared += 1;
        Ok(())
    }

    /// All keys as they were at a revision; none while no server answers.
    async fn state(&self, revision: i64) -> Result<Option<HashMap<Arc<str>, Pair>>, Broken> {
        let get = self.client.get("").all_keys().revision(revision);
        match get.await {
            Ok(reply) => Ok(Some(reply.kvs.iter().map(entry).collect())),
            Err(error) if error.kind() == ErrorKind::Compacted => Err(Broken::Unread(error)),
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

/// The keys of a run are text.
pub(crate) fn text(key: &[u8]) -> Arc<str> {
    String::from_utf8_lossy(key).into()
}
