//! Checks the guarantees of watches.
//!
//! The guarantees have the names of etcd's documentation and of its robustness tests
//! (`tests/robustness/validate/watch.go`). Each checker is a pure function of the history of the
//! store and the recording of one watch; [`check`] runs all of them.
//!
//! In etcd's tests, watches live for half a second and always start at an explicit revision. Here,
//! a watch may use any number of connections: for a checker, a watch is one stream of messages from
//! its creation to its end.

mod content;
mod excuse;
mod ground;
mod loss;
mod mirror;
mod order;
mod owner;
mod progress;
mod start;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::history::{Body, Event, History, Message, Recording};

pub use excuse::{Excuse, Wire};
pub use ground::{dropped, grounded, needless};
pub use loss::Cause;
pub use mirror::mirrored;
pub use owner::owner;

/// A guarantee of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Guarantee {
    /// Revisions never go back.
    Ordered,
    /// No change comes twice.
    Unique,
    /// The changes of one revision come in one message.
    Atomic,
    /// All changes are delivered, with their real content, and no others.
    Reliable,
    /// The watch begins at its first revision, and continues with the next change after a lost
    /// connection.
    Resumable,
    /// After progress to a revision, nothing of that revision or before it comes.
    Bookmarkable,
    /// Only changes in the range that pass the filters are delivered.
    Filter,
    /// An event has the correct pair before, if the watch asked for it.
    PrevKv,
    /// An event says correctly whether a put has created the key.
    IsCreate,
    /// The watch ends by itself only if its next revision was compacted.
    Ended,
    /// A watch from now on begins with the changes after the call, and delivers none from before
    /// it.
    Started,
    /// The client resumes only from revisions that messages of servers justify.
    Grounded,
    /// A watcher gets one message for each outage, and one for its end.
    Paired,
    /// A request for progress is answered.
    Answered,
    /// A consumer that applies the messages of a watched list has a copy of the store, and gets
    /// each difference once.
    Mirrored,
    /// A watch that its consumer has dropped or cancelled delivers nothing more, and is removed
    /// from servers.
    Dropped,
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A violated guarantee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The guarantee.
    pub guarantee: Guarantee,
    /// Index of the message that shows the violation.
    pub message: usize,
    /// The revision of the violation.
    pub revision: i64,
    /// The subject at that revision.
    pub subject: Subject,
    /// A description, in a sentence.
    pub what: String,
}

/// The subject of a violation: two violations are the same only if their subjects are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The change of this key was not delivered.
    Lost(Arc<str>),
    /// The change of this key was delivered, at a wrong position or with wrong content.
    Came(Arc<str>),
    /// The same, and the only evidence is an answer to a request for progress that is not exact.
    Doubtful(Arc<str>),
    /// The watch or a message as a whole.
    Watch,
}

