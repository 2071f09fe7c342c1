//! The clock of a server, which a test can turn forward.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::node::Node;

/// How far the clock can be turned forward. A lease that is granted then still has an expiry.
const MOST_AHEAD: u64 = u64::MAX / 2;

/// The time of a server since its start.
#[derive(Debug)]
pub(crate) struct Time {
    started: Instant,
    /// Nanoseconds by which the clock was turned forward.
    ahead: AtomicU64,
    /// Told of each turn.
    turned: Notify,
}

impl Default for Time {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            ahead: AtomicU64::new(0),
            turned: Notify::new(),
        }
    }
}

impl Time {
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed() + Duration::from_nanos(self.ahead.load(Relaxed))
    }

    /// Waits for a time.
    pub(crate) async fn sleep_until(&self, until: Duration) {
        loop {
            let turned = self.turned.notified();
            let left = until.saturating_sub(self.now());
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = turned => {}
                () = tokio::time::sleep(left) => {}
            }
        }
    }

    fn turn(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(MOST_AHEAD);
        let turn = |ahead: u64| Some(ahead.saturating_add(by).min(MOST_AHEAD));
        // The function returns a value in every case, so the update does not fail.
        let _ = self.ahead.fetch_update(Relaxed, Relaxed, turn);
        self.turned.notify_waiters();
    }
}

/// The clock of a server: [`Server::clock`](crate::Server::clock).
///
/// It runs with the time of the system, and a test can turn it forward. Leases and progress
/// notifications go by it. The clock of tokio is another one: a test that has
/// stopped it does not stop the server.
#[derive(Clone)]
pub struct Clock {
    node: Arc<Node>,
}

impl Clock {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    /// Turns the clock forward, by up to 292 years in all.
    ///
    /// Leases that expire by this have ended when it returns, with their keys. A client's keeper of
    /// such a lease is told by its next renewal.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// let server = etcdex_server::Server::builder().start().await?;
    /// let client = etcdex::Client::connect(server.client_url()).await?;
    /// let lease = client.grant(Duration::from_secs(60)).await?.id;
    /// client.put("session", "open").lease(lease).await?;
    /// server.clock().advance(Duration::from_secs(60));
    /// assert_eq!(client.get("session").await?.count, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn advance(&self, by: Duration) {
        self.node.time().turn(by);
        self.node.store().expire(self.node.now());
    }

    /// Returns the time since the start of the server.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.node.now()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("now", &self.now()).finish()
    }
}
