//! PURE: compares the states of keepers with the life of their leases.

use super::{Deposed, Fault, KeptLease, Left, Look, Promise, State};
use crate::calls::Period;

/// How long a client may take to find another member after a fault, as for calls.
const FAILOVER: u64 = 10_000_000;
/// The precision of the remaining time, which servers report in whole seconds.
const SECOND: u64 = 1_000_000;

/// The bounds of the end of a lease.
#[derive(Clone, Copy, Debug)]
struct Gone {
    /// The begin of the last read with the key.
    after: u64,
    /// The end of the first read without the key.
    by: u64,
}

/// The leases of a run, and facts about the servers.
#[derive(Clone, Copy, Debug)]
pub struct Leases<'a> {
    /// All kept leases.
    pub leases: &'a [KeptLease],
    /// All looks, in order.
    pub looks: &'a [Look],
    /// The times-to-live that servers reported.
    pub left: &'a [Left],
    /// The times in which each way led to a quorum.
    pub served: &'a [(usize, Period)],
    /// Leases that a deposed leader has revoked. The revocation explains an early end of the lease.
    /// It explains neither a keeper that does not report the end, nor one that reports it while the
    /// lease lives.
    pub deposed: &'a Deposed,
}

/// Returns each promise that was broken for these leases.
pub fn check_leases(run: Leases<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for lease in run.leases {
        let gone = gone(lease, run.looks);
        let proof = proof(lease, gone, run);
        let excused = |(promise, what)| Fault {
            promise,
            what,
            excuse: proof.clone(),
        };
        faults.extend(gone.and_then(|gone| alive(lease, gone)).map(excused));
        faults.extend(
            gone.and_then(|gone| kept(lease, gone, run.served))
                .map(excused),
        );
        faults.extend(gone.and_then(|gone| told(lease, gone, run.served)));
        faults.extend(lost(lease, run.looks));
        faults.extend(remaining(lease, run.left, run.served, proof.as_deref()));
    }
    faults
}

/// Returns the proof that a leader has revoked a lease by an old clock.
fn proof(lease: &KeptLease, gone: Option<Gone>, run: Leases<'_>) -> Option<String> {
    let deposed = run.deposed;
    let proof = deposed.proof(&lease.key).map(str::to_owned);
    proof.or_else(|| deposed.early(&lease.key, lease.ttl, gone?.by, run.looks))
}

/// Returns when a lease ended, if it ended while it was kept.
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

fn alive(lease: &KeptLease, gone: Gone) -> Option<(Promise, String)> {
    let until = lease.words.iter().filter_map(|word| match word.state {
        State::Lives(until) => Some((until, word.at)),
        State::Unknown | State::Lost => None,
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
        // At this moment the last renewal is at most a third of the time-to-live old.
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

fn told(lease: &KeptLease, gone: Gone, served: &[(usize, Period)]) -> Option<Fault> {
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
    Some(Fault {
        promise: Promise::Told,
        what,
        excuse: None,
    })
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
        excuse: None,
    })
}

/// Compares with the remaining times that servers report without faults: a server that was stopped
/// or cut off answers by an old clock.
///
/// `proof` explains a server without the lease, and not one with too little time for it.
fn remaining(
    lease: &KeptLease,
    left: &[Left],
    served: &[(usize, Period)],
    proof: Option<&str>,
) -> Option<Fault> {
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
            excuse: proof.filter(|_| left.left.is_none()).map(str::to_owned),
        })
    })
}
