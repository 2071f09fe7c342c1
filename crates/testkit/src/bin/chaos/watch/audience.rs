//! Clients under test: they watch, and write down what they are told.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use etcdex::{Batch, Client, Error, WatchEnd, WatchMessage, WatchRef, WatchStream, Watcher};
use etcdex_testkit::history::History;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};

use crate::clock::Clock;
use crate::watch::notes::{Account, Notes};
use crate::watch::plan::{Pace, Plan};

/// How often a watcher asks how far the server has come.
const ASK: Duration = Duration::from_secs(1);
/// Before a watch that could not be had is asked for again.
const RETRY: Duration = Duration::from_millis(100);
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
pub(crate) struct Audience {
    pub(crate) name: &'static str,
    pub(crate) client: Client,
    pub(crate) plans: Vec<Plan>,
    pub(crate) clock: Clock,
    pub(crate) tally: Arc<Tally>,
    pub(crate) finale: Finale,
    /// Told once all watches are in force.
    pub(crate) ready: watch::Sender<usize>,
}

impl Audience {
    /// Watches everything by one watcher, until the end of the run.
    pub(crate) async fn watch_together(self) -> Vec<Account> {
        let watcher = self.client.watcher();
        let notes = Notes::new(&self);
        let mut together = Together {
            watcher,
            notes,
            adding: JoinSet::new(),
            of: HashMap::new(),
            early: HashMap::new(),
            asked: HashMap::new(),
        };
        for (number, plan) in self.plans.into_iter().enumerate() {
            together.add(number, plan, Duration::ZERO);
        }
        while let Some(added) = together.adding.join_next().await {
            together.added(added.unwrap_or_else(|error| panic!("{error}")));
        }
        self.ready.send_modify(|ready| *ready += 1);
        together.read(self.finale).await
    }

    /// Watches each plan by a stream of its own, until the end of the run.
    pub(crate) async fn watch_apart(self) -> Vec<Account> {
        let mut streams = JoinSet::new();
        let opened = watch::Sender::new(0);
        for plan in &self.plans {
            let single = Audience {
                plans: vec![plan.clone()],
                client: self.client.clone(),
                tally: Arc::clone(&self.tally),
                finale: self.finale.clone(),
                ready: opened.clone(),
                ..self
            };
            streams.spawn(single.watch_alone());
        }
        let count = self.plans.len();
        let mut waiting = opened.subscribe();
        // INVARIANT: `opened` is held here, so the wait ends only by what is waited for.
        let _ = waiting.wait_for(|opened| *opened == count).await;
        self.ready.send_modify(|ready| *ready += 1);
        let mut accounts = Vec::new();
        while let Some(account) = streams.join_next().await {
            accounts.extend(account.unwrap_or_else(|error| panic!("{error}")));
        }
        accounts
    }

    async fn watch_alone(self) -> Vec<Account> {
        let mut finale = self.finale.clone();
        let mut notes = Notes::new(&self);
        let plan = self.plans[0].clone();
        let mut stream = self.open(&plan, &mut notes).await;
        self.ready.send_modify(|ready| *ready += 1);
        loop {
            let deadline = notes.deadline();
            let pace = match deadline {
                None => plan.pace,
                Some(_) => Pace::Keen,
            };
            tokio::select! {
                batch = next(&mut stream, pace) => match batch {
                    Ok(batch) => notes.batch(0, &batch),
                    Err(end) => {
                        notes.ended(0, end);
                        if deadline.is_none() {
                            stream = self.open(&plan.anew(), &mut notes).await;
                        }
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
            match plan.open(&self.client).await {
                Ok(stream) => {
                    notes.created(0, plan, stream.start_revision());
                    return stream;
                }
                Err(error) => notes.refused(0, plan, &error),
            }
            sleep(RETRY).await;
        }
    }
}

/// The next batch of a stream; a slow consumer waits when there is none just now.
async fn next(stream: &mut WatchStream, pace: Pace) -> Result<Batch, WatchEnd> {
    loop {
        let batch = match pace {
            Pace::Keen => stream.next().await?,
            Pace::Bursts(pause) => match timeout(BURST, stream.next()).await {
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

/// Many watches on one watcher.
struct Together {
    watcher: Watcher,
    notes: Notes,
    adding: JoinSet<(usize, Plan, Result<WatchRef, Error>)>,
    /// Which plan each is of.
    of: HashMap<WatchRef, usize>,
    /// What came of watches before it was known which plan they are of.
    early: HashMap<WatchRef, Vec<WatchMessage>>,
    /// What each is asked for now: the plan, or the same anew.
    asked: HashMap<WatchRef, Plan>,
}

impl Together {
    fn add(&mut self, number: usize, plan: Plan, after: Duration) {
        let adding = self.watcher.add(plan.watch());
        self.adding.spawn(async move {
            sleep(after).await;
            (number, plan, adding.await)
        });
    }

    fn added(&mut self, added: (usize, Plan, Result<WatchRef, Error>)) {
        let (number, plan, outcome) = added;
        match outcome {
            Ok(watch) => {
                self.of.insert(watch, number);
                self.asked.insert(watch, plan);
                for message in self.early.remove(&watch).unwrap_or_default() {
                    self.take(message);
                }
            }
            Err(error) => {
                self.notes.refused(number, &plan, &error);
                self.add(number, plan, RETRY);
            }
        }
    }

    async fn read(mut self, mut finale: Finale) -> Vec<Account> {
        let mut ask = interval(ASK);
        loop {
            let deadline = self.notes.deadline();
            tokio::select! {
                _ = ask.tick() => self.watcher.request_progress(),
                message = self.watcher.next() => match message {
                    Some(message) => self.take(message),
                    None => return self.notes.close(),
                },
                Some(added) = self.adding.join_next() => {
                    self.added(added.unwrap_or_else(|error| panic!("{error}")));
                }
                changed = finale.changed(), if deadline.is_none() => {
                    self.notes.aim(&finale);
                    if changed.is_err() {
                        return self.notes.close();
                    }
                }
                () = until(deadline) => return self.notes.close(),
            }
            if self.notes.deadline().is_some() && self.adding.is_empty() && self.notes.is_done() {
                return self.notes.close();
            }
        }
    }

    fn take(&mut self, message: WatchMessage) {
        let Some(watch) = message.watch() else {
            return self.notes.everybody(&message);
        };
        let Some(&number) = self.of.get(&watch) else {
            self.early.entry(watch).or_default().push(message);
            return;
        };
        match message {
            WatchMessage::Created { revision, .. } => {
                let plan = &self.asked[&watch];
                self.notes.created(number, plan, revision);
            }
            WatchMessage::Notify { batch, .. } => self.notes.batch(number, &batch),
            WatchMessage::Progress { revision, .. } => self.notes.progress(number, revision),
            WatchMessage::Canceled { end, .. } => {
                self.notes.ended(number, end);
                let plan = self.asked[&watch].anew();
                self.add(number, plan, Duration::ZERO);
            }
            // Those of no watch were taken above.
            _ => {}
        }
    }
}
