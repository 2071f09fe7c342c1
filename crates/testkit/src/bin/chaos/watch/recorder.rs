//! Records the messages that a consumer gets from its watches.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use etcdex::{Batch, Error, ErrorKind, EventKind, WatchEnd, WatchMessage};
use etcdex_testkit::history::{self, Body, End, Event, Message, Query, Recording};
use tokio::time::Instant;

use crate::watch::consumers::{Consumers, Counters, FinalHistory};

use crate::clock::Clock;
use crate::store::pair;
use crate::watch::keys::Keys;
use crate::watch::plan::{Pace, Plan};

/// Maximum silence after the last fault while events are still missing. A consumer with a small
/// buffer catches up slowly, and has lost nothing.
const CATCH_UP: Duration = Duration::from_secs(45);
/// Maximum time for all missing events.
const LONGEST: Duration = Duration::from_secs(300);

/// The record of one watch.
#[derive(Debug)]
pub(crate) struct WatchRecord {
    pub(crate) recording: Recording,
    pub(crate) pace: Pace,
    /// Whether the watch is the first of its plan, which was in force before the first fault.
    pub(crate) first: bool,
    ended: bool,
    /// The last delivered revision.
    reached: i64,
}

impl WatchRecord {
    /// Returns whether the watch lived from the start of the run to its end.
    pub(crate) fn is_whole(&self) -> bool {
        self.first && !self.ended
    }
}

/// How long the consumer waits for the answer to a request for progress, after the faults and after
/// all events: a little longer than the checker allows.
const ANSWER: Duration = Duration::from_secs(32);

/// All recordings of a consumer.
#[derive(Debug)]
pub(crate) struct ConsumerLog {
    pub(crate) records: Vec<WatchRecord>,
    /// The messages about all its watches together.
    pub(crate) owner: Recording,
}

/// Records the watches of a client, one after the other for each plan.
pub(crate) struct Recorder {
    name: &'static str,
    clock: Clock,
    counters: Arc<Counters>,
    records: Vec<WatchRecord>,
    /// The record of each plan's present watch.
    present: HashMap<usize, usize>,
    /// The record of each plan's cancelled watch.
    gone: HashMap<usize, usize>,
    generations: HashMap<usize, u32>,
    keys: Keys,
    /// At the end of a run: the revision that each present watch has to reach, and the last
    /// revision of the store.
    aims: HashMap<usize, i64>,
    end: Option<i64>,
    /// When the history was complete.
    aimed: Option<Instant>,
    /// When the last events came.
    moved: Instant,
    owner: Recording,
    /// Whether the consumer has one watch: its progress is then that of all watches.
    is_alone: bool,
    /// When all expected events had come.
    done: Option<Instant>,
    /// Whether a request for progress after that is answered.
    answered: bool,
}

impl Recorder {
    pub(crate) fn new(consumers: &Consumers) -> Self {
        Self {
            name: consumers.name,
            clock: consumers.clock,
            counters: Arc::clone(&consumers.counters),
            records: Vec::new(),
            present: HashMap::new(),
            gone: HashMap::new(),
            generations: HashMap::new(),
            keys: Keys::default(),
            aims: HashMap::new(),
            end: None,
            aimed: None,
            moved: Instant::now(),
            owner: Recording {
                name: format!("{}/*", consumers.owner),
                query: Query::key("", 0),
                messages: Vec::new(),
            },
            is_alone: consumers.is_alone,
            done: None,
            answered: false,
        }
    }

    /// The last delivered revision.
    pub(crate) fn last_revision(&self) -> i64 {
        let reached = self.records.iter().map(|record| record.reached);
        reached.max().unwrap_or(0)
    }

    /// Records that a watch of this plan is in force, which the consumer opened at `called`.
    pub(crate) fn created(&mut self, number: usize, plan: &Plan, called: u64, revision: i64) {
        self.begin(number, plan, called, revision);
        self.push(number, Body::Created { revision });
    }

    /// Records that the consumer opened a watch of this plan at `called` and has dropped its
    /// future.
    pub(crate) fn abandoned(&mut self, number: usize, plan: &Plan, called: u64) {
        self.begin(number, plan, called, 0);
        self.cancelled(number);
    }

    /// Records that the consumer has cancelled or dropped a watch. Later messages of it are still
    /// recorded.
    pub(crate) fn cancelled(&mut self, number: usize) {
        self.push(number, Body::Cancelled);
        if let Some(place) = self.present.remove(&number) {
            self.records[place].ended = true;
            self.gone.insert(number, place);
        }
    }

