//! The consumers of the clients under test: they watch, and record their messages.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use etcdex::watch::WatchRef;
use etcdex::{Batch, Client, Error, WatchEnd, WatchMessage, WatchStream, Watcher};
use etcdex_testkit::history::History;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};

use crate::clock::Clock;
use crate::watch::churn::{Act, Churn, Fate};
use crate::watch::plan::{Pace, Plan};
use crate::watch::recorder::{ConsumerLog, Recorder};

/// Interval of a watcher's requests for progress.
const ASK: Duration = Duration::from_secs(1);
/// Pause before a watch that could not be opened is opened again.
const RETRY: Duration = Duration::from_millis(100);
/// Interval at which the churn opens or cancels a watch.
const CHURN: Duration = Duration::from_millis(25);
/// Maximum time between a watch being in force and its future being ready, in microseconds.
const SHORTLY: u64 = 3_000_000;
/// A burst ends when nothing comes for this time.
const BURST: Duration = Duration::from_millis(50);

/// Counters of a run.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) events: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) disconnects: AtomicU64,
    pub(crate) resumes: AtomicU64,
    /// Watches that ended as compacted.
    pub(crate) compacted: AtomicU64,
    /// Watches that were not in force in time.
    pub(crate) late: AtomicU64,
}

/// The complete history at the end of a run; none before.
pub(crate) type FinalHistory = watch::Receiver<Option<Arc<History>>>;

/// The consumers of a client, and the watches that they open.
#[derive(Clone)]
pub(crate) struct Consumers {
    pub(crate) name: &'static str,
    /// The name of the consumer among those of the client.
    pub(crate) owner: String,
    /// Whether the consumer has one watch, as a stream of batches.
    pub(crate) is_alone: bool,
    pub(crate) client: Client,
    pub(crate) plans: Vec<Plan>,
    pub(crate) clock: Clock,
    pub(crate) counters: Arc<Counters>,
    pub(crate) final_history: FinalHistory,
    /// The number of consumers whose watches are all in force.
    pub(crate) ready: watch::Sender<usize>,
}

impl Consumers {
    /// Watches all plans by one watcher, until the end of the run. With `churn`, other watches are
    /// opened and cancelled meanwhile.
    pub(crate) async fn watch_together(self, churn: Option<Churn>) -> Vec<ConsumerLog> {
        let watcher = self.client.watcher();
        let recorder = Recorder::new(&self);
        let mut together = Together {
            watcher,
            recorder,
            adding: JoinSet::new(),
            of: HashMap::new(),
            early: HashMap::new(),
            asked: HashMap::new(),
            clock: self.clock,
            churn,
        };
        for (number, plan) in self.plans.into_iter().enumerate() {
            together.add(number, plan, Duration::ZERO);
        }
        while let Some(added) = together.adding.join_next().await {
            together.joined(added);
        }
        self.ready.send_modify(|ready| *ready += 1);
        vec![together.read(self.final_history).await]
    }

    /// Watches each plan by a stream of its own, until the end of the run.
    pub(crate) async fn watch_apart(self) -> Vec<ConsumerLog> {
        let mut streams = JoinSet::new();
        let opened = watch::Sender::new(0);
        for plan in &self.plans {
            let single = Consumers {
                owner: format!("{}/{}", self.name, plan.name),
                is_alone: true,
                plans: vec![plan.clone()],
                ready: opened.clone(),
                ..self.clone()
            };
            streams.spawn(single.watch_alone());
        }
        let count = self.plans.len();
        let mut waiting = opened.subscribe();
        // INVARIANT: `opened` is held here, so the wait ends only when the count is reached.
        let _ = waiting.wait_for(|opened| *opened == count).await;
        self.ready.send_modify(|ready| *ready += 1);
        let mut notebooks = Vec::new();
        while let Some(notebook) = streams.join_next().await {
            notebooks.push(notebook.unwrap_or_else(|error| panic!("{error}")));
        }
        notebooks
    }

