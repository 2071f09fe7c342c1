//! What keeps a lease alive, as its owner sees it.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::sync::watch::error::RecvError;

use super::cause::LeaseCause;
use super::clocks::Reading;
use super::driver::want;
use super::hub::{Health, Hub, Ticket, read_clocks};
use super::renewal::{LeaseEnd, Standing};
use super::{Revoke, RevokeResponse};
use crate::call::{Call, Scope};
use crate::error::{Error, ErrorKind};
use crate::kv::LeaseId;
use crate::transport::now;

/// What is known of a lease that is kept.
///
/// ```text
///            an answer                   less than a third of its time is left
///  Doubtful ───────────► Alive ────────────────────────────────────────────► AtRisk
///     ▲                    ▲                         an answer                 │  │
///     │                    └───────────────────────────────────────────────────┘  │
///     └───────────────────────────────────────────────────────────────────────────┘
///       its time is over, or the machine has slept (from Alive too)
///
///  from each of them to Lost, and from there to none.
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaseState {
    /// The lease lives at least until then, unless somebody revokes it: a renewal sent a
    /// time-to-live before that moment was answered.
    #[non_exhaustive]
    Alive {
        /// When it would run out.
        expires: Instant,
    },
    /// Less than a third of the time-to-live is left: renewals are not answered. The lease goes
    /// on being renewed, elsewhere if there is another endpoint.
    #[non_exhaustive]
    AtRisk {
        /// For how long it is still known to live.
        remaining: Duration,
        /// Why renewals are not answered.
        cause: LeaseCause,
    },
    /// The lease may live or not: its time is over and the server has said neither. That is also
    /// so before the first answer, and after the machine has slept (for half a second or more).
    /// The lease goes on being renewed: a new leader gives every lease its whole time-to-live
    /// again, so it may well come back as [`Alive`](Self::Alive).
    #[non_exhaustive]
    Doubtful {
        /// Why renewals are not answered; `None` before the first answer while nothing has
        /// gone wrong.
        cause: Option<LeaseCause>,
    },
    /// The lease is renewed no more: the server said that it is gone, and its keys with it, or
    /// the client was closed. Nothing comes after that.
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
/// renewal was sent, and [`Lost`](LeaseState::Lost) is what the server has said, or what this
/// client did: revoke the lease, or end. That the two clocks run equally fast is assumed, and that
/// no administrator restores old data. A time in which the machine sleeps is noticed by comparing
/// its clocks: [`state`](Self::state) knows of it at once, [`changed`](Self::changed) is told
/// within 10 s.
///
/// # Runtimes
/// When the tokio runtime ends in which leases are renewed, they are renewed again in that of the
/// next caller of a keeper's method, of [`Client::keep`](crate::Client::keep) or of
/// [`Client::close`](crate::Client::close), at once for those that wait in
/// [`changed`](Self::changed) or [`lost`](Self::lost).
///
/// # Slow servers
/// Answers may take up to half of the time-to-live. A stream whose answer is overdue stays open
/// while another one is tried, at another endpoint if there is one; the first answer on either
/// counts, and decides which of the two goes on.
///
/// Source: <https://etcd.io/docs/v3.6/learning/api/#keep-alives>.
#[must_use = "a keeper that is dropped keeps nothing"]
pub struct LeaseKeeper {
    scope: Scope,
    hub: Arc<Hub>,
    ticket: Ticket,
    state: watch::Receiver<Standing>,
}

impl LeaseKeeper {
    pub(crate) fn new(scope: &Scope, hub: &Arc<Hub>, id: LeaseId) -> Self {
        let (sender, state) = watch::channel(Standing::Doubtful);
        Self {
            scope: scope.clone(),
            hub: Arc::clone(hub),
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
        self.hub.revive();
        self.public(*self.state.borrow())
    }

    /// Waits until the state becomes another one (`Alive` that lasts longer is the same), and
    /// returns it. After [`Lost`](LeaseState::Lost) it returns that at once.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn changed(&mut self) -> LeaseState {
        let told = news(&self.hub, &mut self.state).await;
        if told.is_err() && !matches!(self.state(), LeaseState::Lost(_)) {
            // INVARIANT: the task keeps the other end until the lease is lost, but for a panic.
            std::future::pending::<()>().await;
        }
        let standing = *self.state.borrow_and_update();
        self.public(standing)
    }

    /// Waits until the lease is lost: it has expired or was revoked, or the client was closed. As
    /// long as the lease lives, this waits.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn lost(&self) -> LeaseEnd {
        let mut state = self.state.clone();
        loop {
            if let Standing::Lost(end) = *state.borrow_and_update() {
                return end;
            }
            if news(&self.hub, &mut state).await.is_err() {
                // INVARIANT: the task keeps the other end until the lease is lost, but for a panic.
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
        Call::new(&self.scope, Revoke::new(self.id())).await
    }

    /// What a standing means at this moment: the clocks go on when the task that tells does not.
    fn public(&self, standing: Standing) -> LeaseState {
        let now = now();
        let health = self.hub.health();
        let slept = |before: Reading| before.jumped(read_clocks());
        match standing {
            Standing::Lost(end) => LeaseState::Lost(end),
            _ if health.clocks.is_some_and(slept) => LeaseState::Doubtful {
                cause: Some(clocks_jumped()),
            },
            Standing::Alive { expires } if expires > now => LeaseState::Alive { expires },
            Standing::AtRisk { expires } if expires > now => LeaseState::AtRisk {
                remaining: expires - now,
                cause: self.cause(health).unwrap_or_else(overdue),
            },
            // Its time is over, and the task is about to say so.
            Standing::Alive { .. } | Standing::AtRisk { .. } => LeaseState::Doubtful {
                cause: Some(self.cause(health).unwrap_or_else(overdue)),
            },
            Standing::Doubtful => LeaseState::Doubtful {
                cause: self.cause(health),
            },
        }
    }

    /// Why renewals are not answered: without a stream, what keeps the connections from being up.
    fn cause(&self, health: Health) -> Option<LeaseCause> {
        let transport = &self.scope.core.transport;
        let unreachable = match health.opening {
            true => transport.trouble(want()),
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

/// Nothing went wrong, and still there is no answer.
fn overdue() -> LeaseCause {
    LeaseCause::new(ErrorKind::Timeout, "a renewal has no answer yet", None)
}

pub(super) fn clocks_jumped() -> LeaseCause {
    let message = "the machine slept, or its clock was set: renewals from before do not count";
    LeaseCause::new(ErrorKind::Timeout, message, None)
}

/// Waits until the state was changed. When the runtime of the renewals ends, they go on in that of
/// the caller.
async fn news(hub: &Arc<Hub>, state: &mut watch::Receiver<Standing>) -> Result<(), RecvError> {
    loop {
        let mut interrupted = pin!(hub.interrupted.notified());
        // ORDER: it listens before it looks.
        interrupted.as_mut().enable();
        hub.revive();
        tokio::select! {
            biased;
            changed = state.changed() => return changed,
            () = interrupted => {}
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
