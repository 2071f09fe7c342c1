//! Whether watches kept their promises.
//!
//! The guarantees are named as etcd names them, and as its robustness tests do
//! (`tests/robustness/validate/watch.go`). Each checker is a pure function of what happened
//! and what one watch said; [`check`] asks all of them.
//!
//! etcd's own watches live for half a second in its tests, and always start at an explicit
//! revision. These here may live through any number of connections: for a checker, a watch is
//! one stream of messages from its creation to its end.

mod content;
mod excuse;
mod ground;
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
pub use mirror::mirrored;
pub use owner::owner;

/// What a watch promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Guarantee {
    /// Revisions never go back.
    Ordered,
    /// No change comes twice.
    Unique,
    /// The changes of one revision come in one message.
    Atomic,
    /// No change is left out, none is made up, and each is told as it was.
    Reliable,
    /// It begins at its first revision, and goes on after a lost connection with what comes
    /// next.
    Resumable,
    /// After progress to a revision, nothing of that revision or before it comes.
    Bookmarkable,
    /// Only what is in its range and let through by its filters comes.
    Filter,
    /// What was there before is told if it was asked for, and told right.
    PrevKv,
    /// A put that creates a key is told from one that changes it.
    IsCreate,
    /// It ends by itself only if what it had to go on from was compacted away.
    Ended,
    /// A watch from now on begins with what comes after the call, and with nothing before it.
    Started,
    /// The client asks servers to go on from revisions only that it has reason to believe in.
    Grounded,
    /// A watcher is told of each outage once, and of its end once.
    Paired,
    /// A request for progress is answered.
    Answered,
    /// Who applies what a watched list tells has a copy of the store, and is told each
    /// difference once.
    Mirrored,
    /// A watch that its consumer has dropped or cancelled tells nothing more, and leaves nothing
    /// on servers.
    Dropped,
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which promise.
    pub guarantee: Guarantee,
    /// Which message shows it, counted from 0.
    pub message: usize,
    /// The revision it is about.
    pub revision: i64,
    /// What of that revision it is about.
    pub subject: Subject,
    /// What is wrong, in a sentence.
    pub what: String,
}

/// What a violation is about: two are the same only if this is the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The change of this key never came.
    Lost(Arc<str>),
    /// The change of this key came, at a wrong place or with wrong content.
    Came(Arc<str>),
    /// The same, and only an answer to a request for progress says so which binds nobody.
    Doubtful(Arc<str>),
    /// The watch or a message as a whole.
    Watch,
}

/// A checker: finds where a watch has not kept one promise.
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

/// Everything that the watch has not kept its promises in, ordered by message.
pub fn check(history: &History, recording: &Recording) -> Vec<Violation> {
    let case = Case::new(history, recording);
    let mut violations: Vec<_> = CHECKERS.iter().flat_map(|check| check(&case)).collect();
    violations.sort_by_key(|violation| (violation.message, violation.guarantee));
    violations
}

/// A watch before its judges.
struct Case<'a> {
    history: &'a History,
    recording: &'a Recording,
    /// What it has to deliver, from its start to the end of the history.
    expected: Vec<&'a Event>,
    /// Which message each change came in first.
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

    /// Each event that came, with the number of its message.
    fn events(&self) -> impl Iterator<Item = (usize, &'a Event)> + use<'a> {
        events(self.recording)
    }

    /// Each message with its number.
    fn messages(&self) -> impl Iterator<Item = (usize, &'a Message)> + use<'a> {
        self.recording.messages.iter().enumerate()
    }

    /// What is expected at this revision and after.
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

    /// The violation with what came around it and what had happened, for a person to judge.
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

/// An event in a line.
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

/// A message in a line or some.
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
