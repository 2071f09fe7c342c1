//! Checks a run of leases and locks, and prints the summary.

use std::collections::BTreeMap;
use std::fmt;

use etcdex_testkit::Version;
use etcdex_testkit::calls::Period;
use etcdex_testkit::leases::{
    Deposed, Fault, Grants, Leases, Promise, State, Turns, check_leases, check_locks, check_turns,
};

use super::Played;

/// Number of broken promises of a kind that are printed in full.
const PRINTED: usize = 3;

/// The result of the checkers.
pub(super) struct Report<'a> {
    played: &'a Played,
    faults: Vec<Fault>,
}

impl<'a> Report<'a> {
    pub(super) fn of(played: &'a Played, version: Version) -> Self {
        let deposed = Deposed::new(&played.revocations, &played.leaderships);
        let mut faults = check_leases(Leases {
            leases: &played.leases,
            looks: &played.looks,
            left: &played.left,
            served: &played.periods,
            deposed: &deposed,
        });
        let grants = Grants {
            grants: &played.grants,
            gives_lost_locks: !version.is_at_least(3, 5),
            deposed: &deposed,
        };
        faults.extend(check_locks(&played.history, grants));
        faults.extend(check_turns(Turns {
            turns: &played.turns,
            queues: &played.queues,
            replies: &played.replies,
            looks: &played.looks,
            calm: calm(&played.periods),
            // Without users no token can expire: no lock is lost then, and the queues show none.
            loses_waiting_locks: version.repeats_refused_watches(),
        }));
        Self { played, faults }
    }

    pub(super) fn is_kept(&self) -> bool {
        self.faults.iter().all(|fault| fault.excuse.is_some())
    }
}

/// Returns when all faults had ended: the end of the last period without faults.
fn calm(periods: &[(usize, Period)]) -> u64 {
    let calm = periods.iter().filter(|(_, one)| one.what == Period::CALM);
    calm.map(|(_, one)| one.to).max().unwrap_or(0)
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told: BTreeMap<(bool, Promise), usize> = BTreeMap::new();
        for fault in &self.faults {
            let excused = fault.excuse.is_some();
            let count = told.entry((excused, fault.promise)).or_default();
            *count += 1;
            if *count <= PRINTED {
                let of = if excused { " of a server" } else { "" };
                writeln!(f, "violation{of}: {fault}")?;
            }
        }
        let played = self.played;
        write!(f, "{}", crate::faults::summary(&played.incidents))?;
        let lost = |state| move |word: &etcdex_testkit::leases::Word| word.state == state;
        let leases = played.leases.iter();
        let gone = leases
            .clone()
            .filter(|one| one.words.iter().any(lost(State::Lost)));
        let doubts = leases.map(|one| {
            one.words
                .iter()
                .filter(|word| lost(State::Unknown)(word))
                .count()
        });
        writeln!(
            f,
            "  leases: {} kept, {} lost, {} times in doubt; {} looks at the store, {} times-to-live",
            played.leases.len(),
            gone.count(),
            doubts.sum::<usize>(),
            played.looks.len(),
            played.left.len()
        )?;
        let fenced = played.grants.iter().filter(|grant| grant.fenced.is_some());
        writeln!(
            f,
            "  locks: {} granted, {} of them with a write, {} times not",
            played.grants.len(),
            fenced.count(),
            played.failures.len()
        )?;
        let mut failures: BTreeMap<&str, usize> = BTreeMap::new();
        for failure in &played.failures {
            *failures.entry(failure).or_default() += 1;
        }
        for (failure, count) in failures {
            writeln!(f, "    {count:>6} {failure}")?;
        }
        let count = |of_server| {
            let kinds = told.iter().filter(|((server, _), _)| *server == of_server);
            let kinds: Vec<String> = kinds
                .map(|((_, promise), count)| format!("{count} {promise:?}"))
                .collect();
            if kinds.is_empty() {
                "0".to_owned()
            } else {
                kinds.join(", ")
            }
        };
        writeln!(f, "  the servers' own: {}", count(true))?;
        write!(f, "  violations: {}", count(false))
    }
}
