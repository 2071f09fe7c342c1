//! Checks the order of changes: ordered, unique, atomic.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{Case, Guarantee, Subject, Violation};
use crate::history::{Body, Event};

/// Revisions never go back.
pub(super) fn ordered(case: &Case<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut last = i64::MIN;
    for (message, event) in case.events() {
        let revision = event.revision();
        if revision < last {
            violations.push(Violation::new(
                Guarantee::Ordered,
                message,
                revision,
                Subject::Came(Arc::clone(&event.key)),
                format!("{} came after revision {last}", event.key),
            ));
        }
        last = last.max(revision);
    }
    violations
}

/// No change comes twice.
pub(super) fn unique(case: &Case<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut seen = HashSet::new();
    for (message, event) in case.events() {
        let revision = event.revision();
        if !seen.insert((revision, &*event.key)) {
            let first = case.came[&(revision, &*event.key)];
            violations.push(Violation::new(
                Guarantee::Unique,
                message,
                revision,
                Subject::Came(Arc::clone(&event.key)),
                format!("{} came in message {first} already", event.key),
            ));
        }
    }
    violations
}

/// The changes of one revision come in one message, which is complete up to that revision at least.
pub(super) fn atomic(case: &Case<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    // The index of the last message with each revision.
    let mut home: HashMap<i64, usize> = HashMap::new();
    for (message, event) in case.events() {
        let revision = event.revision();
        // Repeated events are for another checker.
        if case.came[&(revision, &*event.key)] != message {
            continue;
        }
        let last = home.insert(revision, message);
        if let Some(last) = last.filter(|last| *last != message) {
            violations.push(Violation::new(
                Guarantee::Atomic,
                message,
                revision,
                Subject::Came(Arc::clone(&event.key)),
                format!("message {last} had other changes of this revision"),
            ));
        }
    }
    for (number, message) in case.messages() {
        let Body::Batch {
            revision, events, ..
        } = &message.body
        else {
            continue;
        };
        let last = events.iter().map(Event::revision).max();
        if let Some(last) = last.filter(|last| last > revision) {
            violations.push(Violation::new(
                Guarantee::Atomic,
                number,
                last,
                Subject::Watch,
                format!("the batch has progress to {revision} and ends with {last}"),
            ));
        }
    }
    violations
}
