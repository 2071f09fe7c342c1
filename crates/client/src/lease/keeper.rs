//! The keeper of a lease, the public handle.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::sync::watch::error::RecvError;

use super::cause::LeaseCause;
use super::clocks::Reading;
use super::driver::CALL;
use super::registry::{KeepHandle, LeaseRegistry, RenewalHealth, read_clocks};
use super::renewal::{LeaseEnd, LeaseStatus};
use super::{Revoke, RevokeResponse};
use crate::call::{Call, Scope};
use crate::debug::debug_fields;
use crate::error::{Error, ErrorKind};
use crate::kv::LeaseId;
use crate::transport::now;

/// The state of a kept lease, as far as the client knows it.
///
/// ```text
///            an answer                   less than a third of the time-to-live is left
///  Unknown ────────────► Alive ────────────────────────────────────────────────────► AtRisk
///     ▲                    ▲                             an answer                     │  │
///     │                    └───────────────────────────────────────────────────────────┘  │
///     └───────────────────────────────────────────────────────────────────────────────────┘
///       the time-to-live is over, or the machine has slept (from Alive, too)
///
///  Every state but Lost can change to Lost; no state follows Lost.
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaseState {
    /// The lease lives at least until `expires`, unless a client revokes it: a renewal that was
    /// sent a time-to-live before that moment was answered.
    #[non_exhaustive]
    Alive {
        /// The moment until which the lease is known to live.
        expires: Instant,
    },
    /// Less than a third of the time-to-live is left: renewals are not answered. The client goes on
    /// renewing the lease, at another endpoint if there is one.
    #[non_exhaustive]
    AtRisk {
        /// The time for which the lease is still known to live.
        remaining: Duration,
        /// The reason why renewals are not answered.
        cause: LeaseCause,
    },
    /// The lease may live or not: before the first answer, after its time-to-live without an
    /// answer, and after the machine has slept (for half a second or more). The client continues to
    /// renew the lease. A new leader gives every lease its whole time-to-live again, so that the
    /// state often becomes [`Alive`](Self::Alive) again.
    #[non_exhaustive]
    Unknown {
        /// The reason why renewals are not answered; `None` before the first answer, as long as
        /// there was no error.
        cause: Option<LeaseCause>,
    },
    /// The client no longer renews the lease: a server said that the lease and its keys are gone,
    /// this client revoked the lease, or the client was closed. No other state follows.
    Lost(LeaseEnd),
}

/// Keeps a lease alive until the keeper is dropped.
///
/// [`Client::keep`](crate::Client::keep) returns a keeper. The client renews the lease at about a
/// third of the time-to-live, over lost connections, changes of leader and dead members. A keeper
/// holds the client's connections like a handle of the client. Several keepers of one lease share
/// its renewals. The page of the module [`lease`](crate::lease) shows how to follow the states.
///
/// # Drop
/// When the last keeper of a lease is dropped, the client stops renewing the lease at once, and the
/// lease ends after its time-to-live. [`revoke`](Self::revoke) ends the lease immediately.
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
/// # Guarantees
/// A state never claims more than is known: [`Alive`](LeaseState::Alive) counts from the moment at
/// which a renewal was sent, and [`Lost`](LeaseState::Lost) follows only from an answer of a
/// server, a revoke of this client, or its end. Two conditions are assumed: the clocks of client
/// and server run equally fast, and no administrator restores old data. The client notices that the
/// machine slept by comparing its clocks: [`state`](Self::state) at once,
/// [`changed`](Self::changed) within 10 s.
///
/// # Runtimes
/// When the tokio runtime that renews the leases ends, the renewals continue in the runtime of the
/// next caller of a keeper's method, of [`Client::keep`](crate::Client::keep) or of
/// [`Client::close`](crate::Client::close). They continue at once in the runtime of a caller that
/// waits in [`changed`](Self::changed) or [`lost`](Self::lost).
///
/// # Slow servers
/// Answers may take up to half of the time-to-live. A stream whose answer is overdue stays open
/// while another one is tried, at another endpoint if there is one. The stream that answers first
/// stays, and the other is closed.
///
/// Source: <https://etcd.io/docs/v3.6/learning/api/#keep-alives>.
#[must_use = "a keeper that is dropped keeps nothing"]
pub struct LeaseKeeper {
    scope: Scope,
    registry: Arc<LeaseRegistry>,
    handle: KeepHandle,
    state: watch::Receiver<LeaseStatus>,
}

impl LeaseKeeper {
    pub(crate) fn new(scope: &Scope, registry: &Arc<LeaseRegistry>, id: LeaseId) -> Self {
        let (sender, state) = watch::channel(LeaseStatus::Unknown);
        Self {
            scope: scope.clone(),
            registry: Arc::clone(registry),
            handle: registry.keep(&scope.core, id, sender),
            state,
        }
    }

