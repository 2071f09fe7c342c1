//! `Client::close`: the orderly end of a client.

use std::collections::HashSet;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::Client;
use crate::call::{Call, ShutdownStage};
use crate::error::ErrorKind;
use crate::kv::LeaseId;
use crate::lease::Revoke;

/// Maximum number of revocations at the same time.
const AT_ONCE: usize = 64;

/// The calls and leases that were left when a client was [closed](Client::close).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// Number of calls without an answer. They end with [`ErrorKind::Closed`]; their outcome is
    /// unknown if they had been sent.
    pub calls: usize,
    /// The kept leases that were not provably revoked. The client renews them no more, and the
    /// server deletes them when their time-to-live is over.
    pub leases: Vec<LeaseId>,
}

impl CloseReport {
    /// Returns whether neither a call nor a lease was left.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.calls == 0 && self.leases.is_empty()
    }
}

impl Client {
    /// Ends the client in good order, on all handles, within `grace`. Returns what was left.
    ///
    /// 1. New calls are refused at once, with [`ErrorKind::Closed`] and the outcome
    ///    [`NotSent`](crate::Outcome::NotSent), and so are calls that still wait for a connection.
    /// 2. Watches end, each with [`WatchEnd::ClientClosed`](crate::WatchEnd::ClientClosed) after
    ///    all events that had arrived; the client cancels the watches at the server.
    /// 3. Calls that were sent continue until they are answered. They include a call that waits for
    ///    a lock and a stream (of a snapshot, for example): drop these first, or they use up the
    ///    grace. The client renews leases meanwhile.
    /// 4. The leases that the client keeps (those with a [`LeaseKeeper`](crate::LeaseKeeper)) are
    ///    revoked, and the server deletes their keys. If there are any, the last quarter of `grace`
    ///    is kept for this. A lease without a keeper is left alone.
    /// 5. The connections are closed. Calls without an answer end, and keepers of leases that were
    ///    not revoked end with [`LeaseEnd::ClientClosed`](crate::lease::LeaseEnd::ClientClosed).
    ///
    /// With a grace of zero, only the first two steps and the last are taken. A second `close` does
    /// the same for everything that is left, and nothing if nothing is left.
    ///
    /// ```no_run
    /// # async fn example(client: etcdex::Client) {
    /// use std::time::Duration;
    ///
    /// let left = client.close(Duration::from_secs(5)).await;
    /// if !left.is_clean() {
    ///     eprintln!("{} calls and {} leases were left", left.calls, left.leases.len());
    /// }
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// Nothing happens before the first poll. When the future is dropped later, new calls stay
    /// refused, calls in progress continue, and the client keeps renewing the leases that were not
    /// revoked by then. The connections close when the last handle and the last call are gone. A
    /// second `close` continues the first.
    pub async fn close(&self, grace: Duration) -> CloseReport {
        let core = &self.scope.core;
        core.shutdown.advance(ShutdownStage::Draining);
        core.pool.close();
        self.watches.close();
        let start = Instant::now();
        // A grace that ends later than the clock can represent has no end.
        let end = |grace| start.checked_add(grace);
        let for_calls = match self.leases.kept().await.is_empty() {
            true => grace,
            false => grace.mul_f64(0.75),
        };
        match end(for_calls) {
            // With no call in progress, the clock is not read.
            _ if core.shutdown.calls() == 0 => {}
            Some(end) => drop(timeout_at(end, core.shutdown.drained()).await),
            None => core.shutdown.drained().await,
        }
        let leases = match end(grace) {
            Some(end) => self.revoke_kept(end - Instant::now().min(end)).await,
            None => self.revoke_kept(Duration::MAX).await,
        };
        let calls = core.shutdown.calls();
        core.shutdown.advance(ShutdownStage::Over);
        core.pool.disconnect(calls > 0);
        CloseReport { calls, leases }
    }

    /// Revokes the kept leases. Returns the leases that may still exist.
    async fn revoke_kept(&self, grace: Duration) -> Vec<LeaseId> {
        let mut waiting = self.leases.kept().await;
        if grace.is_zero() || waiting.is_empty() {
            return waiting;
        }
        let mut left: HashSet<LeaseId> = waiting.iter().copied().collect();
        let mut scope = self.scope.clone();
        scope.during_shutdown = true;
        scope.member = None;
        let mut revoking = JoinSet::new();
        let all = async {
            loop {
                while revoking.len() < AT_ONCE {
                    let Some(id) = waiting.pop() else { break };
                    let call = Call::new(&scope, Revoke::new(id));
                    revoking.spawn(async move { (id, call.await) });
                }
                let Some(ended) = revoking.join_next().await else {
                    return;
                };
                // INVARIANT: the tasks do not panic, and only `revoking` aborts them, so each one
                // joins.
                let Ok((id, reply)) = ended else { continue };
                let gone = match reply {
                    Ok(_) => true,
                    Err(error) => error.kind() == ErrorKind::LeaseNotFound,
                };
                if gone {
                    left.remove(&id);
                }
            }
        };
        // The time-out drops the set, which aborts the revocations that are not done.
        let _ = timeout(grace, all).await;
        // The answer to this question comes after the driver of leases has told all keepers.
        let _ = self.leases.kept().await;
        left.into_iter().collect()
    }
}
