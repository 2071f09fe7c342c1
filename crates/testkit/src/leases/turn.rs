//! PURE: checks that each taker got its lock again after the faults.
//!
//! No lock can be granted without a leader. Members that get too little CPU time elect leaders again
//! and again, without a fault: the raft terms of their answers show it. The time of a taker begins
//! again with each election.
//!
//! Some old releases can lose waiting locks (ADR 0012): the key of a taker is the first of its
//! lock, and the server does not answer the taker, because it repeats a refused watch without end.
//! The recordings show this: an observer reads the keys of the locks all the time, and a proxy
//! receives each answer of the server before any fault. These recordings excuse a taker that never
//! had its lock; a longer wait does not. A lock that any other release has passed over is no
//! excuse, because the client sends it again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Fault, Look, Promise};

/// How long it may take after the last fault, or after a later election, until each taker has got
/// its lock once more: a lease without a keeper expires first (5 s, and as much again after an
/// election), and then each taker has its turn.
pub const TURN: u64 = 45_000_000;

/// One wait of a taker for its lock. Times are microseconds since the start of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// The name of the taker.
    pub taker: Arc<str>,
    /// The name of the lock.
    pub lock: Arc<str>,
    /// The key with which the taker waits.
    pub key: Arc<str>,
    /// When the taker asked for the lock.
    pub began: u64,
    /// When the taker got the lock, or stopped waiting.
    pub ended: u64,
    /// How the wait ended.
    pub end: TurnEnd,
}

/// How a taker's wait ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TurnEnd {
    /// The taker got the lock.
    Granted,
    /// The taker gave up.
    GaveUp,
    /// The call failed.
    Failed,
}

/// A read of the keys of all locks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// When the request was sent.
    pub began: u64,
    /// When the answer came.
    pub ended: u64,
    /// The keys, in the order of their creation.
    pub keys: Vec<Arc<str>>,
}

/// An answer of a server to a request for a lock, as received by a proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The key that has the lock.
    pub key: Arc<str>,
    /// When the answer came.
    pub at: u64,
}

/// The turns of a run, and facts about the servers.
#[derive(Clone, Copy, Debug)]
pub struct Turns<'a> {
    /// All turns.
    pub turns: &'a [Turn],
    /// All reads of the keys of locks, in order.
    pub queues: &'a [Queue],
    /// All answers of servers.
    pub replies: &'a [Reply],
    /// All reads of the keys of leases, in order, with the raft terms of the answers.
    pub looks: &'a [Look],
    /// When the last fault ended.
    pub calm: u64,
    /// Whether the servers can lose waiting locks.
    pub loses_waiting_locks: bool,
}

/// Returns each taker that did not have its lock again within [`TURN`] under one leader.
///
/// A taker is excused if there was no such time: the members elected leaders again and again.
///
/// On servers that can lose locks, it is excused if
///
/// * the client worked correctly in each turn: the key was in the queue before half of the time was
///   over, no server had answered when the taker gave up, and the call did not fail. Servers that
///   do not answer the reads of the queue for so long do not show whether the key was in it;
/// * in at least one turn a lock was lost (for at least half of the time, the first key of the lock
///   was one that no server had granted, the taker's own or that of another taker), or servers were
///   that silent. Servers that lose locks use all the CPU time that they get.
pub fn check_turns(run: Turns<'_>) -> Vec<Fault> {
    let elections = elections(run.looks, run.calm);
    let steady = steady(run, &elections);
    let end = steady.unwrap_or(u64::MAX);
    // All takers, also those without a turn since then.
    let mut takers: BTreeMap<&str, Vec<&Turn>> = BTreeMap::new();
    for turn in run.turns {
        let turns = takers.entry(&turn.taker).or_default();
        if turn.ended > run.calm && turn.began < end {
            turns.push(turn);
        }
    }
    let mut told: HashMap<&str, u64> = HashMap::new();
    for reply in run.replies {
        let at = told.entry(&reply.key).or_insert(reply.at);
        *at = reply.at.min(*at);
    }
    let mut faults = Vec::new();
    for (taker, turns) in takers {
        let is_in_time = |turn: &Turn| turn.end == TurnEnd::Granted && turn.ended <= end;
        if turns.iter().any(|turn| is_in_time(turn)) {
            continue;
        }
        // The last fault may have disturbed the first turn, and a lock that came too late was not
        // lost.
        let counts = |turn: &&Turn| turn.began >= run.calm && turn.end != TurnEnd::Granted;
        let undisturbed: Vec<&Turn> = turns.iter().copied().filter(counts).collect();
        let is_asked = |turn: &&Turn| is_asked(turn, run.queues, &told);
        let is_lost = |turn: &&Turn| is_lost(turn, run.queues, &told);
        let has_explanation = |turn: &&Turn| is_lost(turn) || is_silent(turn, run.queues);
        let lost_by_server = run.loses_waiting_locks
            && undisturbed.iter().all(is_asked)
            && undisturbed.iter().any(has_explanation);
        let excused = steady.is_none() || lost_by_server;
        let count = turns.len();
        faults.push(Fault {
            promise: Promise::Available,
            what: format!(
                "{taker} did not get its lock in {count} turns within {} s after the last fault",
                TURN / 1_000_000
            ),
            excuse: excused.then(|| {
                if steady.is_none() {
                    return format!(
                        "the members elected {} more leaders, and none of them led for that time",
                        elections.len()
                    );
                }
                let lost = undisturbed.iter().filter(|turn| is_lost(turn)).count();
                let is_silent = |turn: &&&Turn| is_silent(turn, run.queues);
                let silent = undisturbed.iter().filter(is_silent).count();
                format!(
                    "no server has answered; in {lost} turns the first key was one that no server \
                     had granted, and in {silent} turns servers answered no read for half of the \
                     time"
                )
            }),
        });
    }
    faults
}

