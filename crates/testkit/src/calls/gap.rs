//! PURE: the longest time of callers without an answer, in periods in which an answer was possible.

use serde::{Deserialize, Serialize};

/// A time without a change of faults, in which a client could reach a quorum. Times are
/// microseconds since the start of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    /// When the last fault before it began or ended.
    pub from: u64,
    /// When the next fault begins or ends.
    pub to: u64,
    /// A description of the faults that went on meanwhile.
    pub what: String,
}

impl Period {
    /// The description of a time without faults.
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