    /// Returns the ID of the lease.
    #[must_use]
    pub fn id(&self) -> LeaseId {
        self.handle.id
    }

    /// Returns the present state of the lease.
    #[must_use]
    pub fn state(&self) -> LeaseState {
        self.registry.revive();
        self.public(*self.state.borrow())
    }

    /// Waits for another state and returns that state. `Alive` with a later `expires` is not another
    /// state. After [`Lost`](LeaseState::Lost) the call returns `Lost` at once.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn changed(&mut self) -> LeaseState {
        let told = news(&self.registry, &mut self.state).await;
        if told.is_err() && !matches!(self.state(), LeaseState::Lost(_)) {
            // INVARIANT: the task keeps the sender until the lease is lost, unless it panics.
            std::future::pending::<()>().await;
        }
        let status = *self.state.borrow_and_update();
        self.public(status)
    }

    /// Waits until the lease is lost: the lease has expired or was revoked, or the client was
    /// closed.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn lost(&self) -> LeaseEnd {
        let mut state = self.state.clone();
        loop {
            if let LeaseStatus::Lost(end) = *state.borrow_and_update() {
                return end;
            }
            if news(&self.registry, &mut state).await.is_err() {
                // INVARIANT: the task keeps the sender until the lease is lost, unless it panics.
                return std::future::pending().await;
            }
        }
    }

    /// Revokes the lease: the lease ends at once, and its keys are deleted.
    ///
    /// # Errors
    /// The errors of [`Client::revoke`](crate::Client::revoke). After an error, too, this keeper no
    /// longer renews the lease.
    ///
    /// # Cancel safety
    /// When the future is dropped before it is ready, the lease may have been revoked, and this
    /// keeper no longer renews the lease.
    ///
    /// # Retries
    /// The revoke is sent again only when it provably was not applied.
    pub async fn revoke(self) -> Result<RevokeResponse, Error> {
        Call::new(&self.scope, Revoke::new(self.id())).await
    }

    /// Converts a status with the present time, as the task may not have reported a change yet.
    fn public(&self, status: LeaseStatus) -> LeaseState {
        let now = now();
        let health = self.registry.health();
        let slept = |before: Reading| before.jumped(read_clocks());
        match status {
            LeaseStatus::Lost(end) => LeaseState::Lost(end),
            _ if health.clocks.is_some_and(slept) => LeaseState::Unknown {
                cause: Some(LeaseCause::clocks_jumped()),
            },
            LeaseStatus::Alive { expires } if expires > now => LeaseState::Alive { expires },
            LeaseStatus::AtRisk { expires } if expires > now => LeaseState::AtRisk {
                remaining: expires - now,
                cause: self.cause(health).unwrap_or_else(overdue),
            },
            // The time-to-live is over, and the task is about to report that.
            LeaseStatus::Alive { .. } | LeaseStatus::AtRisk { .. } => LeaseState::Unknown {
                cause: Some(self.cause(health).unwrap_or_else(overdue)),
            },
            LeaseStatus::Unknown => LeaseState::Unknown {
                cause: self.cause(health),
            },
        }
    }

    /// Returns why renewals are not answered: without a stream, the error of the connections.
    fn cause(&self, health: RenewalHealth) -> Option<LeaseCause> {
        let pool = &self.scope.core.pool;
        let unreachable = match health.opening {
            true => pool.last_error(CALL.pick(None)),
            false => None,
        };
        match unreachable {
            Some((endpoint, why)) => {
                let (kind, message) = (why.kind(), why.to_string());
                Some(LeaseCause::new(kind, message, Some(endpoint)))
            }
            None => health.cause,
        }
    }
}

/// Returns the cause for a renewal that has neither an answer nor an error.
fn overdue() -> LeaseCause {
    LeaseCause::new(ErrorKind::Timeout, "a renewal has no answer yet", None)
}

/// Waits until the state has changed. When the runtime of the renewals ends, they continue in the
/// runtime of the caller.
async fn news(
    registry: &Arc<LeaseRegistry>,
    state: &mut watch::Receiver<LeaseStatus>,
) -> Result<(), RecvError> {
    loop {
        let mut interrupted = pin!(registry.interrupted.notified());
        // ORDER: registers for the notification before it revives the task.
        interrupted.as_mut().enable();
        registry.revive();
        tokio::select! {
            biased;
            changed = state.changed() => return changed,
            () = interrupted => {}
        }
    }
}

debug_fields! { LeaseKeeper |keeper| { id: keeper.id(), state: keeper.state(), .. } }
