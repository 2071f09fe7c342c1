//! Leases: grant them, keep them alive, learn when they are lost.
//!
//! A lease is a time-to-live on the server. Keys that are put with a lease are deleted when the
//! lease ends: it is revoked, or no renewal comes for its time-to-live.
//!
//! ```no_run
//! # async fn work() {}
//! # async fn example(client: etcdex::Client) -> Result<(), etcdex::Error> {
//! use std::time::Duration;
//!
//! let lease = client.grant(Duration::from_secs(10)).await?;
//! // The keeper renews the lease until it is dropped.
//! let keeper = client.keep(lease.id);
//! client.put("workers/7", "here").lease(lease.id).await?;
//!
//! tokio::select! {
//!     () = work() => {}
//!     end = keeper.lost() => {
//!         println!("the key is gone: {end:?}");
//!         return Ok(());
//!     }
//! }
//! // Deletes `workers/7` at once, and not 10 s later.
//! keeper.revoke().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # States
//! A program that may only work while its lease lives asks [`LeaseKeeper::state`], or follows
//! [`LeaseKeeper::changed`]:
//!
//! ```no_run
//! # fn pause() {}
//! # async fn example(mut keeper: etcdex::LeaseKeeper) {
//! use etcdex::LeaseState;
//!
//! loop {
//!     match keeper.changed().await {
//!         LeaseState::Alive { expires, .. } => println!("alive until {expires:?} or longer"),
//!         // Stop here: no other holder can have the lease's keys before `remaining` is over.
//!         LeaseState::AtRisk { remaining, cause, .. } => {
//!             println!("{remaining:?} left: {cause}");
//!             pause();
//!         }
//!         // The lease may live or not, and still be renewed.
//!         LeaseState::Unknown { cause, .. } => println!("unknown: {cause:?}"),
//!         LeaseState::Lost(end) => {
//!             println!("ended: {end:?}");
//!             break;
//!         }
//!         _ => {}
//!     }
//! }
//! # }
//! ```
//!
//! | state | meaning | next state |
//! |---|---|---|
//! | [`Alive`](LeaseState::Alive) | The lease lives until `expires`, unless a client revokes it. | Any state. |
//! | [`AtRisk`](LeaseState::AtRisk) | Less than a third of the time-to-live is left, and the cause says why no renewal was answered. | `Alive` after an answer, else `Unknown`. |
//! | [`Unknown`](LeaseState::Unknown) | No server has said whether the lease lives: before the first answer, after `expires`, or after the machine slept. | `Alive` or `Lost`, as soon as a server answers. |
//! | [`Lost`](LeaseState::Lost) | A server said that the lease is gone, this client revoked it, or the client was closed. | Nothing. |
//!
//! # Faults
//! - **A slow server.** Answers may take up to half of the time-to-live. The lease stays `Alive` as
//!   long as they take less than a third of it. If they take longer, the lease may be `AtRisk` for
//!   a moment before each answer.
//! - **A member that hangs.** A stream whose answer is overdue stays open while another one is
//!   tried, at another endpoint if there is one. An answer is overdue after a sixth of the
//!   time-to-live, or after twice as long as answers took before, whichever is longer.
//! - **A lost connection, a change of leader.** Another stream is opened within 20 ms, or within 1
//!   s when several streams in a row fail. A new leader gives each lease its whole time-to-live.
//! - **An expired token, a login that fails or hangs.** Old releases of etcd (3.4.23 and 3.5.1, for
//!   example) check no token of a renewal: there, renewals go on without one. After a server has
//!   refused that, as 3.5.35, 3.6.16 and 3.7.3 do, renewals wait for a token, and the cause of the
//!   state says so.
//! - **[`Client::close`]** revokes the leases that the client keeps. Keepers end with
//!   [`LeaseEnd::Revoked`], or with [`LeaseEnd::ClientClosed`] where no server answered the revoke.
//! - **A tokio runtime that ends** ends the renewals. They continue in the runtime of the next call
//!   of a keeper's method, of [`Client::keep`] or of [`Client::close`]; see [`LeaseKeeper`].
//!
//! # Single requests
//! [`Client::keep_alive_once`] renews once, [`Client::ttl`] asks for the time that is left and for the
//! keys, [`Client::leases`] lists all leases, and [`Client::revoke`] ends one. [`Client::lock`]
//! takes a lock that is held as long as a lease lives.
//!
//! Source: <https://etcd.io/docs/v3.6/learning/api/#lease-api>.

// grant.rs keep_alive_once.rs ttl.rs leases.rs revoke.rs   one request each
// keeper.rs        keeps a lease; the public handle
// cause.rs         why a lease is not known to be renewed
// state.rs         all leases: what to send and report     PURE
// streams.rs       all streams: which are open and used    PURE
// renewal.rs       one lease: its state and its times      PURE
// unanswered.rs    one stream: renewals without an answer  PURE
// clocks.rs        whether the machine has slept           PURE
// registry.rs      connects keepers with the task that renews
// driver.rs        the task that renews all leases of a client
// driver/stream.rs one stream of renewals (call/bidi.rs)

