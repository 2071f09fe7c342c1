//! The end of a client in good order.

use std::collections::HashSet;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::Client;
use crate::call::{Call, Stage};
use crate::error::ErrorKind;
use crate::kv::LeaseId;
use crate::lease::Revoke;

/// How many leases are revoked at the same time.
const AT_ONCE: usize = 64;

/// What was left when a client was [closed](Client::close).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// Calls that had no answer yet. They end with [`ErrorKind::Closed`]; their outcome is unknown
    /// if they had been sent.
    pub calls: usize,
    /// Leases that were kept, and not provably revoked. They are renewed no more and run out by
    /// themselves.
    pub leases: Vec<LeaseId>,
}

impl CloseReport {
    /// Whether nothing was left.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.calls == 0 && self.leases.is_empty()
    }
}

impl Client {
    /// Ends the client in good order, on all handles, within `grace`; says what was left.
    ///
    /// 1. New calls are refused at once, with [`ErrorKind::Closed`] and the outcome
    ///    [`NotSent`](crate::Outcome::NotSent). So are calls that still wait for a connection.
    /// 2. Watches end, each with [`WatchEnd::ClientClosed`](crate::WatchEnd::ClientClosed) after
    ///    all that had come of it; the server is told.
    /// 3. Calls that were sent go on until they are answered. A call that waits for a lock is one
    ///    of them, and so is a stream (of a snapshot, say): drop them first, or they use up the
    ///    grace. Leases are renewed meanwhile.
    /// 4. The leases that the client keeps (those with a [`LeaseKeeper`](crate::LeaseKeeper)) are
    ///    revoked, and their keys with them. If there are any, the last quarter of `grace` is kept
    ///    for this. A lease without a keeper is left alone.
    /// 5. The connections are closed. Calls without an answer end, and keepers of leases that were
    ///    not revoked end with [`LeaseEnd::ClientClosed`](crate::lease::LeaseEnd::ClientClosed).
    ///
    /// With a grace of zero only the first two steps and the last are taken. To close it again does the
    /// same for what is left, and nothing if all is done.
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
    /// Nothing happens before the first poll. When it is dropped later, new calls stay refused,
    /// those under way go on, and leases go on being renewed, those apart that were revoked by
    /// then. The connections then close when the last handle and the last call are gone; closing it
    /// again takes up where this one was left.
    pub async fn close(&self, grace: Duration) -> CloseReport {
        let core = &self.scope.core;
        core.closing.advance(Stage::Draining);
        core.transport.close();
        self.watches.close();
        let start = Instant::now();
        // A grace beyond what a clock can tell has no end.
        let end = |grace| start.checked_add(grace);
        let for_calls = match self.leases.kept().await.is_empty() {
            true => grace,
            false => grace.mul_f64(0.75),
        };
        match end(for_calls) {
            // Nothing to wait for is no reason to look at the clock.
            _ if core.closing.under_way() == 0 => {}
            Some(end) => drop(timeout_at(end, core.closing.drained()).await),
            None => core.closing.drained().await,
        }
        let leases = match end(grace) {
            Some(end) => self.revoke_kept(end - Instant::now().min(end)).await,
            None => self.revoke_kept(Duration::MAX).await,
        };
        let calls = core.closing.under_way();
        core.closing.advance(Stage::Over);
        core.transport.shut(calls > 0);
        CloseReport { calls, leases }
    }

    /// Revokes the leases that are kept; gives those that may still be there.
    async fn revoke_kept(&self, grace: Duration) -> Vec<LeaseId> {
        let mut waiting = self.leases.kept().await;
        if grace.is_zero() || waiting.is_empty() {
            return waiting;
        }
        let mut left: HashSet<LeaseId> = waiting.iter().copied().collect();
        let mut scope = self.scope.clone();
        scope.parting = true;
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
                // None of them panics, and nobody but us ends them.
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
        // What is not done by then is given up with the set.
        let _ = timeout(grace, all).await;
        // Its answer comes after all keepers were told.
        let _ = self.leases.kept().await;
        left.into_iter().collect()
    }
}
