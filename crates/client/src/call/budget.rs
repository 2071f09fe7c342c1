//! PURE: the retry budget of a client.

use std::sync::atomic::{AtomicU32, Ordering};

/// Capacity of the bucket, in tenths of a retry.
const FULL: u32 = 10_000;
const COST: u32 = 10;

/// A token bucket for the whole client: each retry takes a token, and ten good replies return one.
/// It limits the load of retries on overloaded servers.
///
/// The bucket starts full, with a thousand tokens.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    tenths: AtomicU32,
}

impl RetryBudget {
    pub(crate) const fn new() -> Self {
        Self {
            tenths: AtomicU32::new(FULL),
        }
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&self) -> bool {
        self.tenths
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tenths| {
                tenths.checked_sub(COST)
            })
            .is_ok()
    }

    /// Returns a tenth of a token after a good reply. With a full bucket, the usual case, nothing
    /// is written.
    pub(crate) fn earn(&self) {
        if self.tenths.load(Ordering::Relaxed) < FULL {
            let _ = self
                .tenths
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tenths| {
                    (tenths < FULL).then_some(tenths + 1)
                });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_dry_up_and_come_back_with_good_replies() {
        let budget = RetryBudget::new();
        assert_eq!((0..2000).filter(|_| budget.take()).count(), 1000);
        (0..9).for_each(|_| budget.earn());
        assert!(!budget.take());
        budget.earn();
        assert!(budget.take() && !budget.take());
        (0..20_000).for_each(|_| budget.earn());
        assert_eq!((0..2000).filter(|_| budget.take()).count(), 1000);
    }
}