    async fn watch_alone(self) -> ConsumerLog {
        let mut final_history = self.final_history.clone();
        let mut recorder = Recorder::new(&self);
        let plan = self.plans[0].clone();
        let mut stream = self.open(&plan, &mut recorder).await;
        self.ready.send_modify(|ready| *ready += 1);
        let mut ask = interval(ASK);
        loop {
            let deadline = recorder.deadline();
            let pace = match deadline {
                None => plan.pace,
                Some(_) => Pace::Keen,
            };
            tokio::select! {
                // At the end only: a consumer that pauses sometimes is not up to date before.
                _ = ask.tick(), if deadline.is_some() => stream.request_progress(),
                batch = next(&mut stream, pace) => match batch {
                    Ok(batch) => recorder.batch(0, &batch),
                    Err(end) => {
                        // Also at the end of a run: a stream that has ended answers nothing.
                        recorder.ended(0, end);
                        stream = self.open(&plan.anew(), &mut recorder).await;
                    }
                },
                changed = final_history.changed(), if deadline.is_none() => {
                    recorder.aim(&final_history);
                    if changed.is_err() {
                        return recorder.close();
                    }
                }
                () = until(deadline) => return recorder.close(),
            }
            if recorder.deadline().is_some() && recorder.is_done() {
                return recorder.close();
            }
        }
    }

    /// Opens a stream, and repeats that until it succeeds.
    async fn open(&self, plan: &Plan, recorder: &mut Recorder) -> WatchStream {
        loop {
            let called = self.clock.now();
            match plan.open(&self.client).await {
                Ok(stream) => {
                    recorder.created(0, plan, called, stream.start_revision());
                    return stream;
                }
                Err(error) => recorder.refused(0, plan, called, &error),
            }
            sleep(RETRY).await;
        }
    }
}

