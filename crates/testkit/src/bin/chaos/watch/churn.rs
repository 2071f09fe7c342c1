//! Watches that are opened and cancelled at random moments.

use std::collections::{HashMap, HashSet};

use etcdex::watch::WatchRef;
use tokio::task::AbortHandle;

use super::plan::{Plan, passing};

/// The first number of plans of the churn.
const FIRST: usize = 1_000_000;
/// Maximum number of these watches at a time.
const MOST: usize = 40;

/// Chooses the watches to open and to cancel.
pub(crate) struct Churn {
    random: fastrand::Rng,
    next: usize,
    /// Watches that are not in force yet: their task, their plan, and the time of the call.
    pub(crate) pending: HashMap<usize, (AbortHandle, Plan, u64)>,
    /// Plans whose future was dropped.
    pub(crate) dropped: HashSet<usize>,
    pub(crate) live: Vec<(WatchRef, usize)>,
}

/// The next action for a watch that has come into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The watch stays for the whole run.
    Staying,
    /// The watch is cancelled later.
    Passing,
    /// The future was dropped already: cancel the watch.
    Dropped,
}

/// The next action.
pub(crate) enum Act {
    Add(usize, Plan),
    /// Drops a future.
    Drop(usize),
    Cancel(WatchRef, usize),
    Nothing,
}

impl Churn {
    pub(crate) fn new(random: fastrand::Rng) -> Self {
        Self {
            random,
            next: FIRST,
            pending: HashMap::new(),
            dropped: HashSet::new(),
            live: Vec::new(),
        }
    }

    /// Returns what to do with a watch that has come into force.
    pub(crate) fn added(&mut self, number: usize) -> Fate {
        if number < FIRST {
            return Fate::Staying;
        }
        self.pending.remove(&number);
        if self.dropped.contains(&number) {
            Fate::Dropped
        } else {
            Fate::Passing
        }
    }

    /// Records that a watch has ended by itself. Returns whether it belongs to the churn, and so is
    /// not opened again.
    pub(crate) fn ended(&mut self, watch: WatchRef) -> bool {
        let before = self.live.len();
        self.live.retain(|(live, _)| *live != watch);
        self.live.len() < before
    }

    /// Chooses the next action; `past` is an earlier revision of the store.
    pub(crate) fn act(&mut self, past: i64) -> Act {
        let full = self.pending.len() + self.live.len() >= MOST;
        match self.random.u8(..8) {
            0..4 if !full => {
                self.next += 1;
                Act::Add(self.next, passing(self.next, &mut self.random, past))
            }
            4 | 5 => {
                let numbers: Vec<usize> = self.pending.keys().copied().collect();
                let chosen = self.random.choice(numbers);
                chosen.map_or(Act::Nothing, Act::Drop)
            }
            _ if self.live.is_empty() => Act::Nothing,
            _ => {
                let place = self.random.usize(..self.live.len());
                let (watch, number) = self.live.swap_remove(place);
                Act::Cancel(watch, number)
            }
        }
    }
}
