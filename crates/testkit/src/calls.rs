//! Compares the answers that callers got with the history of the store.
//!
//! [`check`] compares the calls of a run with the history that was read from the store itself.
//!
//! # Linearizability
//!
//! Checking linearizability is hard in general, as all orders of concurrent calls have to be tried.
//! It is easy here: etcd numbers its states, and each answer names its state (the revision of its
//! header). So the order is given, and only has to be verified:
//!
//! * a write stands at the revision that it made. That revision is known for writes without an
//!   answer, too, as each value is written once and can be found in the history;
//! * a linearizable read stands after the write of its revision and before the next one. A swap
//!   whose condition did not hold, and a delete of nothing, are such reads. Reads of one revision
//!   stand in the order of their beginnings.
//!
//! The calls are linearizable in this order, for all keys together, if
//!
//! 1. each read returned the pair that the history has at its revision, and each write found the
//!    pair that the history has before its revision ([`Rule::Content`], [`Rule::Condition`]);
//! 2. each call that began after another one had ended stands after it: a write at a revision above
//!    all revisions that were returned before it began, a read not below them ([`Rule::Order`]).
//!
//! Writes that failed and are not in the history were not applied and have no place in the order. An
//! answer with a wrong revision breaks a rule, too, so relying on revisions hides no fault.
//! Serializable reads may return past states: for them, only the first rule holds, and no write that
//! began later may be in their answers.
//!
//! # Outcomes
//!
//! Each value in the history belongs to one call ([`Rule::Invented`]), is there once
//! ([`Rule::Twice`]), and in all of its keys at one revision ([`Rule::Atomic`]). An acknowledged
//! write is in the history ([`Rule::Missing`]), and a write that was not sent or was rejected is
//! not ([`Rule::Outcome`]). Deletions leave no value: each deletion without an acknowledgement is
//! assigned to a delete of its key with an unknown outcome, one to each ([`Rule::Invented`]).

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
    /// When the call began.
    pub began: u64,
    /// When its answer or error came.
    pub ended: u64,
    /// The request.
    pub action: Action,
    /// The result.
    pub answer: Answer,
}

/// The request of a call. Values are hashes ([`hash`](crate::history::hash)), and no value is
/// written by two calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Reads a key.
    Get {
        /// The key.
        key: Arc<str>,
        /// Whether the answer may be a past state.
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

/// The result of a call.
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
        /// The pair before, if it was asked for and existed.
        prev: Option<Pair>,
    },
    /// The call failed.
    Failed {
        /// The effect on the store.
        effect: Effect,
        /// The text of the error.
        error: String,
    },
}

/// The effect on the store that an error reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// No server has seen the request.
    NotSent,
    /// It may have been applied.
    Unknown,
    /// A server has refused it.
    Rejected,
}

/// A rule of calls; see the [module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// An answer shows the state of the store at the answer's revision.
    Content,
    /// A swap is applied only if its condition holds, and its answer says correctly whether it was.
    Condition,
    /// A call stands after all calls that ended before it began.
    Order,
    /// A write that was acknowledged is in the store.
    Missing,
    /// A write that was not sent or was rejected is not in the store.
    Outcome,
    /// A write is applied once.
    Twice,
    /// All writes of a transaction are applied at one revision.
    Atomic,
    /// The store has only written values, and only deleted keys are removed.
    Invented,
}

/// A broken rule, and the call that broke it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// The rule.
    pub rule: Rule,
    /// A description of the breach.
    pub what: String,
    /// The index of the call; none if it is a change without a call.
    pub call: Option<usize>,
}

impl Action {
    /// Returns the keys that the call reads or writes.
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
    /// Returns the revision of the answer.
    pub fn revision(&self) -> Option<i64> {
        match self {
            Self::Read { revision, .. } | Self::Written { revision, .. } => Some(*revision),
            Self::Failed { .. } => None,
        }
    }
}

impl Call {
    /// Returns whether only a member with a quorum can answer the call, and it was answered.
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
