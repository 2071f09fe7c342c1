//! The rate limit of a proxy.

use std::time::Duration;

use tokio::time::Instant;

/// The bytes of this time are delivered at once.
const GRAIN: Duration = Duration::from_millis(10);

/// Spaces deliveries so that a rate is kept.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// When the delivered bytes have used up their time.
    free: Option<Instant>,
}

impl Meter {
    /// Returns how many bytes may be delivered now, at least one; or when to ask again.
    pub(super) fn allows(&self, rate: u64, now: Instant) -> Result<usize, Instant> {
        match self.free {
            Some(free) if free > now => Err(free),
            _ => {
                let grain = u128::from(rate) * GRAIN.as_micros() / 1_000_000;
                Ok(usize::try_from(grain.max(1)).unwrap_or(usize::MAX))
            }
        }
    }

    pub(super) fn delivered(&mut self, count: usize, rate: u64, now: Instant) {
        let time = Duration::from_secs_f64(count as f64 / rate as f64);
        let from = self.free.map_or(now, |free| free.max(now));
        self.free = Some(from + time);
    }
}
