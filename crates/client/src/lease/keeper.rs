//! What keeps a lease alive, as its owner sees it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::hub::{Hub, Ticket};
use super::renewal::{LeaseEnd, Standing};
use super::{Revoke, RevokeResponse};
use crate::call::{Call, Scope};
use crate::error::{Error, ErrorKind};
use crate::kv::LeaseId;
use crate::transport::now;

/// What is known of a lease that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaseState {
    /// It lives at least until then, unless somebody revokes it: a renewal sent a time-to-live
    /// before that moment was answered.
    #[non_exhaustive]
    Alive {
        /// When it would run out.
        expires: Instant,
    },
    /// Less than a third of its time-to-live is left: renewals are not answered. It goes on
    /// being renewed, elsewhere if there is another endpoint.
    #[non_exhaustive]
    AtRisk {
        /// For how long it is still known to live.
        remaining: Duration,
        /// Why: [`Timeout`](ErrorKind::Timeout) when the server does not answer,
        /// [`NoLeader`](ErrorKind::NoLeader), [`Unavailable`](ErrorKind::Unavailable) without a
        /// connection, [`Closed`](ErrorKind::Closed), or what else ended the stream.
        cause: ErrorKind,
    },
    /// It may live or not: its time is over and the server has said neither. That is also
    /// so before the first answer. It goes on being renewed: a new leader gives every lease its
    /// whole time-to-live again, so it may well come back as [`Alive`](Self::Alive).
    Doubtful,
    /// The server said that it is gone, and its keys with it. Nothing comes after that.
    Lost(LeaseEnd),
}

/// Keeps a lease alive, for as long as it exists.
///
/// [`Client::keep`](crate::Client::keep) makes it. It renews by itself, over lost connections,
/// changes of leader and dead members, at about a third of the time-to-live. It is a handle of
/// the client, as far as connections go. Several keepers of one lease renew it once.
///
/// # Dropping it
/// The lease is renewed no more, at once, and runs out by itself. [`revoke`](Self::revoke) ends
/// it right away.
///
/// ```no_run
/// # async fn work() {}
/// # async fn example(client: etcdex::Client) -> Result<(), etcdex::Error> {
/// use std::time::Duration;
///
/// let lease = client.grant(Duration::from_secs(10)).await?;
/// let keeper = client.keep(lease.id);
/// tokio::select! {
///     () = work() => { keeper.revoke().await?; }
///     end = keeper.lost() => println!("stopped: the lease was lost ({end:?})"),
/// }
/// # Ok(())
/// # }
/// ```
///
/// # What it promises
/// A state never claims more than is known: [`Alive`](LeaseState::Alive) counts from when a
/// renewal was sent, and [`Lost`](LeaseState::Lost) is only what the server has said. That the
/// two clocks run equally fast is assumed, and that no administrator restores old data.
///
/// Source: <https://etcd.io/docs/v3.6/learning/api/#keep-alives>.
#[must_use = "a keeper that is dropped keeps nothing"]
pub struct LeaseKeeper {
    scope: Scope,
    ticket: Ticket,
    state: watch::Receiver<Standing>,
}

impl LeaseKeeper {
    pub(crate) fn new(scope: &Scope, hub: &Arc<Hub>, id: LeaseId) -> Self {
        let (sender, state) = watch::channel(Standing::Doubtful);
        Self {
            scope: scope.clone(),
            ticket: hub.keep(&scope.core, id, sender),
            state,
        }
    }

    /// The lease.
    #[must_use]
    pub fn id(&self) -> LeaseId {
        self.ticket.id
    }

    /// What is known of the lease at this moment.
    #[must_use]
    pub fn state(&self) -> LeaseState {
        public(*self.state.borrow(), now())
    }

    /// Waits until the state becomes another one (`Alive` that lasts longer is the same), and
    /// gives it. After [`Lost`](LeaseState::Lost) it gives that at once.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn changed(&mut self) -> LeaseState {
        if self.state.changed().await.is_err() && !matches!(self.state(), LeaseState::Lost(_)) {
            // The runtime that renewed it has ended: nobody will ever know more.
            std::future::pending::<()>().await;
        }
        public(*self.state.borrow_and_update(), now())
    }

    /// Waits until the lease is lost. It may wait for ever.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn lost(&self) -> LeaseEnd {
        let mut state = self.state.clone();
        loop {
            if let Standing::Lost(end) = *state.borrow_and_update() {
                return end;
            }
            if state.changed().await.is_err() {
                // The runtime that renewed it has ended: nobody will ever know more.
                return std::future::pending().await;
            }
        }
    }

    /// Revokes the lease: it ends at once, and its keys are deleted.
    ///
    /// # Errors
    /// Those of [`Client::revoke`](crate::Client::revoke). Whatever comes of it, this keeper
    /// renews the lease no more.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, the lease may have been revoked, and is renewed no more.
    ///
    /// # Retries
    /// It is sent again only when it provably was not applied.
    pub async fn revoke(self) -> Result<RevokeResponse, Error> {
        let reply = Call::new(&self.scope, Revoke::new(self.id())).await?;
        self.ticket.revoked();
        Ok(reply)
    }
}

/// The clock goes on when the task that tells does not.
fn public(standing: Standing, now: Instant) -> LeaseState {
    match standing {
        Standing::Alive { expires } if expires > now => LeaseState::Alive { expires },
        Standing::AtRisk { expires, cause } if expires > now => LeaseState::AtRisk {
            remaining: expires - now,
            cause,
        },
        Standing::Lost(end) => LeaseState::Lost(end),
        Standing::Alive { .. } | Standing::AtRisk { .. } | Standing::Doubtful => {
            LeaseState::Doubtful
        }
    }
}

impl fmt::Debug for LeaseKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseKeeper")
            .field("id", &self.id())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
