//! An etcd v3 client that reports the outcome of every request.
//!
//! ```no_run
//! # async fn example() -> Result<(), etcdex::Error> {
//! use etcdex::{Client, Compare, Put};
//!
//! let client = Client::connect("http://127.0.0.1:2379").await?;
//! client.put("jobs/1", "queued").await?;
//!
//! for kv in client.get("jobs/").prefix().await?.kvs {
//!     println!("{:?} = {:?}", kv.key_str(), kv.value_str());
//! }
//!
//! let taken = client
//!     .txn()
//!     .when(Compare::value("jobs/1").equal("queued"))
//!     .then(Put::new("jobs/1", "running"))
//!     .await?;
//! assert!(taken.succeeded);
//! # Ok(())
//! # }
//! ```
//!
//! A [`Client`] is cheap to clone and runs on a tokio runtime. Every method returns a [`Call`]: a
//! future with options, which is sent when it is awaited. An [`Error`] has a [`kind`](Error::kind)
//! and an [`outcome`](Error::outcome), which says whether a write may have been applied although
//! the call failed.
//!
//! # What the client does by itself
//! - The client connects in the background, reconnects after a loss with growing, jittered pauses,
//!   and uses another endpoint when one is down, stuck or cut off.
//! - Every call has a time-out (default: 5 s) that covers waiting for a connection, sending and
//!   receiving. The client sends the time-out to the server. Calls that are long by nature, such as
//!   a physical compaction, have no time-out unless you choose one.
//! - Reads are sent again when a server is unavailable. Writes are sent again only when they
//!   provably were not applied: no server has seen them, or a server has refused them. A
//!   [`Grant`](lease::Grant) and a [`KeepAliveOnce`](lease::KeepAliveOnce) are the exceptions, as a second
//!   execution of them changes nothing.
//! - Leases are renewed as long as a [`LeaseKeeper`] exists.
//! - Keys and values of a reply are slices of the received bytes. Neither keys and values nor
//!   secrets are ever printed, by `Debug`, in errors or in logs.
//!
//! The [`manual`] explains retries, endpoints, watches, leases, defaults and telemetry.
//!
//! # Features
//! - `metrics`: metrics beside the events, see [`manual::telemetry`]. The labels of the metrics
//!   cost a call some ten allocations.
//! - `tls`: `https://` endpoints and `TlsConfig`, by rustls with ring.
//! - `tls-aws-lc`: the same with aws-lc-rs, which is used if both are on.
//! - `serde`: `.json::<T>()` on a get, and `Value::json`.
//! - `srv`: `ClientBuilder::srv`, endpoints by DNS SRV records.
//! - `snapshot`: `client.maintenance().snapshot_to(path)`, which checks the snapshot that it
//!   writes.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod adaptive_timeout;
pub mod auth;
mod backoff;
mod call;
pub mod client;
pub mod cluster;
mod config;
pub mod connector;
pub mod credentials;
mod debug;
mod discovery;
pub mod endpoint;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod key;
pub mod kv;
pub mod lease;
mod lease_id;
pub mod lock;
pub mod maintenance;
pub mod manual;
mod method;
mod mode;
mod mutex;
mod runtime;
#[cfg(feature = "srv")]
mod srv;
mod telemetry;
#[cfg(feature = "_tls")]
mod tls;
mod transport;
pub mod txn;
pub mod watch;

pub use call::{Call, Request};
#[doc(inline)]
pub use client::{Client, CloseReport};
pub use config::{ClientBuilder, WatchLimits};
#[doc(inline)]
pub use connector::Connector;
#[doc(inline)]
pub use endpoint::Endpoint;
pub use error::{Code, Error, ErrorKind, Outcome};
pub use key::{Key, Value};
#[doc(inline)]
pub use kv::{Delete, Get, KeyValue, Put, ResponseHeader};
#[doc(inline)]
pub use lease::{LeaseKeeper, LeaseState};
pub use lease_id::LeaseId;
#[doc(inline)]
pub use lock::Lock;
pub use mode::Mode;
#[cfg(feature = "srv")]
pub use srv::Srv;
#[cfg(feature = "_tls")]
pub use tls::TlsConfig;
#[doc(inline)]
pub use txn::{Compare, Txn};
#[doc(inline)]
pub use watch::{
    Batch, Event, EventKind, Watch, WatchEnd, WatchList, WatchMessage, WatchStream, Watcher,
};

#[cfg(test)]
mod tests;

/// The programs in the README, compiled as tests of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