mod cause;
mod clocks;
mod driver;
mod grant;
mod keep_alive_once;
mod keeper;
mod leases;
pub(crate) mod registry;
mod renewal;
mod revoke;
mod state;
mod streams;
mod ttl;
mod unanswered;

use std::time::Duration;

pub use self::cause::LeaseCause;
pub use self::grant::{Grant, GrantResponse};
pub use self::keep_alive_once::{KeepAliveOnce, KeepAliveResponse};
pub use self::keeper::{LeaseKeeper, LeaseState};
pub use self::leases::{Leases, LeasesResponse};
pub(crate) use self::registry::LeaseRegistry;
pub use self::renewal::LeaseEnd;
pub use self::revoke::{Revoke, RevokeResponse};
pub use self::ttl::{Ttl, TtlResponse};
use crate::Client;
use crate::call::Call;
#[doc(no_inline)]
pub use crate::lease_id::LeaseId;

/// Converts seconds of a reply to a duration; a negative number is zero.
fn seconds(number: i64) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or(0))
}

/// Leases; [`lease`](crate::lease) explains them by example.
impl Client {
    /// Grants a lease that lives for `ttl` after each renewal; see [`Grant`].
    ///
    /// The time-to-live is sent in whole seconds, rounded up. The server may raise it; the reply
    /// has the time-to-live that counts.
    ///
    /// ```no_run
    /// # async fn example(client: etcdex::Client) -> Result<(), etcdex::Error> {
    /// use std::time::Duration;
    ///
    /// let lease = client.grant(Duration::from_secs(10)).await?;
    /// let keeper = client.keep(lease.id);
    /// client.put("workers/7", "here").lease(lease.id).await?;
    /// # drop(keeper);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a `ttl` of zero,
    /// [`LeaseTtlTooLarge`](crate::ErrorKind::LeaseTtlTooLarge) for one over 9,000,000,000 s, and
    /// [`LeaseExists`](crate::ErrorKind::LeaseExists) for an ID that is in use.
    ///
    /// # Cancel safety
    /// When the call is dropped, the lease may have been granted. It then expires without renewals.
    ///
    /// # Retries
    /// The grant is sent again, also when an attempt may have been applied: the client chooses the
    /// ID, so that a repeated grant makes no second lease. With an ID of the caller, the grant is
    /// sent again only when it provably reached no server.
    pub fn grant(&self, ttl: Duration) -> Call<Grant> {
        self.run(Grant::new(ttl))
    }

    /// Revokes a lease and deletes its keys; see [`Revoke`].
    ///
    /// Keepers of the lease, on any handle of this client, then end with [`LeaseEnd::Revoked`] at
    /// once.
    ///
    /// # Errors
    /// [`LeaseNotFound`](crate::ErrorKind::LeaseNotFound) when there is no such lease.
    ///
    /// # Cancel safety
    /// When the call is dropped, the lease may have been revoked. Its keepers learn of that with
    /// their next renewal.
    ///
    /// # Retries
    /// The revoke is sent again only when it provably was not applied.
    pub fn revoke(&self, id: LeaseId) -> Call<Revoke> {
        self.run(Revoke::new(id))
    }

    /// Renews a lease once; see [`KeepAliveOnce`].
    ///
    /// # Errors
    /// [`LeaseNotFound`](crate::ErrorKind::LeaseNotFound) when there is no such lease.
    ///
    /// # Cancel safety
    /// When the call is dropped, the lease may have been renewed.
    ///
    /// # Retries
    /// The renewal is sent again, at another endpoint if there is one, when a server is
    /// unavailable.
    pub fn keep_alive_once(&self, id: LeaseId) -> Call<KeepAliveOnce> {
        self.run(KeepAliveOnce::new(id))
    }

    /// Returns the remaining time-to-live of a lease; see [`Ttl`].
    ///
    /// A lease that does not exist is no error: the `ttl` of the reply is `None`.
    ///
    /// # Retries
    /// The request is sent again, at another endpoint if there is one, when a server is
    /// unavailable.
    pub fn ttl(&self, id: LeaseId) -> Call<Ttl> {
        self.run(Ttl::new(id))
    }

    /// Lists all leases of the cluster; see [`Leases`].
    ///
    /// # Retries
    /// The request is sent again, at another endpoint if there is one, when a server is
    /// unavailable.
    pub fn leases(&self) -> Call<Leases> {
        self.run(Leases::new())
    }

    /// Keeps a lease alive, from now until the keeper is dropped; see [`LeaseKeeper`].
    ///
    /// The first renewal is sent at once. All kept leases of a client share one stream, regardless
    /// of the handle. The client chooses the endpoint of the stream:
    /// [`with_endpoint`](Self::with_endpoint) and time-outs of the handle do not apply to it. On a client that is closed, the keeper ends at
    /// once with [`LeaseEnd::ClientClosed`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn keep(&self, id: LeaseId) -> LeaseKeeper {
        LeaseKeeper::new(self.scope(), self.lease_registry(), id)
    }
}
