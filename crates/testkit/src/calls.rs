//! What callers were told, and whether it fits the history of the store.
//!
//! [`check`] judges the calls of a run against the history that was read from the store itself.
//!
//! # Linearizability
//!
//! Checking it is hard in general, as all orders of concurrent calls have to be tried. It is easy
//! here: etcd numbers its states, and each answer names the state that it comes from (the
//! revision of its header). So the order is given, and has only to be verified:
//!
//! * a write stands at the revision that it made. It is known for writes without an answer too, as
//!   each value is written once: the history shows where it is;
//! * a linearizable read stands after the write of its revision and before the next one. A swap
//!   whose condition did not hold, and a delete of nothing, are such reads. Reads of one revision
//!   stand in the order of their beginnings.
//!
//! The calls are linearizable in this order, for all keys together, if
//!
//! 1. each read gave what the history has at its revision, and each write found what the history
//!    has before its revision ([`Rule::Content`], [`Rule::Condition`]);
//! 2. each call that began after another one had ended stands behind it: a write at a revision
//!    above all that were told before it began, a read not below them ([`Rule::Order`]).
//!
//! Writes that failed and are not in the history have not happened and need no place. An answer
//! with a wrong revision is a fault as well, so that nothing is excused by relying on it.
//! Serializable reads may be of the past: for them, only the first rule holds, and that no write
//! that began later is in what they saw.
//!
//! # Outcomes
//!
//! Each value in the history belongs to one call ([`Rule::Invented`]), is there once
//! ([`Rule::Twice`]), and in all of its keys at once ([`Rule::Atomic`]). A write that was
//! acknowledged is there ([`Rule::Missing`]), and one that was not sent or rejected is not
//! ([`Rule::Outcome`]). Deletions leave no value: those without an acknowledgement are given to
//! the deletes of their key whose outcome is unknown, one to each ([`Rule::Invented`]).

mod check;
mod gap;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::history::Pair;

pub use check::check;
pub use gap::{Period, longest_gap};

/// One call as its caller saw it. Times are microseconds since the start of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The name of the caller.
    pub caller: Arc<str>,
    /// When the call was begun.
    pub began: u64,
    /// When its answer or error was there.
    pub ended: u64,
    /// What was asked.
    pub action: Action,
    /// What came of it.
    pub answer: Answer,
}

/// What a call asks. Values are hashes ([`hash`](crate::history::hash)), and no value is written
/// by two calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Reads a key.
    Get {
        /// The key.
        key: Arc<str>,
        /// Whether the answer may be of the past.
        serializable: bool,
    },
    /// Writes a value to one key, and asks for the pair before, or to several keys at once.
    Put {
        /// The keys.
        keys: Vec<Arc<str>>,
        /// The value.
        value: u64,
    },
    /// Deletes a key, and asks for the pair before.
    Delete {
        /// The key.
        key: Arc<str>,
    },
    /// Writes a value if the key was last changed at a given revision, else reads it.
    Swap {
        /// The key.
        key: Arc<str>,
        /// The value.
        value: u64,
        /// The revision; 0 if the key is not to exist.
        expected: i64,
    },
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Nothing was changed: a read, a swap whose condition did not hold, a delete of nothing.
    Read {
        /// The revision of the header.
        revision: i64,
        /// The pair, if the key exists.
        pair: Option<Pair>,
    },
    /// The store was changed.
    Written {
        /// The revision of the header.
        revision: i64,
        /// The pair before, where it was asked for and there was one.
        prev: Option<Pair>,
    },
    /// The call failed.
    Failed {
        /// What that says about the store.
        effect: Effect,
        /// The text of the error.
        error: String,
    },
}

/// What an error says about the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// No server has seen the request.
    NotSent,
    /// It may have been applied.
    Unknown,
    /// A server has refused it.
    Rejected,
}

/// A rule that calls have to keep; see the [module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// An answer shows what the store had at the answer's revision.
    Content,
    /// A swap happens only if its condition holds, and says truly whether it happened.
    Condition,
    /// A call stands behind all calls that ended before it began.
    Order,
    /// A write that was acknowledged is in the store.
    Missing,
    /// A write that was not sent or was rejected is not in the store.
    Outcome,
    /// A write is applied once.
    Twice,
    /// All writes of a transaction are applied at one revision.
    Atomic,
    /// The store has only what was written, and loses only what was deleted.
    Invented,
}

/// A rule that was broken, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// The rule.
    pub rule: Rule,
    /// What breaks it, in words.
    pub what: String,
    /// The place of the call in what was judged; none if it is a change without a call.
    pub call: Option<usize>,
}

impl Action {
    /// The keys that it reads or writes.
    pub fn keys(&self) -> &[Arc<str>] {
        match self {
            Self::Put { keys, .. } => keys,
            Self::Get { key, .. } | Self::Delete { key } | Self::Swap { key, .. } => {
                std::slice::from_ref(key)
            }
        }
    }
}

impl Answer {
    /// The revision that it names.
    pub fn revision(&self) -> Option<i64> {
        match self {
            Self::Read { revision, .. } | Self::Written { revision, .. } => Some(*revision),
            Self::Failed { .. } => None,
        }
    }
}

impl Call {
    /// Whether it is one that only a member with a quorum can answer, and was answered.
    pub fn is_good(&self) -> bool {
        let serializable = matches!(
            self.action,
            Action::Get {
                serializable: true,
                ..
            }
        );
        !serializable && self.answer.revision().is_some()
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}
