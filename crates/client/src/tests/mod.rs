//! The client against scripted peers: HTTP/2 servers in memory that a test controls, protocol
//! violations included. Time is virtual in tests with `start_paused`.

mod auth;
mod close;
mod connection_loss;
mod credentials;
mod discovery;
mod endpoints;
mod frames;
mod full;
mod keepalive;
mod lanes;
mod leases;
mod load;
mod lock_queue;
mod locks;
mod peer;
mod retries;
mod runtimes;
pub(crate) mod seed;
mod serving;
#[cfg(feature = "snapshot")]
mod snapshot;
#[cfg(feature = "srv")]
mod srv;
mod status;
mod telemetry;
mod violations;
mod watches;
