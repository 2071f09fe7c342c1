//! Real etcd servers and a fault proxy for the tests of etcdex.
//!
//! * [`Binaries`] finds the etcd versions that `cargo xtask etcd` has installed;
//! * [`Etcd`] is one running server, [`Cluster`] a cluster of servers;
//! * [`Authority`] signs certificates that are made on the spot;
//! * [`GrpcProxy`] is etcd's own proxy, `etcd grpc-proxy`, in front of a server;
//! * [`Proxy`] forwards between a client and a server, with faults of the network on command;
//! * [`history`] has histories of a store and recordings of watches, and [`check`] compares them;
//! * [`calls`] checks the answers of calls, [`leases`] the states of kept leases and the grants of
//!   locks;
//! * [`raft_log`] reads from the disk of a member which member has revoked a lease;
//! * [`until`] waits for a condition with a deadline, in place of a sleep.
//!
//! No server outlives a test: dropping a server kills it, and a watchdog kills the servers of a
//! test process that was itself killed.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use etcdex_testkit::{Binaries, Etcd, Proxy};
//!
//! for binary in Binaries::for_tests().all() {
//!     let etcd = Etcd::start(binary).await?;
//!     let proxy = Proxy::start(etcd.client_address()).await?;
//!     println!("etcd {} behind {}", etcd.version(), proxy.endpoint());
//!     proxy.cut();
//! }
//! # Ok(())
//! # }
//! ```

mod binaries;
pub mod calls;
mod certificate;
pub mod check;
mod cluster;
mod etcd;
mod grpc_proxy;
mod health;
pub mod history;
mod launch;
pub mod leases;
mod peers;
mod ports;
mod process;
mod proxy;
pub mod raft_log;
mod version;
mod wait;
mod watchdog;

pub use binaries::{Binaries, Binary, left_out};
pub use etcdex_server;

pub use certificate::{Authority, Pair};
pub use cluster::Cluster;
pub use etcd::Etcd;
pub use grpc_proxy::GrpcProxy;
pub use launch::Builder;
pub use proxy::{Delivery, Direction, Fault, FrameKind, Passage, Proxy, Tap, Trip};
pub use version::{ParseVersionError, Version};
pub use wait::until;
