//! PURE: how long callers went without an answer that they could have had.

/// A time in which nothing was done to servers and connections, and a quorum and a way to it
/// were there. Times are microseconds since the start of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Period {
    /// When the last fault before it was done or undone.
    pub from: u64,
    /// When the next one was.
    pub to: u64,
    /// What went on meanwhile, in words.
    pub what: String,
}

impl Period {
    /// What goes on when there is no fault at all.
    pub const CALM: &'static str = "no fault";
}

/// Returns the longest time within the period without one of these answers, and when it began.
/// `answers` are in order.
pub fn longest_gap(period: &Period, answers: &[u64]) -> (u64, u64) {
    let first = answers.partition_point(|at| *at < period.from);
    let after = answers.partition_point(|at| *at <= period.to);
    let within = answers.get(first..after).unwrap_or_default();
    let mut longest = (0, period.from);
    let mut last = period.from;
    for at in within.iter().chain([&period.to]) {
        longest = longest.max((at.saturating_sub(last), last));
        last = *at;
    }
    longest
}
