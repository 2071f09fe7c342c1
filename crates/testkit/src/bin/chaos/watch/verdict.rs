//! Whether the watches of a run kept their promises, and if not, who is to blame.

use std::collections::BTreeMap;
use std::fmt;

use etcdex_testkit::check::{Guarantee, Violation, check};
use etcdex_testkit::history::{Body, Event, History, Recording};

/// How many violations of a guarantee are told in full.
const TOLD: usize = 5;
/// The same for those of servers.
const TOLD_OF_SERVERS: usize = 1;

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
    /// The first of each guarantee, for a person to judge.
    told: Vec<String>,
}

impl Findings {
    fn add(&mut self, violation: &Violation, most: usize, tell: impl FnOnce() -> String) {
        let count = self.counts.entry(violation.guarantee).or_default();
        *count += 1;
        if *count <= most {
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
            let mut revisions = events.iter().map(Event::revision);
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

#[cfg(test)]
mod tests {
    use etcdex_testkit::history::{Message, Op, Query};

    use super::*;

    /// A watch that was told of these revisions of a key that changed at each.
    fn recording(history: &History, name: &str, key: &str, revisions: &[i64]) -> Recording {
        let bodies = revisions.iter().map(|revision| Body::Batch {
            header: *revision,
            revision: *revision,
            events: history.find(key, *revision).cloned().into_iter().collect(),
        });
        Recording {
            name: name.to_owned(),
            query: Query {
                prev_kv: true,
                ..Query::key(key, 2)
            },
            messages: bodies.map(|body| Message { at: 0, body }).collect(),
        }
    }

    #[test]
    fn only_what_the_same_client_was_sent_wrong_is_the_servers() {
        let mut history = History::since(1);
        for _ in 0..4 {
            history.append([Op::Put("a".into(), 1), Op::Put("b".into(), 1)]);
        }
        let lossy = |name: &str, key: &str| recording(&history, name, key, &[2, 4, 5]);
        let whole = recording(&history, "one n1 link 1", "a", &[2, 3, 4, 5]);
        let watch = lossy("one/watch#1", "a");
        let counts = |wire: &[Recording]| {
            let verdict = judge(&history, [&watch], wire);
            let all = [&verdict.client, &verdict.explained, &verdict.server];
            all.map(Findings::len)
        };
        assert_eq!(counts(std::slice::from_ref(&whole)), [1, 0, 0]);
        assert_eq!(counts(&[whole, lossy("one n2 link 3", "a")]), [0, 1, 1]);
        assert_eq!(counts(&[lossy("other n1 link 1", "a")]), [1, 0, 1]);
        assert_eq!(counts(&[lossy("one n1 link 1", "b")]), [1, 0, 1]);

        // Left out on one stream, and so missed where the next one goes on.
        let mut resumed = lossy("one/watch#1", "a");
        let body = Body::Resumed;
        resumed.messages.insert(1, Message { at: 0, body });
        let verdict = judge(&history, [&resumed], &[lossy("one n1 link 1", "a")]);
        assert_eq!(verdict.explained.to_string(), "2 (1 Reliable, 1 Resumable)");
        assert!(verdict.client.is_empty());

        let verdict = judge(&history, [&watch], &[]);
        assert_eq!(verdict.client.to_string(), "1 (1 Reliable)");
        assert_eq!(verdict.server.to_string(), "0");
    }
}
