//! The time of a run.

use std::time::Instant;

/// Counts microseconds from the start of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> u64 {
        self.at(Instant::now())
    }

    pub(crate) fn at(self, instant: Instant) -> u64 {
        let since = instant.saturating_duration_since(self.0);
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }
}
