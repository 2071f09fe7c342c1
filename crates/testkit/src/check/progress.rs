//! Reliable, resumable, bookmarkable, ended: what comes of what has happened, and when.

use super::{Case, Guarantee, Violation};
use crate::history::{Body, End, Event};

/// No change is left out, none is made up, and each is told as it was.
pub(super) fn reliable(case: &Case<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let (frontier, last) = frontier(case);
    for event in &case.expected {
        if event.revision() > frontier {
            break;
        }
        let key = (event.revision(), &*event.key);
        if !case.came.contains_key(&key) {
            // Shown where the first came that came later.
            let mut later = case.events();
            let seen = later.find(|(_, other)| other.revision() > event.revision());
            violations.push(Violation::new(
                Guarantee::Reliable,
                seen.map_or(last, |(message, _)| message),
                event.revision(),
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
                format!("{:?} of {} has not happened so", event.kind, event.key),
            ));
        }
    }
    violations
}

/// Up to which revision everything has to be there, and the message that says so.
fn frontier(case: &Case<'_>) -> (i64, usize) {
    let mut frontier = (i64::MIN, 0);
    for (number, message) in case.messages() {
        let revision = match &message.body {
            Body::Batch {
                revision, events, ..
            } => events
                .iter()
                .map(Event::revision)
                .max()
                .max(Some(*revision)),
            Body::Progress { revision } | Body::Drained { revision } => Some(*revision),
            Body::Created { .. } | Body::Disconnected | Body::Resumed | Body::Ended(_) => None,
        };
        if let Some(revision) = revision.filter(|revision| *revision > frontier.0) {
            frontier = (revision, number);
        }
    }
    frontier
}

/// It begins at its first revision, and goes on after a lost connection with what comes next.
pub(super) fn resumable(case: &Case<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let start = case.recording.query.start_revision;
    // The revision that a first message after a (re)start has to go on from.
    let mut begin = Some(start);
    let mut next = start;
    for (number, message) in case.messages() {
        match &message.body {
            Body::Created { revision } if *revision != start => violations.push(Violation::new(
                Guarantee::Resumable,
                number,
                *revision,
                format!("it was to start at {start} and says {revision}"),
            )),
            Body::Resumed => begin = Some(next),
            Body::Batch { events, .. } => {
                let first = events.iter().map(Event::revision).min();
                if let (Some(from), Some(first)) = (begin, first) {
                    begin = None;
                    violations.extend(goes_on(case, number, from, first));
                }
                let last = events.iter().map(Event::revision).max();
                next = next.max(last.map_or(next, |last| last + 1));
            }
            Body::Progress { revision } => next = next.max(revision + 1),
            Body::Created { .. } | Body::Disconnected | Body::Ended(_) | Body::Drained { .. } => {}
        }
    }
    violations
}

/// Whether the first revision that came is the first that there is from `from` on.
fn goes_on(case: &Case<'_>, message: usize, from: i64, first: i64) -> Option<Violation> {
    let expected = case
        .expected_from(from)
        .first()
        .map(|event| event.revision());
    // It is about the revision that came too early, or about the one that is left out.
    let (revision, what) = match expected {
        _ if first < from => (
            first,
            format!("it goes on from {from} and begins with {first}"),
        ),
        Some(expected) if first > expected => (
            expected,
            format!("it goes on from {from} with {first}; {expected} comes next"),
        ),
        _ => return None,
    };
    let violation = Violation::new(Guarantee::Resumable, message, revision, what);
    Some(violation)
}

/// After progress to a revision, or a batch that is whole through it, nothing of that revision
/// or before it comes.
pub(super) fn bookmarkable(case: &Case<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut mark = None;
    for (number, message) in case.messages() {
        match &message.body {
            Body::Progress { revision } => mark = mark.max(Some((*revision, number))),
            Body::Batch {
                revision: through,
                events,
                ..
            } => {
                if let Some((revision, at)) = mark {
                    let late = events.iter().filter(|event| event.revision() <= revision);
                    violations.extend(late.map(|event| late_event(number, event, revision, at)));
                }
                // A batch says the same of itself.
                mark = mark.max(Some((*through, number)));
            }
            Body::Created { .. }
            | Body::Disconnected
            | Body::Resumed
            | Body::Ended(_)
            | Body::Drained { .. } => {}
        }
    }
    violations
}

fn late_event(message: usize, event: &Event, revision: i64, at: usize) -> Violation {
    let what = format!(
        "message {at} said that all through {revision} had come, {} had not",
        event.key
    );
    Violation::new(Guarantee::Bookmarkable, message, event.revision(), what)
}

/// It ends by itself only if what it had to go on from was compacted away: to that revision,
/// by then.
///
/// Source: `watchableStore.syncWatchers` in etcd's `server/storage/mvcc/watchable_store.go`:
/// watchers whose next revision is below the compacted one are told so.
pub(super) fn ended(case: &Case<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut next = case.recording.query.start_revision;
    for (number, message) in case.messages() {
        let what = match &message.body {
            Body::Batch { events, .. } => {
                let last = events.iter().map(Event::revision).max();
                next = next.max(last.map_or(next, |last| last + 1));
                continue;
            }
            Body::Progress { revision } => {
                next = next.max(revision + 1);
                continue;
            }
            Body::Ended(End::Compacted { revision }) => {
                let compactions = case.history.compactions().iter();
                let mut asked = compactions.filter(|one| one.at <= message.at);
                if *revision <= next {
                    format!("{next} comes next, which compacting to {revision} leaves there")
                } else if !asked.any(|one| one.revision == *revision) {
                    format!("nobody had asked to compact to {revision}")
                } else {
                    continue;
                }
            }
            Body::Ended(End::Other(why)) => format!("it ended: {why}"),
            Body::Created { .. } | Body::Disconnected | Body::Resumed | Body::Drained { .. } => {
                continue;
            }
        };
        violations.push(Violation::new(Guarantee::Ended, number, next, what));
    }
    violations
}
