//! Checks the completeness of watches: reliable, resumable, bookmarkable, ended.

use std::sync::Arc;

use super::{Case, Guarantee, Subject, Violation};
use crate::history::{Body, End, Event, Recording};

/// All changes are delivered, with their real content, and no others.
pub(super) fn reliable(case: &Case<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let (frontier, last) = frontier(case);
    for event in &case.expected {
        if event.revision() > frontier {
            break;
        }
        let key = (event.revision(), &*event.key);
        if !case.came.contains_key(&key) {
            // The violation is at the first later event.
            let mut later = case.events();
            let seen = later.find(|(_, other)| other.revision() > event.revision());
            violations.push(Violation::new(
                Guarantee::Reliable,
                seen.map_or(last, |(message, _)| message),
                event.revision(),
                Subject::Lost(Arc::clone(&event.key)),
                format!("{:?} of {} never came", event.kind, event.key),
            ));
        }
    }
    for (message, event) in case.events() {
        let truth = case.history.find(&event.key, event.revision());
        let right = truth.is_some_and(|truth| truth.kind == event.kind && truth.pair == event.pair);
        if !right && event.revision() <= case.history.revision() {
            violations.push(Violation::new(
                Guarantee::Reliable,
                message,
                event.revision(),
                Subject::Came(Arc::clone(&event.key)),
                format!("{:?} of {} differs from the store", event.kind, event.key),
            ));
        }
    }
    violations
}

/// Returns the revision up to which all events have to be delivered, and the message that says so.
fn frontier(case: &Case<'_>) -> (i64, usize) {
    frontier_of(case.recording)
}

pub(super) fn frontier_of(recording: &Recording) -> (i64, usize) {
    let mut frontier = (i64::MIN, 0);
    for (number, message) in recording.messages.iter().enumerate() {
        let revision = match &message.body {
            Body::Batch {
                revision, events, ..
            } => events
                .iter()
                .map(Event::revision)
                .max()
                .max(Some(*revision)),
            Body::Progress { revision }
            | Body::Drained { revision }
            | Body::Answered {
                revision,
                binding: true,
            } => Some(*revision),
            _ => None,
        };
        if let Some(revision) = revision.filter(|revision| *revision > frontier.0) {
            frontier = (revision, number);
        }
    }
    frontier
}

/// The watch begins at its first revision, and continues with the next change after a lost
/// connection.
pub(super) fn resumable(case: &Case<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let start = case.recording.query.start_revision;
    // The revision at which the first message after a (re)start has to continue.
    let mut begin = Some(start);
    let mut next = start;
    for (number, message) in case.messages() {
        match &message.body {
            Body::Created { revision } if *revision != start => violations.push(Violation::new(
                Guarantee::Resumable,
                number,
                *revision,
                Subject::Watch,
                format!("the start is {start}, and the watch reports {revision}"),
            )),
            Body::Resumed => begin = Some(next),
            Body::Batch { events, .. } => {
                let first = events.iter().min_by_key(|event| event.revision());
                if let (Some(from), Some(first)) = (begin, first) {
                    begin = None;
                    violations.extend(goes_on(case, number, from, first));
                }
                let last = events.iter().map(Event::revision).max();
                next = next.max(last.map_or(next, |last| last + 1));
            }
            Body::Progress { revision } => next = next.max(revision + 1),
            _ => {}
        }
    }
    violations
}

/// Checks that the first delivered change has the first expected revision from `from` on.
fn goes_on(case: &Case<'_>, message: usize, from: i64, first: &Event) -> Option<Violation> {
    let expected = case.expected_from(from).first();
    let came = first.revision();
    // The violation has the revision that came too early, or the one that was left out.
    let (revision, subject, what) = match expected {
        _ if came < from => (
            came,
            Subject::Came(Arc::clone(&first.key)),
            format!("the watch resumes from {from} and begins with {came}"),
        ),
        Some(expected) if came > expected.revision() => (
            expected.revision(),
            Subject::Lost(Arc::clone(&expected.key)),
            format!(
                "the watch resumes from {from} with {came}, and {} is next",
                expected.revision()
            ),
        ),
        _ => return None,
    };
    Some(Violation::new(
        Guarantee::Resumable,
        message,
        revision,
        subject,
        what,
    ))
}

/// After progress to a revision, or a batch that is complete up to it, no event of that revision or
/// before it comes. The same holds for an answer to a request for progress; if the answer is not
/// exact, the violation is marked as doubtful.
pub(super) fn bookmarkable(case: &Case<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut mark = None;
    let mut doubtful = None;
    for (number, message) in case.messages() {
        match &message.body {
            Body::Progress { revision }
            | Body::Answered {
                revision,
                binding: true,
            } => mark = mark.max(Some((*revision, number))),
            Body::Answered { revision, .. } => doubtful = doubtful.max(Some((*revision, number))),
            Body::Batch {
                revision: through,
                events,
                ..
            } => {
                for event in events {
                    let broken = |mark: &(i64, usize)| event.revision() <= mark.0;
                    let key = Arc::clone(&event.key);
                    if let Some(mark) = mark.filter(broken) {
                        violations.push(late_event(number, event, Subject::Came(key), mark));
                    } else if let Some(mark) = doubtful.filter(broken) {
                        violations.push(late_event(number, event, Subject::Doubtful(key), mark));
                    }
                }
                // A batch has its own progress.
                mark = mark.max(Some((*through, number)));
            }
            _ => {}
        }
    }
    violations
}

fn late_event(
    message: usize,
    event: &Event,
    subject: Subject,
    (revision, at): (i64, usize),
) -> Violation {
    let what = format!(
        "message {at} has progress to {revision}, and {} came later",
        event.key
    );
    let guarantee = Guarantee::Bookmarkable;
    Violation::new(guarantee, message, event.revision(), subject, what)
}

/// The watch ends by itself only if its next revision was compacted by then, with the reported
/// revision.
///
/// Source: `watchableStore.syncWatchers` in etcd's `server/storage/mvcc/watchable_store.go`:
/// watchers whose next revision is below the compacted one are cancelled.
pub(super) fn ended(case: &Case<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut next = case.recording.query.start_revision;
    for (number, message) in case.messages() {
        let (about, what) = match &message.body {
            Body::Batch { events, .. } => {
                let last = events.iter().map(Event::revision).max();
                next = next.max(last.map_or(next, |last| last + 1));
                continue;
            }
            Body::Progress { revision }
            | Body::Answered {
                revision,
                binding: true,
            } => {
                next = next.max(revision + 1);
                continue;
            }
            Body::Ended(End::Compacted { revision }) => {
                let compactions = case.history.compactions().iter();
                let mut asked = compactions.filter(|one| one.at <= message.at);
                let what = if *revision <= next {
                    format!("the next revision is {next}, which a compaction to {revision} keeps")
                } else if !asked.any(|one| one.revision == *revision) {
                    format!("no compaction to {revision} was requested")
                } else {
                    continue;
                };
                // The revision is that of the compaction, which is the same for client and server.
                (*revision, what)
            }
            Body::Ended(End::Other(why)) => (next, format!("it ended: {why}")),
            _ => continue,
        };
        let subject = Subject::Watch;
        violations.push(Violation::new(
            Guarantee::Ended,
            number,
            about,
            subject,
            what,
        ));
    }
    violations
}
