//! Whether the watches of a run kept their promises, and if not, who is to blame.

use etcdex_testkit::check::{Violation, check};
use etcdex_testkit::history::{Body, History, Recording};

/// What the checkers found.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// What the client did.
    pub(crate) client: Vec<String>,
    /// What watches of the client did as the server had sent it so.
    pub(crate) explained: Vec<String>,
    /// What servers sent to the proxies, whether or not the client made it good.
    pub(crate) server: Vec<String>,
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
            verdict.server.push(violation.explain(history, recording));
            sent.push((recording, violation));
        }
    }
    for recording in watches {
        for violation in check(history, recording) {
            let text = violation.explain(history, recording);
            let cause = sent.iter().find(|(other, theirs)| {
                theirs.revision == violation.revision
                    && client(other) == client(recording)
                    && other.query.is_like(&recording.query)
            });
            match cause {
                Some((other, theirs)) => verdict.explained.push(format!(
                    "{text}  the server sent it so:\n{}",
                    theirs.explain(history, other)
                )),
                None => verdict
                    .client
                    .push(format!("{text}{}", sent_about(recording, &violation, wire))),
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
