//! The client against scripted peers: HTTP/2 servers in memory that do what a test tells them,
//! the wrong thing included. Time is virtual where a test says `start_paused`.

mod auth;
mod close;
mod credentials;
mod death;
mod discovery;
mod endpoints;
mod frames;
mod keepalive;
mod lanes;
mod leases;
mod lies;
mod load;
mod locks;
#[cfg(feature = "metrics")]
mod metrics;
mod peer;
mod retries;
mod runtimes;
mod serving;
#[cfg(feature = "snapshot")]
mod snapshot;
#[cfg(feature = "srv")]
mod srv;
mod status;
mod telemetry;
mod watches;
