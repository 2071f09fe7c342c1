//! Clients under test: they watch, and write down what they are told.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use etcdex::{Batch, Client, Error, WatchEnd, WatchMessage, WatchRef, WatchStream, Watcher};
use etcdex_testkit::history::History;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};

use crate::clock::Clock;
use crate::watch::churn::{Act, Churn, Fate};
use crate::watch::notes::{Notebook, Notes};
use crate::watch::plan::{Pace, Plan};

/// How often a watcher asks how far the server has come.
const ASK: Duration = Duration::from_secs(1);
/// Before a watch that could not be had is asked for again.
const RETRY: Duration = Duration::from_millis(100);
/// How often a watch comes or goes, where watches do.
const STIR: Duration = Duration::from_millis(25);
/// Between a watch being in force and its future being ready, in microseconds, at most.
const SHORTLY: u64 = 3_000_000;
/// A burst is over when nothing comes for so long.
const BURST: Duration = Duration::from_millis(50);

/// What is counted while a run goes on.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) events: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) disconnects: AtomicU64,
    pub(crate) resumes: AtomicU64,
    /// Watches that ended as what they had to go on from was compacted.
    pub(crate) compacted: AtomicU64,
    /// Watches that were asked for and not in force in time.
    pub(crate) late: AtomicU64,
}

/// The end of a run: the whole history, once nothing is added any more.
pub(crate) type Finale = watch::Receiver<Option<Arc<History>>>;

/// A client with what it is to watch.
#[derive(Clone)]
pub(crate) struct Audience {
    pub(crate) name: &'static str,
    /// Names the consumer among those of the client.
    pub(crate) owner: String,
    /// The consumer has one watch, as a stream of batches.
    pub(crate) is_alone: bool,
    pub(crate) client: Client,
    pub(crate) plans: Vec<Plan>,
    pub(crate) clock: Clock,
    pub(crate) tally: Arc<Tally>,
    pub(crate) finale: Finale,
    /// Told once all watches are in force.
    pub(crate) ready: watch::Sender<usize>,
}

