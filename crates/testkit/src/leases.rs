//! Checks the states of kept leases and the grants of locks.
//!
//! **Leases.** The truth is the store: a key is attached to each lease, and goes when the lease
//! goes. It is looked at all the time ([`Look`]), over connections that no fault meets. The lease
//! had gone when the first look without the key had ended, and not when the last look with it
//! began. What is said about time counts only as far as these moments allow.
//!
//! **Locks.** The truth is the history of the store: the lock is held by the key of its name that
//! was created first, for as long as it exists.

mod deposed;
mod lease;
mod lock;
#[cfg(test)]
mod tests;
mod turn;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use deposed::{Deposed, Leadership, Revocation};
pub use lease::{Leases, check_leases};
pub use lock::{Grants, check_locks};
pub use turn::{Queue, Reply, TURN, Turn, TurnEnd, Turns, check_turns};

/// A lease that was kept. Times are microseconds since the start of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptLease {
    /// The client that kept it, by the number of its way.
    pub way: usize,
    /// The key that goes with it.
    pub key: Arc<str>,
    /// How long it lives without a renewal.
    pub ttl: u64,
    /// When it was known to exist, with its key.
    pub began: u64,
    /// When the keeper was dropped.
    pub ended: u64,
    /// The words of the keeper, in order.
    pub words: Vec<Word>,
}

/// A word of a keeper, with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// When it was said.
    pub at: u64,
    /// The state that the keeper told.
    pub state: State,
}

/// The state of a lease, as its keeper tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It lives at least until then: `Alive` and `AtRisk`.
    Lives(u64),
    /// Nothing is known.
    Doubtful,
    /// The server said that it is gone.
    Lost,
}

/// A look at all keys of leases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// When it was asked for.
    pub began: u64,
    /// When the answer was there.
    pub ended: u64,
    /// The keys that were there.
    pub keys: BTreeSet<Arc<str>>,
}

/// A time-to-live as a server told it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// The key of the lease.
    pub key: Arc<str>,
    /// When it was asked for.
    pub began: u64,
    /// When the answer was there.
    pub ended: u64,
    /// The time-to-live that was left, cut to whole seconds; none if there is no such lease.
    pub left: Option<u64>,
}

/// A taker of a lock that was told that it has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The name of the lock.
    pub name: Arc<str>,
    /// The key of the taker.
    pub key: Arc<str>,
    /// When the answer was there.
    pub at: u64,
    /// Until when the taker took itself for the holder: it gave the lock back, or its keeper did
    /// not say any more that the lease lives.
    pub until: u64,
    /// The revision of a write that the taker made on condition that its key exists; none if it
    /// failed, or the key did not exist.
    pub fenced: Option<i64>,
}

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Promise {
    /// A lease lives for as long as its keeper says.
    Alive,
    /// A lease is lost only when it is gone.
    Lost,
    /// A lease that is gone is said to be lost while a member with a quorum can be reached.
    Told,
    /// A lease that is kept lives on while a member with a quorum can be reached.
    Kept,
    /// A server has as much time left for a lease as its keeper says.
    Left,
    /// A lock is given to the key that was created first.
    First,
    /// No two takers take themselves for the holder at a time.
    Alone,
    /// A lock is taken again after faults.
    Available,
}

/// A promise that was broken, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The promise.
    pub promise: Promise,
    /// A description of the violation.
    pub what: String,
    /// The proof that a server did it, if one did: etcd's issue 15247, a lock of 3.4 whose lease
    /// was lost, or a lock that waits and that the server has lost.
    pub excuse: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { promise, what, .. } = self;
        write!(f, "{promise:?}: {what}")?;
        match &self.excuse {
            Some(excuse) => write!(f, "; {excuse}"),
            None => Ok(()),
        }
    }
}
