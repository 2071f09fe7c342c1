//! PURE: whether leases lived as their keepers said.

use super::{Fault, KeptLease, Left, Look, Promise, State, Stop};
use crate::calls::Period;

/// How long a client may take to find another member after a fault; as for calls.
const FAILOVER: u64 = 10_000_000;
/// How long a leader that was stopped goes on with its old clock once it runs again: until it
/// hears of the next one, and what it has asked for until then was applied.
const AFTERMATH: u64 = 5_000_000;
/// A stop for less than this changes no leader: the shortest election time-out.
const SHORTEST_STOP: u64 = 1_000_000;
/// How much the two clocks may differ: what is told in whole seconds.
const SECOND: u64 = 1_000_000;

/// The moments between which a lease went.
#[derive(Clone, Copy, Debug)]
struct Gone {
    /// It was there when the look began that saw it last.
    after: u64,
    /// It was not there any more when the first look without it ended.
    by: u64,
}

/// Returns each promise that was broken for these leases.
///
/// `looks` are in order. `served` has the times in which each way led to a quorum. `stops` excuse
/// a lease that went in the aftermath of a leader that was stopped, for servers with the fault.
pub fn check_leases(
    leases: &[KeptLease],
    looks: &[Look],
    left: &[Left],
    served: &[(usize, Period)],
    stops: &[Stop],
) -> Vec<Fault> {
    let mut faults = Vec::new();
    for lease in leases {
        let gone = gone(lease, looks);
        let of_server = gone.is_some_and(|gone| stops.iter().any(|stop| explains(*stop, gone)));
        let found = [
            gone.and_then(|gone| alive(lease, gone)),
            gone.and_then(|gone| kept(lease, gone, served)),
            gone.and_then(|gone| told(lease, gone, served)),
        ];
        let found = found.into_iter().flatten();
        faults.extend(found.map(|(promise, what)| Fault {
            promise,
            what,
            of_server,
        }));
        faults.extend(lost(lease, looks));
        faults.extend(remaining(lease, left, served));
    }
    faults
}

/// When a lease went, if it did while it was kept.
fn gone(lease: &KeptLease, looks: &[Look]) -> Option<Gone> {
    let mut after = lease.began;
    let mine = looks.iter();
    let mine = mine.filter(|look| look.began >= lease.began && look.ended <= lease.ended);
    for look in mine {
        if !look.keys.contains(&lease.key) {
            let by = look.ended;
            return Some(Gone { after, by });
        }
        after = look.began;
    }
    None
}

fn explains(stop: Stop, gone: Gone) -> bool {
    may_revoke(stop) && gone.by > stop.to && gone.after < stop.to + AFTERMATH
}

/// Whether a moment is in the aftermath of a leader that was stopped.
pub(super) fn is_aftermath(stop: Stop, moment: u64) -> bool {
    may_revoke(stop) && stop.to < moment && moment < stop.to + AFTERMATH
}

fn may_revoke(stop: Stop) -> bool {
    stop.led && stop.to.saturating_sub(stop.from) >= SHORTEST_STOP
}

fn alive(lease: &KeptLease, gone: Gone) -> Option<(Promise, String)> {
    let until = lease.words.iter().filter_map(|word| match word.state {
        State::Lives(until) => Some((until, word.at)),
        State::Doubtful | State::Lost => None,
    });
    let (until, at) = until.max()?;
    (until > gone.by).then(|| {
        let what = format!(
            "{} was said at {at} to live until {until}, and was gone by {}",
            lease.key, gone.by
        );
        (Promise::Alive, what)
    })
}

fn kept(lease: &KeptLease, gone: Gone, served: &[(usize, Period)]) -> Option<(Promise, String)> {
    let mine = served.iter().filter(|(way, _)| *way == lease.way);
    let third = lease.ttl / 3;
    let mut mine = mine.map(|(_, period)| period);
    let period = mine.find(|period| {
        // At this moment the last renewal is not older than a third of the time-to-live.
        let moment = period.to.min(gone.after);
        let from = period.from.max(lease.began);
        moment >= from + FAILOVER + third && gone.by < moment + lease.ttl - third
    })?;
    let what = format!(
        "{} went between {} and {}, and could be renewed from {} to {} ({})",
        lease.key, gone.after, gone.by, period.from, period.to, period.what
    );
    Some((Promise::Kept, what))
}

fn told(lease: &KeptLease, gone: Gone, served: &[(usize, Period)]) -> Option<(Promise, String)> {
    let said = lease.words.iter().find(|word| word.state == State::Lost);
    let said = said.map_or(u64::MAX, |word| word.at);
    let mut mine = served.iter().filter(|(way, _)| *way == lease.way);
    let (_, period) = mine.find(|(_, period)| {
        let by = period.from.max(gone.by) + FAILOVER + lease.ttl / 3;
        by < period.to.min(lease.ended) && by < said
    })?;
    let what = format!(
        "{} was gone by {}, could be asked about from {} to {} ({}), and was said to be lost at {said}",
        lease.key, gone.by, period.from, period.to, period.what
    );
    Some((Promise::Told, what))
}

fn lost(lease: &KeptLease, looks: &[Look]) -> Option<Fault> {
    let word = lease.words.iter().find(|word| word.state == State::Lost)?;
    let later = looks.iter().filter(|look| look.began > word.at);
    let mut later = later.filter(|look| look.ended <= lease.ended);
    let look = later.find(|look| look.keys.contains(&lease.key))?;
    Some(Fault {
        promise: Promise::Lost,
        what: format!(
            "{} was said to be lost at {}, and was there at {}",
            lease.key, word.at, look.began
        ),
        of_server: false,
    })
}

/// Compares with what servers say while all is well: one that was stopped or cut off answers by
/// an old clock.
fn remaining(lease: &KeptLease, left: &[Left], served: &[(usize, Period)]) -> Option<Fault> {
    let is_calm = |left: &&Left| {
        let mut calm = served.iter().map(|(_, period)| period);
        calm.any(|period| {
            period.what == Period::CALM && period.from <= left.began && left.ended <= period.to
        })
    };
    let mine = left.iter().filter(|left| left.key == lease.key);
    mine.filter(is_calm).find_map(|left| {
        let mut said = lease.words.iter().filter(|word| word.at < left.began);
        let State::Lives(until) = said.next_back()?.state else {
            return None;
        };
        let latest = left.left.map_or(0, |left| left + SECOND) + left.ended;
        (until > latest).then(|| Fault {
            promise: Promise::Left,
            what: format!(
                "{} was said to live until {until}, and the server had {:?} left at {}",
                lease.key, left.left, left.ended
            ),
            of_server: false,
        })
    })
}
