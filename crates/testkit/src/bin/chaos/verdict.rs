//! Whether the watches of a run kept their promises, and if not, who is to blame.

use std::collections::BTreeMap;
use std::fmt;

use etcdex_testkit::check::{Guarantee, Violation, check};
use etcdex_testkit::history::{Body, History, Recording};

/// How many violations are told in full.
const TOLD: usize = 5;
/// The same for those of servers.
const TOLD_OF_SERVERS: usize = 2;

/// What the checkers found.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// What the client did.
    pub(crate) client: Findings,
    /// What watches of the client did as the server had sent it so.
    pub(crate) explained: Findings,
    /// What servers sent to the proxies, whether or not the client made it good.
    pub(crate) server: Findings,
}

/// Violations of one culprit.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    counts: BTreeMap<Guarantee, usize>,
    /// The first of them, for a person to judge.
    told: Vec<String>,
}

impl Findings {
    fn add(&mut self, violation: &Violation, most: usize, tell: impl FnOnce() -> String) {
        *self.counts.entry(violation.guarantee).or_default() += 1;
        if self.told.len() < most {
            self.told.push(tell());
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.counts.values().sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    pub(crate) fn told(&self) -> &[String] {
        &self.told
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.len())?;
        for (number, (guarantee, count)) in self.counts.iter().enumerate() {
            let before = if number == 0 { " (" } else { ", " };
            write!(f, "{before}{count} {guarantee}")?;
        }
        f.write_str(if self.is_empty() { "" } else { ")" })
    }
}

/// Judges what clients told, and what came from servers.
///
/// What a watch did wrong is the server's if the messages that came from the server to a watch
/// that asked for the same, of the same client, are wrong about the same revision.
pub(crate) fn judge<'a>(
    history: &History,
    watches: impl IntoIterator<Item = &'a Recording>,
    wire: &[Recording],
) -> Verdict {
    let mut verdict = Verdict::default();
    let mut sent: Vec<(&Recording, Violation)> = Vec::new();
    for recording in wire {
        for violation in check(history, recording) {
            let tell = || violation.explain(history, recording);
            verdict.server.add(&violation, TOLD_OF_SERVERS, tell);
            sent.push((recording, violation));
        }
    }
    for recording in watches {
        for violation in check(history, recording) {
            let tell = || violation.explain(history, recording);
            let cause = sent.iter().find(|(other, theirs)| {
                theirs.revision == violation.revision
                    && client(other) == client(recording)
                    && other.query.is_like(&recording.query)
            });
            match cause {
                Some((other, theirs)) => verdict.explained.add(&violation, TOLD, || {
                    let theirs = theirs.explain(history, other);
                    format!("{}  the server sent it so:\n{theirs}", tell())
                }),
                None => verdict.client.add(&violation, TOLD, || {
                    tell() + &sent_about(recording, &violation, wire)
                }),
            }
        }
    }
    verdict
}

/// The client that a recording is of: its name begins with it.
fn client(recording: &Recording) -> Option<&str> {
    recording.name.split(['/', ' ']).next()
}

/// What came from servers about the revision that a violation is about.
fn sent_about(recording: &Recording, violation: &Violation, wire: &[Recording]) -> String {
    let mut text = "  what came from servers about it:\n".to_owned();
    let same = wire.iter().filter(|other| {
        client(other) == client(recording) && other.query.is_like(&recording.query)
    });
    for other in same {
        let about = other.messages.iter().enumerate().filter(|(_, message)| {
            let Body::Batch { events, .. } = &message.body else {
                return false;
            };
            let mut revisions = events.iter().map(|event| event.revision());
            revisions.any(|revision| revision == violation.revision)
        });
        for (number, message) in about {
            text.push_str(&format!(
                "    {} (from {}), message {number} of {} at {:.3} s\n",
                other.name,
                other.query.start_revision,
                other.messages.len(),
                message.at as f64 / 1e6
            ));
        }
    }
    text
}