    /// Returns whether a watch of this plan was ever recorded.
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
        self.present.insert(number, self.records.len());
        self.records.push(WatchRecord {
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
        self.counters.batches.fetch_add(1, Relaxed);
        self.counters.events.fetch_add(events.len() as u64, Relaxed);
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
                self.counters.compacted.fetch_add(1, Relaxed);
                End::Compacted { revision }
            }
            other => End::Other(other.to_string()),
        };
        self.push(number, Body::Ended(end));
        if let Some(place) = self.present.remove(&number) {
            self.records[place].ended = true;
        }
        // The next watch begins after the end of the history, and has no revision to reach.
        self.aims.remove(&number);
    }

    /// Records that a watch could not be opened. A time-out is expected under faults; any other
    /// error counts as an end.
    pub(crate) fn refused(&mut self, number: usize, plan: &Plan, called: u64, error: &Error) {
        if matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable) {
            self.counters.late.fetch_add(1, Relaxed);
            return;
        }
        self.begin(number, plan, called, 0);
        let end = End::Other(format!("the watch could not be opened: {error}"));
        self.push(number, Body::Ended(end));
        if let Some(place) = self.present.remove(&number) {
            self.records[place].ended = true;
        }
    }

    /// Records a message about all watches.
    pub(crate) fn all_watches(&mut self, message: &WatchMessage) {
        let body = match message {
            WatchMessage::Disconnected { .. } => {
                self.counters.disconnects.fetch_add(1, Relaxed);
                Body::Disconnected
            }
            WatchMessage::Resumed { .. } => {
                self.counters.resumes.fetch_add(1, Relaxed);
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

    /// Records that the consumer asks for progress.
    pub(crate) fn requested(&mut self) {
        self.note(Body::Requested);
    }

    fn answer(&mut self, revision: i64) {
        self.answered = self.done.is_some();
        self.note(Body::Progress { revision });
    }

    /// Records a message of a watch that the consumer does not have.
    pub(crate) fn stray(&mut self, what: String) {
        self.note(Body::Ended(End::Other(what)));
    }

    fn note(&mut self, body: Body) {
        let at = self.clock.now();
        self.owner.messages.push(Message { at, body });
    }

    /// Sets the revision that each watch has to reach, once the history is complete.
    pub(crate) fn aim(&mut self, final_history: &FinalHistory) {
        let Some(history) = final_history.borrow().clone() else {
            return;
        };
        for (number, place) in &self.present {
            let expected = history.expected(&self.records[*place].recording.query);
            let last = expected.last().map_or(0, |event| event.revision());
            self.aims.insert(*number, last);
        }
        self.end = Some(history.revision());
        self.aimed = Some(Instant::now());
    }

    /// Returns until when expected messages may come, at the end of a run.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let aimed = self.aimed?;
        if let Some(done) = self.done {
            return Some(done + ANSWER);
        }
        Some((self.moved.max(aimed) + CATCH_UP).min(aimed + LONGEST))
    }

    /// Returns whether every present watch has reached its last revision, and a later request for
    /// progress is answered.
    pub(crate) fn is_done(&mut self) -> bool {
        if self.done.is_none() {
            let all = self.present.iter().all(|(number, place)| {
                let aim = self.aims.get(number).copied().unwrap_or(0);
                self.records[*place].reached >= aim
            });
            if all {
                self.done = Some(Instant::now());
                self.requested();
            }
        }
        self.answered
    }

    /// Returns all recordings. Recordings of present watches end with the revision that the watches
    /// had time to reach.
    pub(crate) fn close(mut self) -> ConsumerLog {
        if let Some(revision) = self.end {
            let numbers: Vec<usize> = self.present.keys().copied().collect();
            for number in numbers {
                self.push(number, Body::Drained { revision });
            }
            self.note(Body::Drained { revision });
        }
        ConsumerLog {
            records: self.records,
            owner: self.owner,
        }
    }

    fn push(&mut self, number: usize, body: Body) {
        let at = self.clock.now();
        let place = self.present.get(&number).or(self.gone.get(&number));
        if let Some(place) = place {
            let messages = &mut self.records[*place].recording.messages;
            messages.push(Message { at, body });
        }
    }

    fn reach(&mut self, number: usize, revision: Option<i64>) {
        if let (Some(place), Some(revision)) = (self.present.get(&number), revision) {
            let record = &mut self.records[*place];
            record.reached = record.reached.max(revision);
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
