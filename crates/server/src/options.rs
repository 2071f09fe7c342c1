//! The options of a server.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::store::Limits;

/// The options of a server, by etcd's names.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) listen: SocketAddr,
    pub(crate) name: String,
    pub(crate) advertise: Option<String>,
    pub(crate) max_txn_ops: usize,
    pub(crate) max_request_bytes: usize,
    pub(crate) quota_backend_bytes: usize,
    pub(crate) min_lease_ttl: Duration,
    pub(crate) auth_token_ttl: Duration,
    pub(crate) watch_progress_notify_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            name: "default".to_owned(),
            advertise: None,
            max_txn_ops: limits.txn_operations,
            // Source: etcd, `server/embed/config.go` (`DefaultMaxRequestBytes`).
            max_request_bytes: 3 << 19,
            quota_backend_bytes: limits.quota_bytes,
            min_lease_ttl: limits.min_lease_ttl,
            // Source: etcd, `server/auth/simple_token.go` (`simpleTokenTTLDefault`).
            auth_token_ttl: Duration::from_secs(300),
            // Source: etcd, `server/etcdserver/api/v3rpc/watch.go` (`defaultProgressReportInterval`).
            watch_progress_notify_interval: Duration::from_secs(600),
        }
    }
}
