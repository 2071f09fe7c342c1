//! Checks the states of kept leases and the grants of locks.
//!
//! **Leases.** The store is the reference: each lease has a key, which is deleted with the lease.
//! The key is read all the time ([`Look`]), over connections without faults. The lease was gone
//! when the first read without the key had ended, and not when the last read with the key began.
//! The checks use only these bounds.
//!
//! **Locks.** The history of the store is the reference: the lock is held by the key of its name
//! that was created first, for as long as it exists.

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

/// A kept lease. Times are microseconds since the start of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptLease {
    /// The client that kept the lease, by the number of its way.
    pub way: usize,
    /// The key of the lease.
    pub key: Arc<str>,
    /// The time-to-live.
    pub ttl: u64,
    /// When the lease was known to exist, with its key.
    pub began: u64,
    /// When the keeper was dropped.
    pub ended: u64,
    /// The states that the keeper reported, in order.
    pub words: Vec<Word>,
}

/// A state that a keeper reported, with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// When the state was read.
    pub at: u64,
    /// The state.
    pub state: State,
}

/// The state of a lease, as its keeper reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// The lease lives at least until then: `Alive` and `AtRisk`.
    Lives(u64),
    /// `Unknown`.
    Unknown,
    /// The server said that the lease is gone.
    Lost,
}

/// A read of all keys of leases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// When the request was sent.
    pub began: u64,
    /// When the answer came.
    pub ended: u64,
    /// The raft term in the header of the answer.
    pub term: u64,
    /// The existing keys.
    pub keys: BTreeSet<Arc<str>>,
}

/// A remaining time-to-live, as reported by a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// The key of the lease.
    pub key: Arc<str>,
    /// When the request was sent.
    pub began: u64,
    /// When the answer came.
    pub ended: u64,
    /// The remaining time-to-live, truncated to whole seconds; none if there is no such lease.
    pub left: Option<u64>,
}

/// A grant of a lock to a taker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The name of the lock.
    pub name: Arc<str>,
    /// The key of the taker.
    pub key: Arc<str>,
    /// When the answer came.
    pub at: u64,
    /// Until when the taker considered itself the holder: it released the lock, or its keeper did
    /// not report the lease as alive any more.
    pub until: u64,
    /// The revision of a write that the taker made on condition that its key exists; none if it
    /// failed, or the key did not exist.
    pub fenced: Option<i64>,
}

/// A promise about leases or locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Promise {
    /// A lease lives for as long as its keeper says.
    Alive,
    /// A lease is reported as lost only when it is gone.
    Lost,
    /// A lease that is gone is reported as lost while a member with a quorum can be reached.
    Told,
    /// A lease that is kept lives on while a member with a quorum can be reached.
    Kept,
    /// A server has as much time left for a lease as its keeper says.
    Left,
    /// A lock is granted to the key that was created first.
    First,
    /// No two takers consider themselves the holder at the same time.
    Alone,
    /// A lock is taken again after faults.
    Available,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The promise.
    pub promise: Promise,
    /// A description of the violation.
    pub what: String,
    /// The proof that a server has caused it, if one has: etcd's issue 15247, a lock of 3.4 whose
    /// lease was lost, or a waiting lock that the server has lost.
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
