//! PURE: from the messages of one watch to whole revisions, each delivered once.

use super::amount::Amount;
use super::backlog::{Backlog, Claim};
use super::event::Event;

/// How far a watch has come, and the beginning of a revision that is not whole yet.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    /// The first revision that has not been delivered.
    pub(super) next: i64,
    /// Events of one revision, of which more may come.
    partial: Vec<Event>,
    weight: usize,
    /// Counts `partial` for the client's limits.
    claim: Option<Claim>,
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Its revisions go back.
    Disorder,
    /// The events of this revision are over the limit.
    TooLarge(i64),
}

/// Events to deliver.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Assembled {
    pub(super) events: Vec<Event>,
    pub(super) fault: Option<Fault>,
}

impl Assembled {
    /// Of a message that goes back nothing is whole for certain.
    fn disorder() -> Self {
        Self {
            events: Vec::new(),
            fault: Some(Fault::Disorder),
        }
    }
}

impl Assembler {
    pub(super) fn is_amid_revision(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Forgets the revision that is not whole: it comes again.
    pub(super) fn restart(&mut self) {
        self.partial = Vec::new();
        self.weight = 0;
        self.claim = None;
    }

    /// Counts what is kept of a revision that is not whole, and no longer what was.
    pub(super) fn count(&mut self, backlog: &Backlog) {
        let amount = Amount {
            bytes: self.weight,
            events: self.partial.len(),
        };
        self.claim = (amount.events > 0).then(|| backlog.claim(amount));
    }

    /// Takes the events of a message, after which `more` of its last revision may come; gives
    /// those of whole revisions that have not been delivered.
    ///
    /// INVARIANT: what it gives, over all calls, is in order and nothing of it twice, whatever
    /// comes in; a revision is given as a whole. It does not move `next`.
    pub(super) fn take(&mut self, mut events: Vec<Event>, more: bool, limit: usize) -> Assembled {
        // ORDER: before events are left out, and before any revision is found too large. A message
        // whose revisions go back may have left out others, and may have the events of one revision
        // in a wrong order.
        if !events.is_sorted_by_key(|event| event.kv.mod_revision) {
            self.restart();
            return Assembled::disorder();
        }
        // What lies before was delivered already, or is older than what was asked for.
        let next = self.next;
        events.retain(|event| event.kv.mod_revision >= next);
        if self.partial.is_empty() && !more {
            return whole(events, limit);
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

/// The same for a message in order that is all there is of its revisions: nothing is moved.
fn whole(mut events: Vec<Event>, limit: usize) -> Assembled {
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

/// How many of the events, in whole revisions, fit: revisions are taken until what there is
/// room for is reached, so that one revision always fits.
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

    fn revisions(whole: &Assembled) -> Vec<i64> {
        whole.events.iter().map(|e| e.kv.mod_revision).collect()
    }

    /// The limit is one revision's, however many came in pieces before.
    #[test]
    fn each_revision_has_the_limit_for_itself() {
        let limit = 2 * size_of::<Event>();
        let mut assembler = Assembler::default();
        for revision in 1..20 {
            let first = assembler.take(events(&[revision]), true, limit);
            let rest = assembler.take(events(&[revision]), false, limit);
            assert_eq!((first.fault, rest.fault), (None, None), "{revision}");
            assert_eq!(revisions(&rest), [revision, revision]);
            // A piece of which the rest never comes.
            assembler.take(events(&[revision + 1]), true, limit);
            assembler.restart();
        }
        let large = assembler.take(events(&[20, 20, 20]), true, limit);
        assert_eq!(large.fault, Some(Fault::TooLarge(20)));
    }

    /// Revisions that go back may have left out others: the watch must not end as if all before
    /// the large one had been delivered.
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
