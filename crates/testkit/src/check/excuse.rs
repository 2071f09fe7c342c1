//! Excuses for violations of the client, by the recorded messages of servers.

use std::collections::HashMap;

use super::loss::Cause;
use super::progress::frontier_of;
use super::{Guarantee, Subject, Violation, check};
use crate::history::{Body, Event, History, Query, Recording};

/// The recorded messages of servers to watches, by client and query.
///
/// The name of a recording begins with its client: `client/watch` for a consumer's recording,
/// `client proxy link stream watch` for the wire.
#[derive(Debug)]
pub struct Wire<'a> {
    history: &'a History,
    stretches: HashMap<(String, Query), Vec<&'a Recording>>,
    violations: Vec<(&'a Recording, Violation)>,
}

/// A violation of a server that explains one of the client.
#[derive(Clone, Debug)]
pub struct Excuse<'w> {
    /// The stretch of the wire that shows it.
    pub stretch: &'w Recording,
    /// The same violation, by the server.
    pub violation: &'w Violation,
    /// Why the server left an event out, where it did.
    pub cause: Option<Cause>,
}

impl<'a> Wire<'a> {
    /// Checks the messages of servers.
    pub fn new(history: &'a History, stretches: &'a [Recording]) -> Self {
        let mut wire = Self {
            history,
            stretches: HashMap::new(),
            violations: Vec::new(),
        };
        for stretch in stretches {
            let key = (client(stretch).to_owned(), from_anywhere(&stretch.query));
            wire.stretches.entry(key).or_default().push(stretch);
            let violations = check(history, stretch).into_iter();
            wire.violations
                .extend(violations.map(|violation| (stretch, violation)));
        }
        wire
    }

    /// Returns the violations of servers.
    pub fn violations(&self) -> &[(&'a Recording, Violation)] {
        &self.violations
    }

    /// Returns the stretches of the wire that may have the messages of this watch.
    pub fn of(&self, watch: &Recording) -> &[&'a Recording] {
        let key = (client(watch).to_owned(), from_anywhere(&watch.query));
        self.stretches.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Returns the violation of a server that explains one of the client, or why there is none.
    ///
    /// It has to be of the same client, query, guarantee, revision and key. A loss is explained
    /// only if a server left the event out ([`Guarantee::Reliable`]) and no stretch of the wire
    /// carries it, but for stretches before: the client has asked for the event again then, as a
    /// connection had ended with it. That a watch goes on behind the event after an outage is the
    /// same loss. The stretch has to show a fault that servers are known to have ([`Cause`]). A wrong
    /// message of a server explains only a violation of the client in the same words.
    pub fn excuse(
        &self,
        watch: &Recording,
        violation: &Violation,
    ) -> Result<Excuse<'_>, Option<String>> {
        let guarantee = match (violation.guarantee, &violation.subject) {
            (
                Guarantee::Started
                | Guarantee::Grounded
                | Guarantee::Paired
                | Guarantee::Answered
                | Guarantee::Mirrored
                | Guarantee::Dropped,
                _,
            ) => return Err(None),
            (_, Subject::Lost(key)) => return self.excuse_loss(watch, violation, key),
            (guarantee, _) => guarantee,
        };
        let in_words = matches!(violation.subject, Subject::Came(_))
            && matches!(
                guarantee,
                Guarantee::Filter | Guarantee::PrevKv | Guarantee::IsCreate | Guarantee::Reliable
            );
        let found = self.violations.iter().find(|(stretch, theirs)| {
            theirs.guarantee == guarantee
                && theirs.revision == violation.revision
                && theirs.subject == violation.subject
                && (!in_words || theirs.what == violation.what)
                && client(stretch) == client(watch)
                && stretch.query.is_like(&watch.query)
        });
        match found {
            Some((stretch, violation)) => Ok(Excuse {
                stretch,
                violation,
                cause: None,
            }),
            None => Err(None),
        }
    }

    fn excuse_loss(
        &self,
        watch: &Recording,
        violation: &Violation,
        key: &str,
    ) -> Result<Excuse<'_>, Option<String>> {
        let losses = self.violations.iter().filter(|(stretch, theirs)| {
            theirs.guarantee == Guarantee::Reliable
                && theirs.revision == violation.revision
                && theirs.subject == violation.subject
                && client(stretch) == client(watch)
                && stretch.query.is_like(&watch.query)
        });
        // The last stretch on which the client has asked for the event and a server has left it
        // out.
        let begun = |stretch: &Recording| stretch.messages.first().map(|message| message.at);
        let last = losses.max_by_key(|(stretch, _)| begun(stretch));
        let since = last.and_then(|(stretch, _)| begun(stretch)).unwrap_or(0);
        match (self.carried(watch, violation.revision, key, since), last) {
            (None, Some((stretch, violation))) => {
                let cause = Cause::of(self.history, stretch, violation, key);
                let Some(cause) = cause else {
                    let name = &stretch.name;
                    return Err(Some(format!("{name} leaves it out for no known reason")));
                };
                Ok(Excuse {
                    stretch,
                    violation,
                    cause: Some(cause),
                })
            }
            (carried, _) => Err(carried),
        }
    }

    /// Returns where the wire carries an event for this watch, at that time or later.
    fn carried(&self, watch: &Recording, revision: i64, key: &str, since: u64) -> Option<String> {
        self.of(watch).iter().find_map(|stretch| {
            let of_it = |event: &Event| event.revision() == revision && *event.key == *key;
            let carries = |body: &Body| match body {
                Body::Batch { events, .. } => events.iter().any(of_it),
                _ => false,
            };
            let mut messages = stretch.messages.iter().enumerate();
            let (number, message) =
                messages.find(|(_, message)| message.at >= since && carries(&message.body))?;
            Some(format!(
                "{} (from {}) carries it, message {number} of {} at {:.3} s",
                stretch.name,
                stretch.query.start_revision,
                stretch.messages.len(),
                message.at as f64 / 1e6
            ))
        })
    }
}

impl Excuse<'_> {
    /// Returns the proof in a line: the stretch, its revisions, and the violation.
    pub fn proof(&self) -> String {
        let (frontier, message) = frontier_of(self.stretch);
        let cause = self.cause.map(|cause| format!("; {cause}"));
        format!(
            "{}, from {} to {frontier} (message {message}), shows it: {}: {} (revision {}){}",
            self.stretch.name,
            self.stretch.query.start_revision,
            self.violation.guarantee,
            self.violation.what,
            self.violation.revision,
            cause.unwrap_or_default()
        )
    }

    /// Returns the proof in full.
    pub fn explain(&self, history: &History) -> String {
        self.violation.explain(history, self.stretch)
    }
}

/// Returns the client of a recording.
pub(super) fn client(recording: &Recording) -> &str {
    let name = recording.name.split(['/', ' ']).next();
    name.unwrap_or_default()
}

fn from_anywhere(query: &Query) -> Query {
    Query {
        start_revision: 0,
        ..query.clone()
    }
}