impl Audience {
    /// Watches everything by one watcher, until the end of the run. With `churn`, other watches
    /// come and go meanwhile.
    pub(crate) async fn watch_together(self, churn: Option<Churn>) -> Vec<Notebook> {
        let watcher = self.client.watcher();
        let notes = Notes::new(&self);
        let mut together = Together {
            watcher,
            notes,
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
        vec![together.read(self.finale).await]
    }

    /// Watches each plan by a stream of its own, until the end of the run.
    pub(crate) async fn watch_apart(self) -> Vec<Notebook> {
        let mut streams = JoinSet::new();
        let opened = watch::Sender::new(0);
        for plan in &self.plans {
            let single = Audience {
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
        // INVARIANT: `opened` is held here, so the wait ends only by what is waited for.
        let _ = waiting.wait_for(|opened| *opened == count).await;
        self.ready.send_modify(|ready| *ready += 1);
        let mut notebooks = Vec::new();
        while let Some(notebook) = streams.join_next().await {
            notebooks.push(notebook.unwrap_or_else(|error| panic!("{error}")));
        }
        notebooks
    }

    async fn watch_alone(self) -> Notebook {
        let mut finale = self.finale.clone();
        let mut notes = Notes::new(&self);
        let plan = self.plans[0].clone();
        let mut stream = self.open(&plan, &mut notes).await;
        self.ready.send_modify(|ready| *ready += 1);
        let mut ask = interval(ASK);
        loop {
            let deadline = notes.deadline();
            let pace = match deadline {
                None => plan.pace,
                Some(_) => Pace::Keen,
            };
            tokio::select! {
                // At the end only: what is paused now and then is not up to date.
                _ = ask.tick(), if deadline.is_some() => stream.request_progress(),
                batch = next(&mut stream, pace) => match batch {
                    Ok(batch) => notes.batch(0, &batch),
                    Err(end) => {
                        // At the end of a run, too: a stream that has ended answers nothing.
                        notes.ended(0, end);
                        stream = self.open(&plan.anew(), &mut notes).await;
                    }
                },
                changed = finale.changed(), if deadline.is_none() => {
                    notes.aim(&finale);
                    if changed.is_err() {
                        return notes.close();
                    }
                }
                () = until(deadline) => return notes.close(),
            }
            if notes.deadline().is_some() && notes.is_done() {
                return notes.close();
            }
        }
    }

    /// Opens a stream, however often that takes.
    async fn open(&self, plan: &Plan, notes: &mut Notes) -> WatchStream {
        loop {
            let called = self.clock.now();
            match plan.open(&self.client).await {
                Ok(stream) => {
                    notes.created(0, plan, called, stream.start_revision());
                    return stream;
                }
                Err(error) => notes.refused(0, plan, called, &error),
            }
            sleep(RETRY).await;
        }
    }
}

/// The next batch of a stream; a slow consumer waits when there is none just now.
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
        // Nobody cancels it here.
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

/// A watch that was asked for.
type Adding = (usize, Plan, u64, Result<WatchRef, Error>);

/// Many watches on one watcher.
struct Together {
    watcher: Watcher,
    notes: Notes,
    clock: Clock,
    adding: JoinSet<Adding>,
    /// Which plan each is of.
    of: HashMap<WatchRef, usize>,
    /// What came of watches before it was known which plan they are of.
    early: HashMap<WatchRef, Vec<(u64, WatchMessage)>>,
    /// What each is asked for now, and when that was: the plan, or the same anew.
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
            // One that was dropped before it was in force.
            Err(error) if error.is_cancelled() => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn added(&mut self, (number, plan, called, outcome): Adding) {
        let fate = self.churn.as_mut().map(|churn| churn.added(number));
        match outcome {
            // Its future was dropped too late.
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
                self.notes.refused(number, &plan, called, &error);
                self.add(number, plan, RETRY);
            }
        }
    }

    async fn read(mut self, mut finale: Finale) -> Notebook {
        let mut ask = interval(ASK);
        let mut stir = interval(STIR);
        loop {
            let deadline = self.notes.deadline();
            tokio::select! {
                _ = ask.tick() => {
                    self.notes.requested();
                    self.watcher.request_progress();
                }
                _ = stir.tick(), if self.churn.is_some() && deadline.is_none() => self.stir(),
                message = self.watcher.next() => match message {
                    Some(message) => self.take(message),
                    None => return self.close(),
                },
                Some(added) = self.adding.join_next() => self.joined(added),
                changed = finale.changed(), if deadline.is_none() => {
                    self.settle_down();
                    self.notes.aim(&finale);
                    if changed.is_err() {
                        return self.close();
                    }
                }
                () = until(deadline) => return self.close(),
            }
            if self.notes.deadline().is_some() && self.adding.is_empty() && self.notes.is_done() {
                return self.close();
            }
        }
    }

    fn close(mut self) -> Notebook {
        for (watch, messages) in &self.early {
            // What was read just before its future was dropped is no fault.
            let times = messages.iter().map(|(at, _)| *at);
            let (first, last) = (times.clone().min(), times.max());
            if last.unwrap_or(0) - first.unwrap_or(0) < SHORTLY {
                continue;
            }
            let what = format!("{} messages of {watch}, which was dropped", messages.len());
            self.notes.stray(what);
        }
        self.notes.close()
    }

    /// Adds, drops or cancels a watch.
    fn stir(&mut self) {
        let Some(mut churn) = self.churn.take() else {
            return;
        };
        match churn.act(self.notes.last_revision()) {
            Act::Add(number, plan) => {
                let called = self.clock.now();
                let handle = self.add(number, plan.clone(), Duration::ZERO);
                churn.pending.insert(number, (handle, plan, called));
            }
            Act::Drop(number) => {
                if let Some((handle, plan, called)) = churn.pending.remove(&number) {
                    handle.abort();
                    churn.dropped.insert(number);
                    self.notes.abandoned(number, &plan, called);
                }
            }
            Act::Cancel(watch, number) => self.cancel(watch, number),
            Act::Nothing => {}
        }
        self.churn = Some(churn);
    }

    fn cancel(&mut self, watch: WatchRef, number: usize) {
        // What ended by itself meanwhile has no more to be cancelled.
        if !self.watcher.cancel(watch) {
            return;
        }
        match self.asked.get(&watch) {
            // Cancelled before it was read that it is in force.
            Some((plan, called)) if !self.notes.knows(number) => {
                self.notes.abandoned(number, plan, *called);
            }
            _ => self.notes.cancelled(number),
        }
    }

    /// Ends all that come and go.
    fn settle_down(&mut self) {
        let Some(mut churn) = self.churn.take() else {
            return;
        };
        for (number, (handle, plan, called)) in churn.pending.drain() {
            handle.abort();
            churn.dropped.insert(number);
            self.notes.abandoned(number, &plan, called);
        }
        for (watch, number) in churn.live.drain(..) {
            self.cancel(watch, number);
        }
        self.churn = Some(churn);
    }

    fn take(&mut self, message: WatchMessage) {
        let Some(watch) = message.watch() else {
            return self.notes.everybody(&message);
        };
        let Some(&number) = self.of.get(&watch) else {
            let now = self.clock.now();
            self.early.entry(watch).or_default().push((now, message));
            return;
        };
        match message {
            WatchMessage::Created { revision, .. } => {
                let (plan, called) = &self.asked[&watch];
                self.notes.created(number, plan, *called, revision);
            }
            WatchMessage::Notify { batch, .. } => self.notes.batch(number, &batch),
            WatchMessage::Progress { revision, .. } => self.notes.progress(number, revision),
            WatchMessage::Cancelled { end, .. } => {
                self.notes.ended(number, end);
                let churn = self.churn.as_mut();
                if churn.is_some_and(|churn| churn.ended(watch)) {
                    return;
                }
                let plan = self.asked[&watch].0.anew();
                self.add(number, plan, Duration::ZERO);
            }
            // Those of no watch were taken above.
            _ => {}
        }
    }
}
