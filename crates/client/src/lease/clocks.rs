//! PURE: the detection of time that the monotonic clock did not count.
//!
//! On Linux and macOS, the clock behind `Instant` stands still while the machine sleeps. A server
//! counts that time and ends a lease that the client still considers alive. The wall clock goes on
//! (it is set from the hardware clock when the machine wakes), so the two clocks disagree by the
//! time of the sleep. They also disagree after the wall clock was set; the client cannot
//! distinguish the two cases, and renews the lease once more.

use std::time::{Duration, Instant};

/// Difference that is not a jump, as the two clocks are not read at the same moment.
const TOLERANCE: Duration = Duration::from_millis(500);

/// Divisor of the time between two readings: the clocks may also differ by that part of it, because
/// a time daemon may correct the wall clock by up to a twelfth (`maxslewrate` of chrony).
const SLEW: u32 = 8;

/// A reading of both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    monotonic: Instant,
    /// Time since the Unix epoch.
    wall: Duration,
}

impl Reading {
    pub(super) fn new(monotonic: Instant, wall: Duration) -> Self {
        Self { monotonic, wall }
    }

    /// Returns whether one clock has advanced further than the other until a later reading.
    ///
    /// A sleep shorter than the tolerance is not detected.
    pub(super) fn jumped(self, later: Self) -> bool {
        let monotonic = later.monotonic.saturating_duration_since(self.monotonic);
        let difference = match later.wall.checked_sub(self.wall) {
            Some(wall) => wall.abs_diff(monotonic),
            None => self.wall.abs_diff(later.wall).saturating_add(monotonic),
        };
        difference > TOLERANCE + monotonic / SLEW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Result for two readings that are this many milliseconds apart on each clock.
    fn jumped(monotonic: u64, wall: i64) -> bool {
        let start = Duration::from_secs(1_700_000_000);
        let step = Duration::from_millis(wall.unsigned_abs());
        let now = Instant::now();
        let before = Reading::new(now, start);
        let after = if wall < 0 { start - step } else { start + step };
        before.jumped(Reading::new(now + Duration::from_millis(monotonic), after))
    }

    #[test]
    fn clocks_that_go_on_together_have_not_jumped() {
        assert!(!jumped(0, 0));
        assert!(!jumped(10_000, 10_000));
        assert!(!jumped(10_000, 10_400));
        assert!(!jumped(0, -400));
    }

    #[test]
    fn a_difference_of_half_a_second_and_an_eighth_of_the_time_is_no_jump() {
        assert!(!jumped(0, 500) && !jumped(0, -500));
        assert!(jumped(0, 501) && jumped(0, -501));
        assert!(!jumped(8_000, 9_500) && !jumped(8_000, 6_500));
        assert!(jumped(8_000, 9_501) && jumped(8_000, 6_499));
    }

    #[test]
    fn a_correction_at_the_rate_of_a_time_daemon_is_no_jump() {
        assert!(!jumped(60_000, 65_000));
        assert!(!jumped(60_000, 55_000));
    }

    #[test]
    fn a_sleep_is_a_jump() {
        assert!(jumped(0, 1_000));
        assert!(jumped(10_000, 3_610_000));
    }

    #[test]
    fn a_wall_clock_that_was_set_back_is_a_jump() {
        assert!(jumped(1_000, -3_600_000));
        assert!(jumped(10_000, 2_000));
    }

    #[test]
    fn extreme_readings_do_not_overflow() {
        let now = Instant::now();
        let (first, last) = (
            Reading::new(now, Duration::ZERO),
            Reading::new(now, Duration::MAX),
        );
        assert!(first.jumped(last) && last.jumped(first));
    }
}
