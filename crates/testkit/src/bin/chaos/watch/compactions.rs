//! Compactions of the history.

use std::io;
use std::time::Duration;

use etcdex::Client;
use tokio::time::Instant;

use super::reference::Reference;
use crate::faults::{FaultState, between};

/// Time without faults of lasting ways before a series of compactions, so that their watches are
/// connected and have got progress.
const CALM: Duration = Duration::from_secs(4);
const STORM: Duration = Duration::from_secs(2);
/// Time without faults of lasting ways after the series, so that idle watches get progress before
/// the next fault.
const LULL: Duration = Duration::from_secs(4);

/// Requests the compactions.
pub(super) struct Compactor {
    pub(super) state: FaultState,
    pub(super) client: Client,
    pub(super) reference: Reference,
    pub(super) random: fastrand::Rng,
}

impl Compactor {
    /// Compacts to nearly the latest revision every 100 to 200 ms, as etcd's own tests do.
    pub(super) async fn always(mut self) -> io::Result<()> {
        loop {
            let pause = between(&mut self.random, 100, 200);
            if !self.state.pause(pause).await {
                return Ok(());
            }
            self.compact().await;
        }
    }

    pub(super) async fn now_and_then(mut self) -> io::Result<()> {
        loop {
            let pause = between(&mut self.random, 10_000, 20_000);
            let mut goes_on = self.state.pause(pause).await;
            self.state.set_calm(true);
            goes_on &= self.state.pause(CALM).await;
            let end = Instant::now() + STORM;
            while goes_on && Instant::now() < end {
                self.compact().await;
                let pause = between(&mut self.random, 100, 200);
                goes_on = self.state.pause(pause).await;
            }
            goes_on = goes_on && self.state.pause(LULL).await;
            self.state.set_calm(false);
            if !goes_on {
                return Ok(());
            }
        }
    }

    async fn compact(&mut self) {
        let revision = self.reference.settled() - self.random.i64(0..20);
        if revision < 2 {
            return;
        }
        // ORDER: recorded before the request, as the compaction may happen for any answer.
        self.reference.compact(revision);
        if self.client.compact(revision).await.is_ok() {
            self.state.note("compaction", format!("to {revision}"));
        }
    }
}
