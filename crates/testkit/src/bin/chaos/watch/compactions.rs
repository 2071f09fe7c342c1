//! What is done to the history.

use std::io;
use std::time::Duration;

use etcdex::Client;
use tokio::time::Instant;

use super::chronicle::Chronicle;
use crate::faults::{Desk, between};

/// How long watches are left alone before a storm of compactions, so that those of lasting
/// ways are connected and have heard how far the store is.
const CALM: Duration = Duration::from_secs(4);
const STORM: Duration = Duration::from_secs(2);
/// How long they are left alone after it: idle ones are to hear of it before the next fault.
const LULL: Duration = Duration::from_secs(4);

/// Compactions.
pub(super) struct Compactor {
    pub(super) desk: Desk,
    pub(super) client: Client,
    pub(super) chronicle: Chronicle,
    pub(super) random: fastrand::Rng,
}

impl Compactor {
    /// As etcd's own tests do it: every 100 to 200 ms, to nearly the present.
    pub(super) async fn always(mut self) -> io::Result<()> {
        loop {
            let pause = between(&mut self.random, 100, 200);
            if !self.desk.pause(pause).await {
                return Ok(());
            }
            self.compact().await;
        }
    }

    pub(super) async fn now_and_then(mut self) -> io::Result<()> {
        loop {
            let pause = between(&mut self.random, 10_000, 20_000);
            let mut goes_on = self.desk.pause(pause).await;
            self.desk.set_calm(true);
            goes_on &= self.desk.pause(CALM).await;
            let end = Instant::now() + STORM;
            while goes_on && Instant::now() < end {
                self.compact().await;
                let pause = between(&mut self.random, 100, 200);
                goes_on = self.desk.pause(pause).await;
            }
            goes_on = goes_on && self.desk.pause(LULL).await;
            self.desk.set_calm(false);
            if !goes_on {
                return Ok(());
            }
        }
    }

    async fn compact(&mut self) {
        let revision = self.chronicle.settled() - self.random.i64(0..20);
        if revision < 2 {
            return;
        }
        // ORDER: noted before it is asked for, as it may have happened whatever the answer.
        self.chronicle.compact(revision);
        if self.client.compact(revision).await.is_ok() {
            self.desk.note("compaction", format!("to {revision}"));
        }
    }
}
