//! An etcd-compatible server for tests and laptops: one node, in memory.
//!
//! A [`Server`] has the services KV, Lease, Watch, Auth, Cluster, Maintenance, Lock, Election and Health, a
//! [`Clock`] that a test turns forward, and [`Faults`] that it causes. [`manual::testing`] shows how to test a
//! program with it, [`manual::limits`] says what it is not. Below the server is the [`store`], which needs no
//! runtime.
//!
//! # Features
//! None is on by default.
//! - `tls`: TLS and client certificates, by rustls with ring.
//! - `tls-aws-lc`: the same with aws-lc-rs.

mod auth;
mod clock;
mod cluster;
mod compactor;
mod connection;
mod context;
mod election;
mod faults;
mod grpc;
mod health;
mod http1;
mod http2;
mod kept;
mod kv;
mod lease;
mod lock;
mod maintenance;
pub mod manual;
mod node;
mod options;
mod queue;
mod reply;
mod request;
mod server;
mod service;
mod socket;
pub mod store;
#[cfg(feature = "_tls")]
mod tls;
mod tokens;
mod watch;
mod wire;

pub use self::clock::Clock;
pub use self::compactor::AutoCompaction;
pub use self::faults::Faults;
pub use self::grpc::Code;
pub use self::server::{Server, ServerBuilder};
#[cfg(feature = "_tls")]
pub use self::tls::TlsConfig;
