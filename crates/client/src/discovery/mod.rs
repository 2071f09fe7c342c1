//! Endpoints that the cluster or DNS advertises.
//!
//! ```text
//! sync.rs     the rule: the endpoints of a client, by advertisement and proof      PURE
//! driver.rs   the task that asks for the members periodically and applies the rule
//! records.rs  conversion of SRV records to endpoints (feature `srv`)               PURE
//! dns.rs      DNS queries for SRV records (feature `srv`)
//! ```

#[cfg(feature = "srv")]
mod dns;
mod driver;
#[cfg(feature = "srv")]
mod records;
mod sync;

#[cfg(feature = "srv")]
pub(crate) use self::dns::lookup;
pub(crate) use self::driver::Discovery;
pub(crate) use self::sync::usable;
