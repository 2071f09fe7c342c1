//! Why a server left an event out: the faults of servers that are known, each with its proof.

use super::Violation;
use crate::history::{Body, Compaction, Event, EventKind, History, Recording};

/// A fault of servers that explains a lost event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The watch had to go on from `next`, which was compacted, and the server went on behind
    /// what it had then, without a word.
    ///
    /// Source: etcd issue 17529, fixed in 3.4.31, 3.5.13 and 3.6 (`syncWatchers` in
    /// `mvcc/watchable_store.go`): where the buffer of the stream had no room to say that the
    /// watch is compacted, the watch counted as one that had caught up.
    Overtaken {
        /// The first revision that the server had not sent.
        next: i64,
        /// A compaction to a later one, asked for before the server went on.
        compaction: Compaction,
    },
    /// It is a deletion at the very revision that was compacted to, and the watch went on from
    /// there.
    ///
    /// Source: etcd issue 19179, fixed in 3.4.36, 3.5.18 and 3.6: the compaction removed it.
    Removed {
        /// The compaction.
        compaction: Compaction,
    },
}

impl Cause {
    /// Why this stretch leaves out the event that a violation is about; `None` if nothing that is
    /// known explains it.
    pub(super) fn of(
        history: &History,
        stretch: &Recording,
        violation: &Violation,
        key: &str,
    ) -> Option<Self> {
        let lost = violation.revision;
        let jump = Jump::over(stretch, lost)?;
        let mut asked = history.compactions().iter().filter(|one| one.at <= jump.at);
        let is_delete = history
            .find(key, lost)
            .is_some_and(|event| event.kind == EventKind::Delete);
        if is_delete && jump.next == lost {
            let removed = asked.clone().find(|one| one.revision == lost);
            if let Some(compaction) = removed.copied() {
                return Some(Self::Removed { compaction });
            }
        }
        let compaction = *asked.find(|one| one.revision > jump.next)?;
        let next = jump.next;
        Some(Self::Overtaken { next, compaction })
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (what, Compaction { at, revision }) = match self {
            Self::Overtaken { next, compaction } => (
                format!("it had to go on from {next} and was not told of the compaction"),
                compaction,
            ),
            Self::Removed { compaction } => (
                "the deletion was removed by the compaction".to_owned(),
                compaction,
            ),
        };
        write!(f, "{what} to {revision} at {:.3} s", *at as f64 / 1e6)
    }
}

/// Where a server went on behind a revision that it had not sent.
struct Jump {
    /// The first revision that was not sent before.
    next: i64,
    /// When the first message behind it came.
    at: u64,
}

impl Jump {
    /// None if the message that shows the loss has events from before it as well: the server was
    /// about to send the revision, and left out something of it.
    fn over(stretch: &Recording, lost: i64) -> Option<Self> {
        let mut next = stretch.query.start_revision;
        for message in &stretch.messages {
            let (first, through) = match &message.body {
                Body::Batch {
                    revision, events, ..
                } => {
                    let revisions = || events.iter().map(Event::revision);
                    (revisions().min(), revisions().max().max(Some(*revision)))
                }
                Body::Progress { revision }
                | Body::Answered {
                    revision,
                    binding: true,
                } => (None, Some(*revision)),
                _ => continue,
            };
            let through = through.unwrap_or(0);
            if through >= lost {
                let at = message.at;
                return first
                    .is_none_or(|first| first > lost)
                    .then_some(Self { next, at });
            }
            next = next.max(through + 1);
        }
        None
    }
}
