//! An etcd-compatible server for tests and laptops: one node, in memory.
//!
//! *It is not complete.* There is the [`store`], and a [`Server`] with the service KV and the unary
//! calls of the service Lease. Watches, renewals, the other services, the clock and the faults are not
//! there yet.

mod connection;
mod grpc;
mod kv;
mod lease;
mod node;
mod server;
mod service;
pub mod store;

pub use self::server::Server;
