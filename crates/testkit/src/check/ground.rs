//! Checks the revisions from which watches resume, by the wire.

use super::{Guarantee, Subject, Violation};
use crate::history::{Body, End, Event, Message, Recording};

/// A revision that a message on the wire justifies, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ground {
    /// The revision from which the watch may resume.
    next: i64,
    at: u64,
}

/// Each creation of the watch on a server has a justified revision: the watch's start, or one after
/// events or progress that servers had sent by then. The answer to a request for progress justifies
/// nothing if the server's version is not exact.
///
/// `stretches` are the recordings of servers for this client and the same query, in any order.
/// Stretches that were created during the life of the watch are its own.
pub fn grounded(watch: &Recording, stretches: &[&Recording]) -> Vec<Violation> {
    let created = |message: &Message| matches!(message.body, Body::Created { .. });
    let Some(life) = Life::of(watch).filter(|_| watch.messages.iter().any(created)) else {
        return Vec::new();
    };
    let own: Vec<&Recording> = stretches
        .iter()
        .copied()
        .filter(|stretch| life.covers(stretch))
        .collect();
    let grounds = grounds(&own);
    let mut violations = Vec::new();
    for stretch in own {
        let Some((asked, from)) = asked(stretch) else {
            continue;
        };
        let known = grounds.partition_point(|ground| ground.at <= asked);
        let vouched = grounds[..known].iter().map(|ground| ground.next).max();
        let most = vouched.unwrap_or(0).max(life.start);
        if from > most {
            let message = place(watch, asked);
            let what = why(stretch, from, most, &doubtful(stretches, asked));
            let subject = Subject::Watch;
            violations.push(Violation::new(
                Guarantee::Grounded,
                message,
                from,
                subject,
                what,
            ));
        }
    }
    violations
}

/// When the consumer opened a watch, and when the watch ended.
struct Life {
    start: i64,
    from: u64,
    to: u64,
}

impl Life {
    /// Returns none for a recording without the time of the call.
    fn of(watch: &Recording) -> Option<Self> {
        let (from, _) = asked(watch)?;
        let over = |message: &&Message| matches!(message.body, Body::Ended(_) | Body::Cancelled);
        let over = watch.messages.iter().find(over);
        Some(Self {
            start: watch.query.start_revision,
            from,
            to: over.map_or(u64::MAX, |message| message.at),
        })
    }

    fn covers(&self, stretch: &Recording) -> bool {
        asked(stretch).is_some_and(|(at, _)| self.from <= at && at <= self.to)
    }
}

/// Returns when a recording was requested, and its requested first revision.
pub(super) fn asked(recording: &Recording) -> Option<(u64, i64)> {
    recording.messages.iter().find_map(|message| {
        let Body::Asked { revision } = message.body else {
            return None;
        };
        Some((message.at, revision))
    })
}

/// Returns all justified revisions, ordered by time.
fn grounds(stretches: &[&Recording]) -> Vec<Ground> {
    let messages = stretches.iter().flat_map(|stretch| &stretch.messages);
    let mut grounds: Vec<Ground> = messages
        .filter_map(|message| {
            let last = match &message.body {
                Body::Batch { events, .. } => events.iter().map(Event::revision).max()?,
                Body::Progress { revision }
                | Body::Answered {
                    revision,
                    binding: true,
                } => *revision,
                _ => return None,
            };
            let next = last + 1;
            Some(Ground {
                next,
                at: message.at,
            })
        })
        .collect();
    grounds.sort_by_key(|ground| ground.at);
    grounds
}

/// Returns the answers up to this time that are not exact.
fn doubtful(stretches: &[&Recording], by: u64) -> Vec<(u64, i64)> {
    let messages = stretches.iter().flat_map(|stretch| &stretch.messages);
    messages
        .filter(|message| message.at <= by)
        .filter_map(|message| match message.body {
            Body::Answered {
                revision,
                binding: false,
            } => Some((message.at, revision)),
            _ => None,
        })
        .collect()
}

fn why(stretch: &Recording, from: i64, most: i64, doubtful: &[(u64, i64)]) -> String {
    let believed = doubtful.iter().find(|(_, revision)| revision + 1 == from);
    let cause = match believed {
        Some((at, revision)) => format!(
            "the client trusted the answer to a request for progress to {revision} at {:.3} s, which \
             this version of the server may give too early",
            *at as f64 / 1e6
        ),
        None => "nothing that came says so".to_owned(),
    };
    format!(
        "the client asked {} to resume from {from}, and only {} is justified: {cause}",
        stretch.name,
        most - 1
    )
}

