//! The client on real etcd, on each version that is on this machine.
//!
//! What is expected comes from etcd's documentation (the address stands there) or from etcd's
//! own `etcdctl`.

mod address;
mod auth;
mod cluster;
mod compare;
mod connection;
mod credentials;
mod ctl;
mod delete;
mod discovery;
mod examples;
mod fault;
mod futures;
mod get;
mod history;
mod json;
mod keeper;
mod learner;
mod lease;
mod list;
mod load;
mod lock;
mod lock_tokens;
mod maintenance;
mod matrix;
mod members;
mod namespace;
mod order;
mod prefix;
mod put;
mod quorum;
mod refusal;
mod restart;
mod runtimes;
mod secrecy;
mod serving;
#[cfg(feature = "snapshot")]
mod snapshot;
mod stage;
mod strangers;
mod swap;
#[cfg(feature = "tls")]
mod tls;
mod tokens;
mod traces;
mod txn;
mod value;
mod watch;
mod watch_list;
