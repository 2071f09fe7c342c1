//! Waiting with a deadline.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Waits until the condition holds.
///
/// # Panics
///
/// After ten seconds, with `what` in the message.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !condition() {
            assert!(
                Instant::now() < deadline,
                "{caller}: waited for ten seconds: {what}"
            );
            sleep(Duration::from_millis(2)).await;
        }
    }
}
