//! Filter, previous pairs, creations: checks of single events.

use std::sync::Arc;

use super::{Case, Guarantee, Subject, Violation};
use crate::history::EventKind;

/// Only changes in the range that pass the filters are delivered.
pub(super) fn filter(case: &Case<'_>) -> Vec<Violation> {
    let query = &case.recording.query;
    let unwanted = case
        .events()
        .filter(|(_, event)| !query.lets_through(event));
    unwanted
        .map(|(message, event)| {
            let what = format!("{:?} of {} was not asked for", event.kind, event.key);
            let subject = Subject::Came(Arc::clone(&event.key));
            Violation::new(Guarantee::Filter, message, event.revision(), subject, what)
        })
        .collect()
}

/// An event has the correct pair before, if the watch asked for it.
///
/// etcd reads that pair when it sends the event, at the revision before the event's. If that
/// revision is compacted by then, etcd sends the event without the pair. Source:
/// `watchStream.sendLoop` in etcd's `server/etcdserver/api/v3rpc/watch.go`.
pub(super) fn prev_kv(case: &Case<'_>) -> Vec<Violation> {
    let asked = case.recording.query.prev_kv;
    let mut violations = Vec::new();
    for (message, event) in case.events() {
        let Some(truth) = case.history.find(&event.key, event.revision()) else {
            continue;
        };
        let right = match &event.prev {
            Some(_) => asked && event.prev == truth.prev,
            None => {
                let at = case.recording.messages[message].at;
                let before = event.revision() - 1;
                !asked || truth.prev.is_none() || case.history.compacted_by(at) > before
            }
        };
        if !right {
            violations.push(Violation::new(
                Guarantee::PrevKv,
                message,
                event.revision(),
                Subject::Came(Arc::clone(&event.key)),
                format!(
                    "the pair before {} was {:?}, and the event has {:?}",
                    event.key, truth.prev, event.prev
                ),
            ));
        }
    }
    violations
}

/// An event says correctly whether a put has created the key.
pub(super) fn is_create(case: &Case<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (message, event) in case.events() {
        let Some(truth) = case.history.find(&event.key, event.revision()) else {
            continue;
        };
        if truth.kind == EventKind::Put && truth.is_create() != event.is_create() {
            violations.push(Violation::new(
                Guarantee::IsCreate,
                message,
                event.revision(),
                Subject::Came(Arc::clone(&event.key)),
                format!(
                    "{} was created at {}, and the event says {}",
                    event.key, truth.pair.create_revision, event.pair.create_revision
                ),
            ));
        }
    }
    violations
}
