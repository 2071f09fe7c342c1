//! The client on real etcd, on each installed version.
//!
//! Expected values come from etcd's documentation, whose address each file names, or from
//! `etcdctl`.

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
mod other_cluster;
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
mod swap;
#[cfg(feature = "tls")]
mod tls;
mod tokens;
mod traces;
mod txn;
mod value;
mod watch;
mod watch_list;
