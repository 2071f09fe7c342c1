//! The client on real etcd, on each version that is on this machine.
//!
//! What is expected comes from etcd's documentation (the address stands there) or from etcd's
//! own `etcdctl`.

mod auth;
mod ctl;
mod maintenance;
mod members;
#[cfg(feature = "snapshot")]
mod snapshot;
#[allow(dead_code, reason = "other tests use the rest")]
mod stage;
