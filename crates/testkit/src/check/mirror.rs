//! Checks the copy of a watched list.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Guarantee, Subject, Violation};
use crate::history::{Body, End, Event, EventKind, History, Pair, Recording};

/// A consumer that applies the messages of a watched list has a copy of the store, at each
/// [`Body::Synced`] and after it at each revision. Each difference is delivered once: a listing
/// delivers only differences from the copy, and changes come in order and without a gap.
pub fn mirrored(history: &History, list: &Recording) -> Vec<Violation> {
    let mut mirror = Mirror {
        history,
        list,
        expected: history.expected(&list.query),
        copy: BTreeMap::new(),
        synced: None,
        violations: Vec::new(),
    };
    for (number, message) in list.messages.iter().enumerate() {
        mirror.take(number, message.at, &message.body);
    }
    mirror.violations
}

struct Mirror<'a> {
    history: &'a History,
    list: &'a Recording,
    expected: Vec<&'a Event>,
    copy: BTreeMap<Arc<str>, Pair>,
    /// Number of expected events in the copy; none during a listing.
    synced: Option<usize>,
    violations: Vec<Violation>,
}

impl Mirror<'_> {
    fn take(&mut self, number: usize, at: u64, body: &Body) {
        match body {
            Body::Batch { events, .. } => {
                // Changes after the end of the history are not known.
                let last = self.history.revision();
                for event in events.iter().filter(|event| event.revision() <= last) {
                    match self.synced {
                        None => self.listed(number, event),
                        Some(place) => self.watched(number, place, event),
                    }
                }
            }
            Body::Synced { revision } => self.compare(number, *revision),
            Body::Resync(end) => self.resync(number, at, end),
            Body::Drained { revision } => {
                let next = self.synced.map(|place| self.expected.get(place));
                match next {
                    None => self.tell(number, *revision, "it never told a whole state".to_owned()),
                    Some(Some(event)) if event.revision() <= *revision => {
                        let (lost, what) = (event.revision(), format!("{} never came", event.key));
                        self.tell(number, lost, what);
                    }
                    Some(_) => {}
                }
            }
            Body::Ended(end) => self.tell(number, 0, format!("it ended: {end:?}")),
            _ => {}
        }
    }

    /// Checks a difference from a listing.
    fn listed(&mut self, number: usize, event: &Event) {
        let had = self.copy.get(&event.key);
        let differs = match event.kind {
            EventKind::Put => had != Some(&event.pair),
            EventKind::Delete => had.is_some(),
        };
        if !differs {
            let what = format!("{:?} of {} is no difference", event.kind, event.key);
            self.tell(number, event.revision(), what);
        }
        self.apply(event);
    }

    fn watched(&mut self, number: usize, place: usize, event: &Event) {
        // Changes of one revision may come in any order.
        let rest = self.expected[place..].iter();
        let next = self.expected.get(place).map_or(0, |event| event.revision());
        let mut same = rest.take_while(|expected| expected.revision() == next);
        let found = same.position(|expected| {
            expected.key == event.key && expected.kind == event.kind && expected.pair == event.pair
        });
        if let Some(found) = found {
            self.expected.swap(place, place + found);
            self.synced = Some(place + 1);
            return self.apply(event);
        }
        // A gap is reported once: the check continues after the delivered event.
        let what = match self.expected.get(place) {
            Some(next) => format!(
                "{:?} of {} came, and {} at {} comes next",
                event.kind,
                event.key,
                next.key,
                next.revision()
            ),
            None => format!(
                "{:?} of {} came, and nothing is left",
                event.kind, event.key
            ),
        };
        self.tell(number, event.revision(), what);
        let behind = self
            .expected
            .partition_point(|expected| expected.revision() <= event.revision());
        self.synced = Some(place.max(behind));
        self.apply(event);
    }

    fn compare(&mut self, number: usize, revision: i64) {
        let is_known = revision <= self.history.revision();
        let revision = revision.min(self.history.revision());
        let state = self.history.state(&self.list.query, revision);
        let keys = state.keys().chain(self.copy.keys());
        let wrong = keys
            .filter(|key| state.get(*key) != self.copy.get(*key))
            .count();
        // Leases may expire after the end of the history: a later listing may leave their keys out.
        if is_known && wrong > 0 {
            let what = format!("{wrong} keys of the copy are not what the store was then");
            self.tell(number, revision, what);
        }
        self.copy = state;
        let place = self
            .expected
            .partition_point(|event| event.revision() <= revision);
        self.synced = Some(place);
    }

    /// The list may be read again only if the next change was compacted.
    fn resync(&mut self, number: usize, at: u64, end: &End) {
        let compacted = self.history.compacted_by(at);
        match end {
            End::Compacted { revision } if *revision <= compacted => {}
            _ => self.tell(number, 0, format!("it read everything again: {end:?}")),
        }
        self.synced = None;
    }

    fn apply(&mut self, event: &Event) {
        match event.kind {
            EventKind::Put => self.copy.insert(Arc::clone(&event.key), event.pair),
            EventKind::Delete => self.copy.remove(&event.key),
        };
    }

    fn tell(&mut self, message: usize, revision: i64, what: String) {
        let (guarantee, subject) = (Guarantee::Mirrored, Subject::Watch);
        self.violations
            .push(Violation::new(guarantee, message, revision, subject, what));
    }
}
