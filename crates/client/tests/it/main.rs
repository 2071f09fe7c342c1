//! The client on real etcd.

#[cfg(feature = "tls")]
mod tls;