/// The bounds of a time in which members elected a leader: only an election makes a later term.
#[derive(Clone, Copy, Debug)]
struct Election {
    /// The begin of the last read that was answered in an earlier term.
    after: u64,
    /// The end of the first read that was answered in the later term.
    by: u64,
}

/// Returns the elections after all faults.
fn elections(looks: &[Look], calm: u64) -> Vec<Election> {
    let (before, after) = looks.split_at(looks.partition_point(|look| look.ended <= calm));
    let mut term = before.iter().map(|look| look.term).max();
    let mut earlier = calm;
    let mut elections = Vec::new();
    for look in after {
        if term.is_some_and(|term| look.term > term) {
            elections.push(Election {
                after: earlier,
                by: look.ended,
            });
        }
        term = term.max(Some(look.term));
        earlier = look.began.max(calm);
    }
    elections
}

/// Returns the end of the first [`TURN`] without an election, if the run had one.
fn steady(run: Turns<'_>, elections: &[Election]) -> Option<u64> {
    let ended = run.looks.last().map_or(u64::MAX, |look| look.ended);
    let mut start = run.calm;
    for election in elections {
        if election.after > start + TURN {
            break;
        }
        start = election.by;
    }
    let end = start.saturating_add(TURN);
    (start == run.calm || end <= ended).then_some(end)
}

/// Returns whether a server has had the request for long without answering it.
fn is_asked(turn: &Turn, queues: &[Queue], told: &HashMap<&str, u64>) -> bool {
    let half = turn.began + (turn.ended - turn.began) / 2;
    let early = within(queues, turn.began, half);
    let mut seen = early.iter();
    let is_seen = seen.any(|queue| queue.keys.contains(&turn.key)) || is_silent(turn, queues);
    // An answer in the last tenth of the turn may meet a taker that has given up already, on a
    // machine that is busy.
    let late = turn.ended - (turn.ended - turn.began) / 10;
    let is_told = told.get(&*turn.key).is_some_and(|at| *at < late);
    turn.end == TurnEnd::GaveUp && is_seen && !is_told
}

/// Returns whether no server has answered a read of the queue in the first half of the turn. The
/// reads go to servers directly, and no fault disturbs them.
fn is_silent(turn: &Turn, queues: &[Queue]) -> bool {
    let half = turn.began + (turn.ended - turn.began) / 2;
    let before = queues
        .first()
        .is_some_and(|queue| queue.ended <= turn.began);
    let after = queues.last().is_some_and(|queue| queue.began >= turn.ended);
    before && after && within(queues, turn.began, half).is_empty()
}

/// Returns whether the lock was lost for most of this turn.
fn is_lost(turn: &Turn, queues: &[Queue], told: &HashMap<&str, u64>) -> bool {
    let within = within(queues, turn.began, turn.ended);
    let lost: u64 = within
        .windows(2)
        .filter_map(|pair| match pair {
            [before, after] => {
                let first = first(before, &turn.lock)?;
                let stays = self::first(after, &turn.lock) == Some(first);
                let is_told = told.get(first).is_some_and(|at| *at < after.ended);
                // From one read to the next, so that no time counts twice.
                (stays && !is_told).then_some(after.began - before.began)
            }
            _ => None,
        })
        .sum();
    lost.saturating_mul(2) >= turn.ended - turn.began
}

/// Returns the reads between two moments.
fn within(queues: &[Queue], from: u64, to: u64) -> &[Queue] {
    let first = queues.partition_point(|queue| queue.began < from);
    let after = queues.partition_point(|queue| queue.ended <= to);
    queues.get(first..after).unwrap_or_default()
}

/// Returns the key that holds a lock.
fn first<'a>(queue: &'a Queue, lock: &str) -> Option<&'a str> {
    let mut keys = queue.keys.iter();
    let is_mine = |key: &&Arc<str>| key.rsplit_once('/').is_some_and(|(name, _)| name == lock);
    keys.find(is_mine).map(|key| &**key)
}