/// A checker: finds the violations of one guarantee.
type Checker = fn(&Case<'_>) -> Vec<Violation>;

const CHECKERS: &[Checker] = &[
    order::ordered,
    order::unique,
    order::atomic,
    progress::reliable,
    progress::resumable,
    progress::bookmarkable,
    content::filter,
    content::prev_kv,
    content::is_create,
    progress::ended,
    start::started,
];

/// Returns all violations of a watch, ordered by message.
pub fn check(history: &History, recording: &Recording) -> Vec<Violation> {
    let case = Case::new(history, recording);
    let mut violations: Vec<_> = CHECKERS.iter().flat_map(|check| check(&case)).collect();
    violations.sort_by_key(|violation| (violation.message, violation.guarantee));
    violations
}

/// The input of the checkers.
struct Case<'a> {
    history: &'a History,
    recording: &'a Recording,
    /// The events that the watch has to deliver, from its start to the end of the history.
    expected: Vec<&'a Event>,
    /// The index of the first message with each change.
    came: HashMap<(i64, &'a str), usize>,
}

impl<'a> Case<'a> {
    fn new(history: &'a History, recording: &'a Recording) -> Self {
        let mut came = HashMap::new();
        for (message, event) in events(recording) {
            came.entry((event.revision(), &*event.key))
                .or_insert(message);
        }
        Self {
            history,
            recording,
            expected: history.expected(&recording.query),
            came,
        }
    }

    /// Returns each delivered event, with the index of its message.
    fn events(&self) -> impl Iterator<Item = (usize, &'a Event)> + use<'a> {
        events(self.recording)
    }

    /// Returns each message with its index.
    fn messages(&self) -> impl Iterator<Item = (usize, &'a Message)> + use<'a> {
        self.recording.messages.iter().enumerate()
    }

    /// Returns the expected events at this revision and after it.
    fn expected_from(&self, revision: i64) -> &[&'a Event] {
        let from = self
            .expected
            .partition_point(|event| event.revision() < revision);
        &self.expected[from..]
    }
}

fn events(recording: &Recording) -> impl Iterator<Item = (usize, &Event)> {
    let messages = recording.messages.iter().enumerate();
    messages.flat_map(|(number, message)| {
        let events = match &message.body {
            Body::Batch { events, .. } => events.as_slice(),
            _ => &[],
        };
        events.iter().map(move |event| (number, event))
    })
}

impl Violation {
    fn new(
        guarantee: Guarantee,
        message: usize,
        revision: i64,
        subject: Subject,
        what: String,
    ) -> Self {
        Self {
            guarantee,
            message,
            revision,
            subject,
            what,
        }
    }

    /// Returns the violation in full, with the messages around it and the changes in the store.
    pub fn explain(&self, history: &History, recording: &Recording) -> String {
        const AROUND: usize = 4;
        let mut text = format!(
            "{}: {} (revision {}, message {})\n  watch {}: {:?}\n",
            self.guarantee, self.what, self.revision, self.message, recording.name, recording.query
        );
        text.push_str("  what came:\n");
        let first = self.message.saturating_sub(AROUND);
        let messages = recording.messages.iter().enumerate().skip(first);
        for (number, message) in messages.take(2 * AROUND + 1) {
            let mark = if number == self.message { '>' } else { ' ' };
            text.push_str(&format!("  {mark} {number}: {}\n", Told(message)));
        }
        text.push_str("  what had happened:\n");
        let expected = history.expected(&recording.query);
        let at = expected.partition_point(|event| event.revision() < self.revision);
        let first = at.saturating_sub(AROUND);
        for event in expected.iter().skip(first).take(2 * AROUND + 1) {
            let mark = if event.revision() == self.revision {
                '>'
            } else {
                ' '
            };
            text.push_str(&format!("  {mark} {}\n", Change(event)));
        }
        text
    }
}

/// Displays an event in a line.
struct Change<'a>(&'a Event);

impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Event {
            kind,
            key,
            pair,
            prev,
        } = self.0;
        write!(
            f,
            "{kind:?} {key} at {}, created {}, version {}, value {:x}",
            pair.mod_revision, pair.create_revision, pair.version, pair.value
        )?;
        match prev {
            Some(prev) => write!(
                f,
                ", before: {}, created {}, version {}, value {:x}",
                prev.mod_revision, prev.create_revision, prev.version, prev.value
            ),
            None => Ok(()),
        }
    }
}

/// Displays a message in one or more lines.
struct Told<'a>(&'a Message);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 6;
        write!(f, "{:.3} s ", self.0.at as f64 / 1e6)?;
        let Body::Batch {
            header,
            revision,
            events,
        } = &self.0.body
        else {
            return write!(f, "{:?}", self.0.body);
        };
        write!(
            f,
            "{} events through {revision}, header {header}",
            events.len()
        )?;
        for event in events.iter().take(MOST) {
            write!(f, "\n        {}", Change(event))?;
        }
        match events.len().saturating_sub(MOST) {
            0 => Ok(()),
            more => write!(f, "\n        and {more} more"),
        }
    }
}
