//! Endpoints that the cluster tells of itself.
//!
//! ```text
//! sync.rs     which endpoints a client has, by what is advertised and proven   PURE
//! driver.rs   asks for the members now and then, and does what the rule says
//! ```

mod driver;
mod sync;

pub(crate) use self::driver::start;
pub(crate) use self::sync::usable;
