//! PURE: how long to wait before the next attempt.

use std::time::Duration;

/// Pauses that double from the first one up to a cap, each shortened by a random part of its second
/// half.
///
/// Without the random part (jitter), clients that have failed at the same moment would try again at
/// the same moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    cap: Duration,
    /// Number of pauses since the last reset.
    failures: u32,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, cap: Duration) -> Self {
        Self::after(0, first, cap)
    }

    /// Returns a back-off after `failures` pauses.
    pub(crate) const fn after(failures: u32, first: Duration, cap: Duration) -> Self {
        Self {
            first,
            cap,
            failures,
        }
    }

    /// Returns the next pause. `random` is from 0 (half of the pause) to 1 (all of it); it is an
    /// argument, so that tests control it.
    pub(crate) fn next(&mut self, random: f64) -> Duration {
        // The shift cannot overflow, and a cap of a million times the first pause is not in use.
        let doubled = self.first.saturating_mul(1 << self.failures.min(20));
        self.failures = self.failures.saturating_add(1);
        doubled
            .min(self.cap)
            .mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }

    /// Whether there was no pause since the last success.
    pub(crate) fn is_reset(&self) -> bool {
        self.failures == 0
    }

    /// Starts again with the first pause, after a success.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(10);

    #[test]
    fn pauses_double_from_the_first_to_the_cap() {
        let mut backoff = Backoff::new(FIRST, Duration::from_secs(1));
        let pauses: Vec<_> = (0..10).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000]);
        assert_eq!(backoff.next(0.0).as_millis(), 500);
        backoff.reset();
        assert_eq!(backoff.next(0.0).as_millis(), 5);
    }

    #[test]
    fn a_number_of_failures_gives_the_pause_after_them() {
        let pause = |failures| Backoff::after(failures, FIRST, Duration::from_secs(1)).next(1.0);
        assert_eq!(pause(3).as_millis(), 80);
        assert_eq!(pause(u32::MAX).as_millis(), 1000);
    }

    #[test]
    fn jitter_takes_off_at_most_half() {
        for random in [-1.0, 0.0, 0.3, 1.0, 2.0] {
            let pause = Backoff::new(FIRST, FIRST).next(random);
            assert!(pause >= FIRST / 2 && pause <= FIRST, "{random}: {pause:?}");
        }
    }

    #[test]
    fn pauses_never_overflow() {
        let mut backoff = Backoff::after(u32::MAX, FIRST, Duration::MAX);
        assert!(backoff.next(1.0) > Duration::from_secs(3600));
    }
}
