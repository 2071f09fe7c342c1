//! PURE: how long to wait before the next attempt to connect.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(10);

/// Pauses that double from 10 ms up to a cap, each cut by a random part of its second half.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    failures: u32,
    cap: Duration,
}

impl Backoff {
    pub(crate) fn new(cap: Duration) -> Self {
        Self { failures: 0, cap }
    }

    /// The next pause; `random` is from 0 to 1 and comes from outside, so that tests own it.
    pub(crate) fn next(&mut self, random: f64) -> Duration {
        // 2^20 x 10 ms is beyond every cap that makes sense; the shift cannot overflow.
        let doubled = FIRST.saturating_mul(1 << self.failures.min(20));
        self.failures = self.failures.saturating_add(1);
        doubled
            .min(self.cap)
            .mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_from_10_ms_to_the_cap() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        let pauses: Vec<_> = (0..10).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000]);
        assert_eq!(backoff.next(0.0).as_millis(), 500);
        backoff.reset();
        assert_eq!(backoff.next(0.0).as_millis(), 5);
    }

    #[test]
    fn it_never_overflows() {
        let mut backoff = Backoff::new(Duration::MAX);
        backoff.failures = u32::MAX;
        assert!(backoff.next(1.0) > Duration::from_secs(3600));
    }
}
