//! PURE: assembles the messages of one watch to whole revisions, each delivered once.

use super::amount::Amount;
use super::backlog::{Backlog, Claim};
use super::event::Event;

/// The next revision of a watch, and the events of an incomplete revision.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    /// The first revision that has not been delivered.
    pub(super) next: i64,
    /// Events of an incomplete revision.
    partial: Vec<Event>,
    /// The memory of `partial`, in bytes.
    weight: usize,
    /// Counts `partial` for the client's limits.
    claim: Option<Claim>,
}

/// A fault of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Its revisions go back.
    Disorder,
    /// The events of this revision are over the limit.
    TooLarge(i64),
}

/// Events to deliver, and the fault that comes after them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Assembled {
    pub(super) events: Vec<Event>,
    pub(super) fault: Option<Fault>,
}

impl Assembled {
    /// The result for a message that goes back. None of its revisions is complete for certain.
    fn disorder() -> Self {
        Self {
            events: Vec::new(),
            fault: Some(Fault::Disorder),
        }
    }
}

impl Assembler {
    /// Whether there is an incomplete revision.
    pub(super) fn is_amid_revision(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Forgets the incomplete revision, which the server will send again.
    pub(super) fn restart(&mut self) {
        self.partial = Vec::new();
        self.weight = 0;
        self.claim = None;
    }

    /// Counts the events of the incomplete revision, instead of those of the last call.
    pub(super) fn count(&mut self, backlog: &Backlog) {
        let amount = Amount {
            bytes: self.weight,
            events: self.partial.len(),
        };
        self.claim = (amount.events > 0).then(|| backlog.claim(amount));
    }

    /// Takes the events of a message, and returns those of complete revisions that have not been
    /// delivered. `more` says that further events of the last revision may follow.
    ///
    /// INVARIANT: over all calls, the returned events are in order and none comes twice, whatever the
    /// messages contain; a revision is returned as a whole. This does not change `next`.
    pub(super) fn take(&mut self, mut events: Vec<Event>, more: bool, limit: usize) -> Assembled {
        // ORDER: this comes before events are left out, and before the check of sizes. A message whose
        // revisions go back may have left out others, and may have the events of one revision in a
        // wrong order.
        if !events.is_sorted_by_key(|event| event.kv.mod_revision) {
            self.restart();
            return Assembled::disorder();
        }
        // Earlier events were delivered before, or lie before the start of the watch.
        let next = self.next;
        events.retain(|event| event.kv.mod_revision >= next);
        if self.partial.is_empty() && !more {
            return complete(events, limit);
        }
        let mut given = Assembled::default();
        for event in events {
            let revision = event.kv.mod_revision;
            match self.partial.first().map(|event| event.kv.mod_revision) {
                Some(open) if open > revision => {
                    self.restart();
                    return Assembled::disorder();
                }
                Some(open) if open < revision => {
                    given.events.append(&mut self.partial);
                    self.weight = 0;
                }
                _ => {}
            }
            self.weight += event.weight();
            if self.weight > limit {
                given.fault = Some(Fault::TooLarge(revision));
                self.restart();
                return given;
            }
            self.partial.push(event);
        }
        if !more {
            given.events.append(&mut self.partial);
            self.restart();
        }
        given
    }
}

/// The same for a message whose revisions are in order and complete. The events are not copied.
fn complete(mut events: Vec<Event>, limit: usize) -> Assembled {
    let mut start = 0;
    let mut weight = 0;
    for place in 0..events.len() {
        let revision = events[place].kv.mod_revision;
        if revision > events[start].kv.mod_revision {
            (start, weight) = (place, 0);
        }
        weight += events[place].weight();
        if weight > limit {
            events.truncate(start);
            let fault = Some(Fault::TooLarge(revision));
            return Assembled { events, fault };
        }
    }
    Assembled {
        events,
        fault: None,
    }
}

/// Returns how many of the events, in whole revisions, fit. Revisions are taken until the room is used
/// up, so at least one revision fits.
pub(super) fn fitting(events: &[Event], room: Amount) -> usize {
    let mut bytes = 0;
    for (place, event) in events.iter().enumerate() {
        let full = bytes >= room.bytes || place >= room.events;
        if full && place > 0 && events[place - 1].kv.mod_revision != event.kv.mod_revision {
            return place;
        }
        bytes += event.weight();
    }
    events.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::KeyValue;
    use crate::watch::event::EventKind;

    fn events(revisions: &[i64]) -> Vec<Event> {
        let event = |mod_revision: &i64| Event {
            kind: EventKind::Put,
            kv: KeyValue {
                mod_revision: *mod_revision,
                ..KeyValue::default()
            },
            prev_kv: None,
        };
        revisions.iter().map(event).collect()
    }

    fn revisions(assembled: &Assembled) -> Vec<i64> {
        assembled.events.iter().map(|e| e.kv.mod_revision).collect()
    }

    /// The limit applies to one revision, however many came in fragments before.
    #[test]
    fn each_revision_has_the_limit_for_itself() {
        let limit = 2 * size_of::<Event>();
        let mut assembler = Assembler::default();
        for revision in 1..20 {
            let first = assembler.take(events(&[revision]), true, limit);
            let rest = assembler.take(events(&[revision]), false, limit);
            assert_eq!((first.fault, rest.fault), (None, None), "{revision}");
            assert_eq!(revisions(&rest), [revision, revision]);
            // A fragment whose rest never comes.
            assembler.take(events(&[revision + 1]), true, limit);
            assembler.restart();
        }
        let large = assembler.take(events(&[20, 20, 20]), true, limit);
        assert_eq!(large.fault, Some(Fault::TooLarge(20)));
    }

    /// A message that goes back may have left out revisions. The watch must not end as if all revisions
    /// before the large one had been delivered.
    #[test]
    fn revisions_that_go_back_are_noticed_before_one_that_is_too_large() {
        let limit = 2 * size_of::<Event>();
        for more in [false, true] {
            let mut assembler = Assembler::default();
            let given = assembler.take(events(&[5, 5, 5, 4]), more, limit);
            assert_eq!(given, Assembled::disorder(), "{more}");
            assert!(!assembler.is_amid_revision());
        }
    }

    #[test]
    fn a_message_that_goes_back_to_what_was_delivered_is_given_up() {
        for more in [false, true] {
            let mut assembler = Assembler {
                next: 5,
                ..Assembler::default()
            };
            let given = assembler.take(events(&[5, 5, 4]), more, usize::MAX);
            assert_eq!(given, Assembled::disorder(), "{more}");
        }
    }

    #[test]
    fn a_revision_is_given_when_the_next_one_begins() {
        let mut assembler = Assembler::default();
        assert!(
            assembler
                .take(events(&[1, 1]), true, usize::MAX)
                .events
                .is_empty()
        );
        let given = assembler.take(events(&[1, 2, 3]), true, usize::MAX);
        assert_eq!(revisions(&given), [1, 1, 1, 2]);
        assert!(assembler.is_amid_revision());
        assert_eq!(
            revisions(&assembler.take(Vec::new(), false, usize::MAX)),
            [3]
        );
    }
}
