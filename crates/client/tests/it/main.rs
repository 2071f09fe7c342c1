//! The client on real etcd, on each version that is on this machine.
//!
//! What is expected comes from etcd's documentation (the address stands there) or from etcd's
//! own `etcdctl`.

mod address;
mod cluster;
mod compare;
mod delete;
mod fault;
mod futures;
mod get;
mod history;
mod json;
mod keeper;
mod lease;
mod list;
mod load;
mod lock;
mod namespace;
mod order;
mod prefix;
mod put;
mod quorum;
mod refusal;
mod restart;
mod secrecy;
mod stage;
mod swap;
mod txn;
mod value;
