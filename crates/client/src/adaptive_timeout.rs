//! PURE: how long a stream waits for an answer before it is replaced.
//!
//! A stream that is abandoned too early never gets an answer from a slow server: the next stream
//! sends the same request, and is abandoned as early. So the wait grows with each stream that got
//! no answer, and it is never shorter than twice the time of the slowest recent answer.

use std::time::Duration;

/// How long the streams of one driver wait for an answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AdaptiveTimeout {
    /// Number of consecutive streams that were abandoned because no answer came.
    silences: u32,
    /// The longest time that an answer has taken; each quicker answer reduces it by an eighth.
    slowest: Duration,
}

impl AdaptiveTimeout {
    /// Returns how long an answer may take.
    ///
    /// `first` is the limit of a stream whose server has not answered before. Each stream without
    /// an answer doubles the limit, up to `longest`. Twice the time of the slowest recent answer is
    /// always allowed, also beyond both limits.
    pub(crate) fn limit(&self, first: Duration, longest: Duration) -> Duration {
        let doubled = first.saturating_mul(1 << self.silences.min(16));
        let grown = doubled.min(longest.max(first));
        grown.max(self.slowest.saturating_mul(2))
    }

    /// Number of consecutive streams without an answer.
    pub(crate) fn silences(&self) -> u32 {
        self.silences
    }

    /// The longest time that an answer has taken lately.
    pub(crate) fn slowest(&self) -> Duration {
        self.slowest
    }

    /// Records an answer that came `taken` after its request.
    pub(crate) fn answered(&mut self, taken: Duration) {
        self.silences = 0;
        self.slowest = taken.max(self.slowest - self.slowest / 8);
    }

    /// Records a stream that was abandoned because no answer came.
    pub(crate) fn silent(&mut self) {
        self.silences = self.silences.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(10);

    fn limit(answer_timeout: &AdaptiveTimeout) -> u128 {
        answer_timeout.limit(FIRST, LONGEST).as_millis()
    }

    #[test]
    fn each_silence_doubles_the_wait_up_to_the_longest() {
        let mut answer_timeout = AdaptiveTimeout::default();
        let mut seen = Vec::new();
        for _ in 0..7 {
            seen.push(limit(&answer_timeout));
            answer_timeout.silent();
        }
        assert_eq!(seen, [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
    }

    #[test]
    fn an_answer_ends_the_growth_and_its_own_time_stays_the_least() {
        let mut answer_timeout = AdaptiveTimeout::default();
        (0..3).for_each(|_| answer_timeout.silent());
        answer_timeout.answered(Duration::from_millis(100));
        assert_eq!(limit(&answer_timeout), 500);
        answer_timeout.answered(Duration::from_millis(1_800));
        assert_eq!(limit(&answer_timeout), 3_600);
    }

    #[test]
    fn a_slow_answer_counts_above_the_longest_wait_and_fades() {
        let mut answer_timeout = AdaptiveTimeout::default();
        answer_timeout.answered(Duration::from_secs(8));
        assert_eq!(limit(&answer_timeout), 16_000);
        (0..40).for_each(|_| answer_timeout.answered(Duration::from_millis(1)));
        assert_eq!(limit(&answer_timeout), 500);
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        let mut answer_timeout = AdaptiveTimeout::default();
        (0..100).for_each(|_| answer_timeout.silent());
        assert_eq!(answer_timeout.limit(Duration::MAX, LONGEST), Duration::MAX);
        answer_timeout.answered(Duration::MAX);
        assert_eq!(answer_timeout.limit(FIRST, LONGEST), Duration::MAX);
    }
}
