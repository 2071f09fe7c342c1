//! What a consumer writes down of its watches.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use etcdex::{Batch, Error, ErrorKind, EventKind, KeyValue, WatchEnd, WatchMessage};
use etcdex_testkit::history::{self, Body, End, Event, Message, Pair, Recording, hash};
use tokio::time::Instant;

use crate::watch::audience::{Audience, Finale, Tally};

use crate::clock::Clock;
use crate::watch::keys::Keys;
use crate::watch::plan::{Pace, Plan};

/// How long nothing may come, once all is well again, while something is still to come. A consumer
/// with little room is slow to catch up, and has lost nothing.
const CATCH_UP: Duration = Duration::from_secs(45);
/// How long all of it may take.
const LONGEST: Duration = Duration::from_secs(300);

/// One watch as its consumer saw it.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) recording: Recording,
    pub(crate) pace: Pace,
    /// The first of its plan, which has been there since before the first fault.
    pub(crate) first: bool,
    ended: bool,
    /// The last revision that came.
    reached: i64,
}

impl Account {
    /// Whether it lived from the start of the run to its end.
    pub(crate) fn is_whole(&self) -> bool {
        self.first && !self.ended
    }
}

/// The watches of a client, one after the other for each plan.
pub(crate) struct Notes {
    name: &'static str,
    clock: Clock,
    tally: Arc<Tally>,
    accounts: Vec<Account>,
    /// The present account of each plan.
    present: HashMap<usize, usize>,
    generations: HashMap<usize, u32>,
    keys: Keys,
    /// At the end of a run: up to where each present account has to come, and the last
    /// revision of all.
    aims: HashMap<usize, i64>,
    end: Option<i64>,
    /// Since when nothing is added to the history.
    aimed: Option<Instant>,
    /// When events last came.
    moved: Instant,
}

impl Notes {
    pub(crate) fn new(audience: &Audience) -> Self {
        Self {
            name: audience.name,
            clock: audience.clock,
            tally: Arc::clone(&audience.tally),
            accounts: Vec::new(),
            present: HashMap::new(),
            generations: HashMap::new(),
            keys: Keys::default(),
            aims: HashMap::new(),
            end: None,
            aimed: None,
            moved: Instant::now(),
        }
    }

    /// A watch of this plan is in force.
    pub(crate) fn created(&mut self, number: usize, plan: &Plan, revision: i64) {
        let generation = self.generations.entry(number).or_default();
        *generation += 1;
        let first = *generation == 1;
        let recording = Recording {
            name: format!("{}/{}#{generation}", self.name, plan.name),
            query: plan.query(revision),
            messages: Vec::new(),
        };
        self.present.insert(number, self.accounts.len());
        self.accounts.push(Account {
            recording,
            pace: plan.pace,
            first,
            ended: false,
            reached: 0,
        });
        self.push(number, Body::Created { revision });
    }

    pub(crate) fn batch(&mut self, number: usize, batch: &Batch) {
        if batch.events.is_empty() {
            return self.progress(number, batch.revision);
        }
        let events: Vec<Event> = batch.events.iter().map(|event| self.event(event)).collect();
        self.moved = Instant::now();
        self.tally.batches.fetch_add(1, Relaxed);
        self.tally.events.fetch_add(events.len() as u64, Relaxed);
        self.reach(number, events.iter().map(Event::revision).max());
        let body = Body::Batch {
            header: batch.header.revision,
            revision: batch.revision,
            events,
        };
        self.push(number, body);
    }

    pub(crate) fn progress(&mut self, number: usize, revision: i64) {
        self.push(number, Body::Progress { revision });
    }

    pub(crate) fn ended(&mut self, number: usize, end: WatchEnd) {
        let end = match end {
            WatchEnd::Compacted { revision, .. } => {
                self.tally.compacted.fetch_add(1, Relaxed);
                End::Compacted { revision }
            }
            other => End::Other(other.to_string()),
        };
        self.push(number, Body::Ended(end));
        if let Some(place) = self.present.remove(&number) {
            self.accounts[place].ended = true;
        }
    }

    /// A watch could not be had. That it took too long under faults is no wonder; anything
    /// else is an end like another.
    pub(crate) fn refused(&mut self, number: usize, plan: &Plan, error: &Error) {
        if matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable) {
            self.tally.late.fetch_add(1, Relaxed);
            return;
        }
        self.created(number, plan, 0);
        let end = End::Other(format!("it could not be had: {error}"));
        self.push(number, Body::Ended(end));
        if let Some(place) = self.present.remove(&number) {
            self.accounts[place].ended = true;
        }
    }

    /// What is told of all watches at once.
    pub(crate) fn everybody(&mut self, message: &WatchMessage) {
        let body = match message {
            WatchMessage::Disconnected { .. } => {
                self.tally.disconnects.fetch_add(1, Relaxed);
                Body::Disconnected
            }
            WatchMessage::Resumed { .. } => {
                self.tally.resumes.fetch_add(1, Relaxed);
                Body::Resumed
            }
            WatchMessage::Progress { revision, .. } => Body::Progress {
                revision: *revision,
            },
            WatchMessage::Error(error) => Body::Ended(End::Other(error.to_string())),
            _ => return,
        };
        let numbers: Vec<usize> = self.present.keys().copied().collect();
        for number in numbers {
            self.push(number, body.clone());
        }
    }

    /// Nothing is added to the history any more: notes up to where each watch has to come.
    pub(crate) fn aim(&mut self, finale: &Finale) {
        let Some(history) = finale.borrow().clone() else {
            return;
        };
        for (number, place) in &self.present {
            let expected = history.expected(&self.accounts[*place].recording.query);
            let last = expected.last().map_or(0, |event| event.revision());
            self.aims.insert(*number, last);
        }
        self.end = Some(history.revision());
        self.aimed = Some(Instant::now());
    }

    /// Until when what is to come may come, at the end of a run.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let aimed = self.aimed?;
        Some((self.moved.max(aimed) + CATCH_UP).min(aimed + LONGEST))
    }

    /// Whether every present watch has come to where it has to.
    pub(crate) fn is_done(&self) -> bool {
        self.present.iter().all(|(number, place)| {
            let aim = self.aims.get(number).copied().unwrap_or(0);
            self.accounts[*place].reached >= aim
        })
    }

    /// All accounts; those of the present watches say up to where they had time to come.
    pub(crate) fn close(mut self) -> Vec<Account> {
        if let Some(revision) = self.end {
            let numbers: Vec<usize> = self.present.keys().copied().collect();
            for number in numbers {
                self.push(number, Body::Drained { revision });
            }
        }
        self.accounts
    }

    fn push(&mut self, number: usize, body: Body) {
        let at = self.clock.now();
        if let Some(place) = self.present.get(&number) {
            let messages = &mut self.accounts[*place].recording.messages;
            messages.push(Message { at, body });
        }
    }

    fn reach(&mut self, number: usize, revision: Option<i64>) {
        if let (Some(place), Some(revision)) = (self.present.get(&number), revision) {
            let account = &mut self.accounts[*place];
            account.reached = account.reached.max(revision);
        }
    }

    fn event(&mut self, event: &etcdex::Event) -> Event {
        Event {
            kind: match event.kind {
                EventKind::Delete => history::EventKind::Delete,
                _ => history::EventKind::Put,
            },
            key: self.keys.text(&event.kv.key),
            pair: pair(&event.kv),
            prev: event.prev_kv.as_ref().map(|kv| Box::new(pair(kv))),
        }
    }
}

fn pair(kv: &KeyValue) -> Pair {
    Pair {
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: hash(&kv.value),
    }
}
