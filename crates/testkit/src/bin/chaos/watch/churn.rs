//! Watches that come and go at random moments.

use std::collections::{HashMap, HashSet};

use etcdex::WatchRef;
use tokio::task::AbortHandle;

use super::plan::{Plan, passing};

/// Plans with numbers from here on come and go.
const FIRST: usize = 1_000_000;
/// How many of them there are at a time.
const MOST: usize = 40;

/// Which watches come, and which go next.
pub(crate) struct Churn {
    random: fastrand::Rng,
    next: usize,
    /// Those that were asked for and are not in force: their task, what for, and since when.
    pub(crate) pending: HashMap<usize, (AbortHandle, Plan, u64)>,
    /// Those whose future was dropped.
    pub(crate) dropped: HashSet<usize>,
    pub(crate) live: Vec<(WatchRef, usize)>,
}

/// What happens to a watch that is in force now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It stays for the whole run.
    Staying,
    /// It goes at some time.
    Passing,
    /// Its future was dropped already.
    Dropped,
}

/// What is done next.
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

    /// What becomes of a watch that was added.
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

    /// A watch ended by itself; whether it is one of those that do not come again.
    pub(crate) fn ended(&mut self, watch: WatchRef) -> bool {
        let before = self.live.len();
        self.live.retain(|(live, _)| *live != watch);
        self.live.len() < before
    }

    /// What is done next; `past` is a revision that the store has had.
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
