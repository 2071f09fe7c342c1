//! Checks a run of calls, and prints the summary.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::Duration;

use etcdex_testkit::calls::{Answer, Breach, Call, Period, Rule, check, longest_gap};

use super::Played;
use crate::setup::CLIENTS;

/// How long the callers of a client may go without a successful answer while the client can reach a
/// quorum and no fault begins or ends. The client guarantees 5 s after a member dies, stops or is
/// cut off. The rest is for the servers (an election, and its repetition when votes are split, each
/// within twice the election time-out of 1 s) and for a busy machine.
pub(crate) const BOUND: Duration = Duration::from_secs(10);
/// Number of breaches of a rule that are printed in full.
const PRINTED: usize = 3;

/// The result of the checkers.
pub(super) struct Report<'a> {
    played: &'a Played,
    breaches: Vec<Breach>,
    /// All calls; `breaches` has indices of this list.
    calls: Vec<&'a Call>,
    /// The longest gap of each client.
    gaps: Vec<Gap<'a>>,
    /// Every gap over the bound.
    late: Vec<Gap<'a>>,
}

/// A time without a successful answer.
#[derive(Clone)]
struct Gap<'a> {
    client: &'a str,
    micros: u64,
    from: u64,
    what: &'a str,
}

impl<'a> Report<'a> {
    pub(super) fn of(played: &'a Played) -> Self {
        let all: Vec<Call> = played.calls.iter().flatten().cloned().collect();
        let mut gaps = Vec::new();
        let mut late = Vec::new();
        for (number, (client, _)) in CLIENTS.into_iter().enumerate() {
            let good = played.calls[number].iter().filter(|call| call.is_good());
            let mut answers: Vec<u64> = good.map(|call| call.ended).collect();
            answers.sort_unstable();
            let mine = played.periods.iter().filter(|(way, _)| *way == number);
            let mut mine: Vec<Gap<'_>> = mine.map(|(_, one)| gap(client, one, &answers)).collect();
            mine.sort_by_key(|gap| std::cmp::Reverse(gap.micros));
            let bound = u64::try_from(BOUND.as_micros()).unwrap_or(u64::MAX);
            late.extend(mine.iter().filter(|gap| gap.micros > bound).cloned());
            gaps.extend(mine.into_iter().next());
        }
        Self {
            played,
            breaches: check(&played.history, &all),
            calls: played.calls.iter().flatten().collect(),
            gaps,
            late,
        }
    }

    pub(super) fn is_kept(&self) -> bool {
        self.breaches.is_empty() && self.late.is_empty()
    }
}

fn gap<'a>(client: &'a str, period: &'a Period, answers: &[u64]) -> Gap<'a> {
    let (micros, from) = longest_gap(period, answers);
    Gap {
        client,
        micros,
        from,
        what: &period.what,
    }
}

impl fmt::Display for Gap<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {:.3} s from {:.3} s on ({})",
            self.client,
            self.micros as f64 / 1e6,
            self.from as f64 / 1e6,
            self.what
        )
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told: BTreeMap<Rule, usize> = BTreeMap::new();
        for breach in &self.breaches {
            let count = told.entry(breach.rule).or_default();
            *count += 1;
            if *count <= PRINTED {
                writeln!(f, "violation: {breach}")?;
                if let Some(place) = breach.call {
                    writeln!(f, "  {:?}", self.calls[place])?;
                }
            }
        }
        for gap in &self.late {
            writeln!(f, "violation: Available: no good answer: {gap}")?;
        }
        write!(f, "{}", faults(self.played))?;
        let events = self.played.history.events().len();
        let revision = self.played.history.revision();
        writeln!(f, "  history: {revision} revisions, {events} changes")?;
        for ((client, _), calls) in CLIENTS.into_iter().zip(&self.played.calls) {
            writeln!(f, "  {client}: {}", counts(calls))?;
        }
        writeln!(f, "  longest time without a good answer:")?;
        for gap in &self.gaps {
            writeln!(f, "    {gap}")?;
        }
        write!(f, "  violations: {}", self.breaches.len() + self.late.len())?;
        let mut kinds: Vec<String> = told
            .iter()
            .map(|(rule, count)| format!("{count} {rule}"))
            .collect();
        if !self.late.is_empty() {
            kinds.push(format!("{} Available", self.late.len()));
        }
        if !kinds.is_empty() {
            write!(f, " ({})", kinds.join(", "))?;
        }
        Ok(())
    }
}

fn faults(played: &Played) -> String {
    crate::faults::summary(&played.incidents)
}

/// Returns the numbers of answers and errors of a client's calls.
fn counts(calls: &[Call]) -> String {
    let mut failed: BTreeMap<String, usize> = BTreeMap::new();
    for call in calls {
        if let Answer::Failed { effect, error } = &call.answer {
            let kind = error.split(':').next().unwrap_or_default();
            *failed.entry(format!("{kind} {effect:?}")).or_default() += 1;
        }
    }
    let longest = calls.iter().map(|call| call.ended - call.began).max();
    let good = calls.len() - failed.values().sum::<usize>();
    let mut text = format!(
        "{} calls, {good} answered, longest {:.3} s; failed:",
        calls.len(),
        longest.unwrap_or(0) as f64 / 1e6
    );
    for (kind, count) in failed {
        let _ = write!(text, " {count} {kind},");
    }
    text.trim_end_matches([',', ':']).to_owned()
}