/// Returns the index of the last message of a watch at that time.
fn place(watch: &Recording, at: u64) -> usize {
    let after = watch.messages.partition_point(|message| message.at <= at);
    after.saturating_sub(1)
}

/// A watch ends as compacted only if a server has said so, and only if the client had not known for
/// a while that it could resume from a later revision ([`Body::Settled`]) that was not compacted.
pub fn needless(watch: &Recording, stretches: &[&Recording]) -> Vec<Violation> {
    let Some(life) = Life::of(watch) else {
        return Vec::new();
    };
    let own: Vec<&Recording> = stretches
        .iter()
        .copied()
        .filter(|stretch| life.covers(stretch))
        .collect();
    let ended = watch.messages.iter().enumerate().filter_map(|end| {
        let (number, Message { at, body }) = end;
        let Body::Ended(End::Compacted { revision }) = body else {
            return None;
        };
        let what = without_need(&own, *at, *revision)?;
        let (guarantee, subject) = (Guarantee::Ended, Subject::Watch);
        Some(Violation::new(guarantee, number, *revision, subject, what))
    });
    ended.collect()
}

fn without_need(own: &[&Recording], by: u64, compacted: i64) -> Option<String> {
    let says_so = |stretch: &&&Recording| {
        stretch.messages.iter().any(|message| {
            message.at <= by
                && message.body
                    == Body::Ended(End::Compacted {
                        revision: compacted,
                    })
        })
    };
    let Some(last) = own.iter().rfind(says_so) else {
        return Some(format!("no server said that {compacted} was compacted"));
    };
    let (asked, from) = asked(last)?;
    let messages = own.iter().flat_map(|stretch| &stretch.messages);
    let settled = messages
        .filter(|message| message.at <= asked)
        .filter_map(|message| match message.body {
            Body::Settled { revision } => Some((revision, message.at)),
            _ => None,
        })
        .max()?;
    let (revision, since) = settled;
    let needless = from <= revision && compacted <= revision + 1;
    needless.then(|| {
        format!(
            "the client asked to resume from {from} at {:.3} s, although it had had all events to \
             {revision} since {:.3} s, and a compaction to {compacted} keeps these",
            asked as f64 / 1e6,
            since as f64 / 1e6
        )
    })
}

/// How long, in microseconds, servers may still send to a watch that its consumer has cancelled:
/// its connection may be dead meanwhile.
const LEFT: u64 = 10_000_000;

/// A watch that its consumer has dropped or cancelled delivers nothing more, and is removed from
/// servers, which send progress to every watch that they have.
pub fn dropped(watch: &Recording, stretches: &[&Recording]) -> Vec<Violation> {
    let mut messages = watch.messages.iter().enumerate();
    let cancelled = messages.find(|(_, message)| message.body == Body::Cancelled);
    let (Some((number, cancel)), Some(life)) = (cancelled, Life::of(watch)) else {
        return Vec::new();
    };
    let mut violations = Vec::new();
    let mut tell = |message, what| {
        let (guarantee, subject) = (Guarantee::Dropped, Subject::Watch);
        violations.push(Violation::new(guarantee, message, 0, subject, what));
    };
    if let Some((later, message)) = messages.next() {
        tell(later, format!("{:?} came after the cancel", message.body));
    }
    // The client may send the creation after the consumer has dropped the watch.
    let own = stretches.iter().filter(|stretch| {
        let asked = asked(stretch);
        asked.is_some_and(|(at, _)| at >= life.from)
    });
    for stretch in own {
        let left = stretch.messages.iter().rev().find(|message| {
            !matches!(
                message.body,
                Body::Asked { .. } | Body::Cancelled | Body::Requested | Body::Settled { .. }
            )
        });
        let left = left.filter(|message| message.at > cancel.at + LEFT);
        if let Some(message) = left {
            let what = format!(
                "{} still had the watch {:.3} s after the cancel",
                stretch.name,
                (message.at - cancel.at) as f64 / 1e6
            );
            tell(number, what);
        }
    }
    violations
}
