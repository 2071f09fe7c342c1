//! What a consumer writes down of its watches.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use etcdex::{Batch, Error, ErrorKind, EventKind, KeyValue, WatchEnd, WatchMessage};
use etcdex_testkit::history::{self, Body, End, Event, Message, Pair, Query, Recording, hash};
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

/// How long the answer to a request for progress is waited for, once all is well and everything
/// has come: a little longer than the judge allows.
const ANSWER: Duration = Duration::from_secs(32);

/// Everything that a consumer wrote down.
#[derive(Debug)]
pub(crate) struct Notebook {
    pub(crate) accounts: Vec<Account>,
    /// What it was told of all its watches together.
    pub(crate) owner: Recording,
}

/// The watches of a client, one after the other for each plan.
pub(crate) struct Notes {
    name: &'static str,
    clock: Clock,
    tally: Arc<Tally>,
    accounts: Vec<Account>,
    /// The present account of each plan.
    present: HashMap<usize, usize>,
    /// The account of each plan that is cancelled.
    gone: HashMap<usize, usize>,
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
    owner: Recording,
    /// It has one watch: what is told of that is told of all.
    is_alone: bool,
    /// Since when everything has come that is to come.
    done: Option<Instant>,
    /// The last request for progress was made after that and is answered.
    answered: bool,
}

impl Notes {
    pub(crate) fn new(audience: &Audience) -> Self {
        Self {
            name: audience.name,
            clock: audience.clock,
            tally: Arc::clone(&audience.tally),
            accounts: Vec::new(),
            present: HashMap::new(),
            gone: HashMap::new(),
            generations: HashMap::new(),
            keys: Keys::default(),
            aims: HashMap::new(),
            end: None,
            aimed: None,
            moved: Instant::now(),
            owner: Recording {
                name: format!("{}/*", audience.owner),
                query: Query::key("", 0),
                messages: Vec::new(),
            },
            is_alone: audience.is_alone,
            done: None,
            answered: false,
        }
    }

    /// The last revision that came.
    pub(crate) fn last_revision(&self) -> i64 {
        let reached = self.accounts.iter().map(|account| account.reached);
        reached.max().unwrap_or(0)
    }

    /// A watch of this plan, which the consumer had asked for at that time, is in force.
    pub(crate) fn created(&mut self, number: usize, plan: &Plan, called: u64, revision: i64) {
        self.begin(number, plan, called, revision);
        self.push(number, Body::Created { revision });
    }

    /// A watch of this plan was asked for at that time, and its consumer wants it no more.
    pub(crate) fn abandoned(&mut self, number: usize, plan: &Plan, called: u64) {
        self.begin(number, plan, called, 0);
        self.cancelled(number);
    }

    /// The consumer has cancelled or dropped a watch. What still comes of it is written down.
    pub(crate) fn cancelled(&mut self, number: usize) {
        self.push(number, Body::Cancelled);
        if let Some(place) = self.present.remove(&number) {
            self.accounts[place].ended = true;
            self.gone.insert(number, place);
        }
    }

    /// Whether a watch of this plan was ever written down.
    pub(crate) fn knows(&self, number: usize) -> bool {
        self.generations.contains_key(&number)
    }

    fn begin(&mut self, number: usize, plan: &Plan, called: u64, revision: i64) {
        let generation = self.generations.entry(number).or_default();
        *generation += 1;
        let first = *generation == 1;
        let recording = Recording {
            name: format!("{}/{}#{generation}", self.name, plan.name),
            query: plan.query(revision),
            messages: vec![Message {
                at: called,
                body: Body::Asked {
                    revision: plan.start_revision(),
                },
            }],
        };
        self.present.insert(number, self.accounts.len());
        self.accounts.push(Account {
            recording,
            pace: plan.pace,
            first,
            ended: false,
            reached: 0,
        });
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
        if self.is_alone {
            self.answer(revision);
        }
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
        // The next one begins behind the end of the history, and has nowhere to come.
        self.aims.remove(&number);
    }

    /// A watch could not be had. That it took too long under faults is no wonder; anything
    /// else is an end like another.
    pub(crate) fn refused(&mut self, number: usize, plan: &Plan, called: u64, error: &Error) {
        if matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable) {
            self.tally.late.fetch_add(1, Relaxed);
            return;
        }
        self.begin(number, plan, called, 0);
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
            WatchMessage::Closed(error) => Body::Ended(End::Other(error.to_string())),
            _ => return,
        };
        match body {
            Body::Progress { revision } => self.answer(revision),
            Body::Disconnected | Body::Resumed => self.note(body.clone()),
            _ => {}
        }
        let numbers: Vec<usize> = self.present.keys().copied().collect();
        for number in numbers {
            self.push(number, body.clone());
        }
    }

    /// The consumer asks for progress.
    pub(crate) fn requested(&mut self) {
        self.note(Body::Requested);
    }

    fn answer(&mut self, revision: i64) {
        self.answered = self.done.is_some();
        self.note(Body::Progress { revision });
    }

    /// Something came that belongs to no watch which the consumer has.
    pub(crate) fn stray(&mut self, what: String) {
        self.note(Body::Ended(End::Other(what)));
    }

    fn note(&mut self, body: Body) {
        let at = self.clock.now();
        self.owner.messages.push(Message { at, body });
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
        if let Some(done) = self.done {
            return Some(done + ANSWER);
        }
        Some((self.moved.max(aimed) + CATCH_UP).min(aimed + LONGEST))
    }

    /// Whether every present watch has come to where it has to, and a request for progress that
    /// was made after that is answered.
    pub(crate) fn is_done(&mut self) -> bool {
        if self.done.is_none() {
            let all = self.present.iter().all(|(number, place)| {
                let aim = self.aims.get(number).copied().unwrap_or(0);
                self.accounts[*place].reached >= aim
            });
            if all {
                self.done = Some(Instant::now());
                self.requested();
            }
        }
        self.answered
    }

    /// Everything; accounts of the present watches say up to where they had time to come.
    pub(crate) fn close(mut self) -> Notebook {
        if let Some(revision) = self.end {
            let numbers: Vec<usize> = self.present.keys().copied().collect();
            for number in numbers {
                self.push(number, Body::Drained { revision });
            }
            self.note(Body::Drained { revision });
        }
        Notebook {
            accounts: self.accounts,
            owner: self.owner,
        }
    }

    fn push(&mut self, number: usize, body: Body) {
        let at = self.clock.now();
        let place = self.present.get(&number).or(self.gone.get(&number));
        if let Some(place) = place {
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

pub(crate) fn pair(kv: &KeyValue) -> Pair {
    Pair {
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: hash(&kv.value),
    }
}
