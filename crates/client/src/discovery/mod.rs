//! Endpoints that the cluster tells of itself.
//!
//! ```text
//! sync.rs     which endpoints a client has, by what is advertised and proven   PURE
//! driver.rs   asks for the members now and then, and does what the rule says
//! records.rs  from SRV records to endpoints (feature `srv`)                     PURE
//! dns.rs      asks DNS for them (feature `srv`)
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
