//! Leases: made, asked about, ended, and kept alive.
//!
//! ```text
//! grant.rs keep_alive.rs ttl.rs leases.rs revoke.rs   one request each
//! keeper.rs   what keeps a lease, as its owner sees it
//! cause.rs    why a lease is not known to be renewed
//! state.rs    what to send, open and tell             PURE
//! streams.rs  which streams there are                 PURE
//! renewal.rs  one lease: when to renew, what to believe PURE
//! unanswered.rs one stream: what has no answer yet    PURE
//! clocks.rs   whether the machine has slept           PURE
//! hub.rs      where keepers meet the task that renews
//! driver.rs   the task that renews all leases of a client
//! driver/stream.rs one stream of renewals
//! ```

mod cause;
mod clocks;
mod driver;
mod grant;
pub(crate) mod hub;
mod keep_alive;
mod keeper;
mod leases;
mod renewal;
mod revoke;
mod state;
mod streams;
mod ttl;
mod unanswered;

use std::time::Duration;

pub use self::cause::LeaseCause;
pub use self::grant::{Grant, GrantResponse};
pub(crate) use self::hub::Hub;
pub use self::keep_alive::{KeepAlive, KeepAliveResponse};
pub use self::keeper::{LeaseKeeper, LeaseState};
pub use self::leases::{Leases, LeasesResponse};
pub use self::renewal::LeaseEnd;
pub use self::revoke::{Revoke, RevokeResponse};
pub use self::ttl::{Ttl, TtlResponse};
use crate::Client;
use crate::call::Call;
use crate::kv::LeaseId;

/// Seconds of the wire.
fn seconds(number: i64) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or(0))
}

impl Client {
    /// Makes a lease that lives so long after each renewal: see [`Grant`].
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
    /// # Retries
    /// It is sent again, also when an attempt may have been applied: the client chooses the ID,
    /// so that no second lease comes of it. With an ID of your own it is sent again only when it
    /// provably reached no server.
    pub fn grant(&self, ttl: Duration) -> Call<Grant> {
        self.run(Grant::new(ttl))
    }

    /// Ends a lease and deletes its keys: see [`Revoke`]. Keepers of the lease, on whichever
    /// handle of this client, then end with [`LeaseEnd::Revoked`].
    ///
    /// # Errors
    /// [`LeaseNotFound`](crate::ErrorKind::LeaseNotFound) when there is no such lease.
    ///
    /// # Retries
    /// It is sent again only when it provably was not applied.
    pub fn revoke(&self, id: LeaseId) -> Call<Revoke> {
        self.run(Revoke::new(id))
    }

    /// Renews a lease once: see [`KeepAlive`].
    ///
    /// # Errors
    /// [`LeaseNotFound`](crate::ErrorKind::LeaseNotFound) when there is no such lease.
    ///
    /// # Retries
    /// It is sent again, at another endpoint if there is one, when a server is unavailable.
    pub fn keep_alive(&self, id: LeaseId) -> Call<KeepAlive> {
        self.run(KeepAlive::new(id))
    }

    /// Asks how long a lease has to live: see [`Ttl`]. One that does not exist is no error.
    ///
    /// # Retries
    /// It is sent again, at another endpoint if there is one, when a server is unavailable.
    pub fn ttl(&self, id: LeaseId) -> Call<Ttl> {
        self.run(Ttl::new(id))
    }

    /// Asks for all leases: see [`Leases`].
    ///
    /// # Retries
    /// It is sent again, at another endpoint if there is one, when a server is unavailable.
    pub fn leases(&self) -> Call<Leases> {
        self.run(Leases::new())
    }

    /// Keeps a lease alive, from now until the keeper is dropped: see [`LeaseKeeper`].
    ///
    /// The first renewal leaves at once. All leases of a client, whichever handle keeps them,
    /// share one stream, which goes where it is answered: [`member`](Self::member) and time-outs
    /// of the handle do not count for it. On a client that is closed, the keeper ends at once with
    /// [`LeaseEnd::ClientClosed`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn keep(&self, id: LeaseId) -> LeaseKeeper {
        LeaseKeeper::new(self.scope(), self.hub(), id)
    }
}
