//! The client against scripted peers: HTTP/2 servers in memory that do what a test tells them,
//! the wrong thing included. Time is virtual where a test says `start_paused`.

mod auth;
mod credentials;
mod death;
mod endpoints;
mod frames;
mod keepalive;
mod lanes;
mod leases;
mod lies;
mod load;
mod peer;
mod retries;
#[cfg(feature = "snapshot")]
mod snapshot;
mod telemetry;
mod watches;