/// Returns the next batch of a stream; a slow consumer pauses when there is none.
async fn next(stream: &mut WatchStream, pace: Pace) -> Result<Batch, WatchEnd> {
    loop {
        let batch = match pace {
            Pace::Keen => stream.try_next().await?,
            Pace::Bursts(pause) => match timeout(BURST, stream.try_next()).await {
                Ok(batch) => batch?,
                Err(_) => {
                    sleep(pause).await;
                    continue;
                }
            },
        };
        // The stream is never cancelled here.
        if let Some(batch) = batch {
            return Ok(batch);
        }
        std::future::pending::<()>().await;
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The result of opening a watch: the plan's number, the plan, the time of the call, and the watch.
type Adding = (usize, Plan, u64, Result<WatchRef, Error>);

/// Many watches on one watcher.
struct Together {
    watcher: Watcher,
    recorder: Recorder,
    clock: Clock,
    adding: JoinSet<Adding>,
    /// The number of the plan of each watch.
    of: HashMap<WatchRef, usize>,
    /// Messages of watches whose plan is not known yet.
    early: HashMap<WatchRef, Vec<(u64, WatchMessage)>>,
    /// The plan of each watch, and when it was opened: the plan, or the same plan from now on.
    asked: HashMap<WatchRef, (Plan, u64)>,
    churn: Option<Churn>,
}

impl Together {
    fn add(&mut self, number: usize, plan: Plan, after: Duration) -> AbortHandle {
        let adding = self.watcher.add(plan.watch());
        let clock = self.clock;
        self.adding.spawn(async move {
            sleep(after).await;
            let called = clock.now();
            (number, plan, called, adding.await)
        })
    }

    fn joined(&mut self, joined: Result<Adding, JoinError>) {
        match joined {
            Ok(added) => self.added(added),
            // The future was dropped before the watch was in force.
            Err(error) if error.is_cancelled() => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn added(&mut self, (number, plan, called, outcome): Adding) {
        let fate = self.churn.as_mut().map(|churn| churn.added(number));
        match outcome {
            // The future was dropped too late.
            Ok(watch) if fate == Some(Fate::Dropped) => {
                self.watcher.cancel(watch);
                self.early.remove(&watch);
            }
            Ok(watch) => {
                self.of.insert(watch, number);
                self.asked.insert(watch, (plan, called));
                if let (Some(churn), Some(Fate::Passing)) = (&mut self.churn, fate) {
                    churn.live.push((watch, number));
                }
                for (_, message) in self.early.remove(&watch).unwrap_or_default() {
                    self.take(message);
                }
            }
            Err(_) if fate.is_some_and(|fate| fate != Fate::Staying) => {}
            Err(error) => {
                self.recorder.refused(number, &plan, called, &error);
                self.add(number, plan, RETRY);
            }
        }
    }

    async fn read(mut self, mut final_history: FinalHistory) -> ConsumerLog {
        let mut ask = interval(ASK);
        let mut churn_once = interval(CHURN);
        loop {
            let deadline = self.recorder.deadline();
            tokio::select! {
                _ = ask.tick() => {
                    self.recorder.requested();
                    self.watcher.request_progress();
                }
                _ = churn_once.tick(), if self.churn.is_some() && deadline.is_none() => self.churn_once(),
                message = self.watcher.next() => match message {
                    Some(message) => self.take(message),
                    None => return self.close(),
                },
                Some(added) = self.adding.join_next() => self.joined(added),
                changed = final_history.changed(), if deadline.is_none() => {
                    self.end_churn();
                    self.recorder.aim(&final_history);
                    if changed.is_err() {
                        return self.close();
                    }
                }
                () = until(deadline) => return self.close(),
            }
            if self.recorder.deadline().is_some()
                && self.adding.is_empty()
                && self.recorder.is_done()
            {
                return self.close();
            }
        }
    }

    fn close(mut self) -> ConsumerLog {
        for (watch, messages) in &self.early {
            // Messages that were read just before the future was dropped are no fault.
            let times = messages.iter().map(|(at, _)| *at);
            let (first, last) = (times.clone().min(), times.max());
            if last.unwrap_or(0) - first.unwrap_or(0) < SHORTLY {
                continue;
            }
            let what = format!("{} messages of {watch}, which was dropped", messages.len());
            self.recorder.stray(what);
        }
        self.recorder.close()
    }

    /// Opens, drops or cancels a watch.
    fn churn_once(&mut self) {
        let Some(mut churn) = self.churn.take() else {
            return;
        };
        match churn.act(self.recorder.last_revision()) {
            Act::Add(number, plan) => {
                let called = self.clock.now();
                let handle = self.add(number, plan.clone(), Duration::ZERO);
                churn.pending.insert(number, (handle, plan, called));
            }
            Act::Drop(number) => {
                if let Some((handle, plan, called)) = churn.pending.remove(&number) {
                    handle.abort();
                    churn.dropped.insert(number);
                    self.recorder.abandoned(number, &plan, called);
                }
            }
            Act::Cancel(watch, number) => self.cancel(watch, number),
            Act::Nothing => {}
        }
        self.churn = Some(churn);
    }

    fn cancel(&mut self, watch: WatchRef, number: usize) {
        // A watch that has ended by itself meanwhile cannot be cancelled.
        if !self.watcher.cancel(watch) {
            return;
        }
        match self.asked.get(&watch) {
            // Cancelled before its `Created` message was read.
            Some((plan, called)) if !self.recorder.knows(number) => {
                self.recorder.abandoned(number, plan, *called);
            }
            _ => self.recorder.cancelled(number),
        }
    }

    /// Ends all watches of the churn.
    fn end_churn(&mut self) {
        let Some(mut churn) = self.churn.take() else {
            return;
        };
        for (number, (handle, plan, called)) in churn.pending.drain() {
            handle.abort();
            churn.dropped.insert(number);
            self.recorder.abandoned(number, &plan, called);
        }
        for (watch, number) in churn.live.drain(..) {
            self.cancel(watch, number);
        }
        self.churn = Some(churn);
    }

    fn take(&mut self, message: WatchMessage) {
        let Some(watch) = message.watch() else {
            return self.recorder.all_watches(&message);
        };
        let Some(&number) = self.of.get(&watch) else {
            let now = self.clock.now();
            self.early.entry(watch).or_default().push((now, message));
            return;
        };
        match message {
            WatchMessage::Created { revision, .. } => {
                let (plan, called) = &self.asked[&watch];
                self.recorder.created(number, plan, *called, revision);
            }
            WatchMessage::Notify { batch, .. } => self.recorder.batch(number, &batch),
            WatchMessage::Progress { revision, .. } => self.recorder.progress(number, revision),
            WatchMessage::Cancelled { end, .. } => {
                self.recorder.ended(number, end);
                let churn = self.churn.as_mut();
                if churn.is_some_and(|churn| churn.ended(watch)) {
                    return;
                }
                let plan = self.asked[&watch].0.anew();
                self.add(number, plan, Duration::ZERO);
            }
            // Messages without a watch were handled above.
            _ => {}
        }
    }
}
