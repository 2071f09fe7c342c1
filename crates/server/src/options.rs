//! The options of a server.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::compactor::AutoCompaction;
use crate::store::Limits;

/// The options of a server, by etcd's names.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) listen: SocketAddr,
    pub(crate) name: String,
    pub(crate) advertise: Option<String>,
    pub(crate) max_txn_ops: usize,
    pub(crate) max_request_bytes: usize,
    pub(crate) max_concurrent_streams: u32,
    pub(crate) quota_backend_bytes: usize,
    pub(crate) min_lease_ttl: Duration,
    pub(crate) auth_token_ttl: Duration,
    pub(crate) watch_progress_notify_interval: Duration,
    pub(crate) auto_compaction: Option<AutoCompaction>,
    #[cfg(feature = "_tls")]
    pub(crate) tls: Option<crate::tls::TlsConfig>,
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
            // etcd has no limit by default.
            max_concurrent_streams: 1 << 14,
            quota_backend_bytes: limits.quota_bytes,
            min_lease_ttl: limits.min_lease_ttl,
            // Source: etcd, `server/auth/simple_token.go` (`simpleTokenTTLDefault`).
            auth_token_ttl: Duration::from_secs(300),
            // Source: etcd, `server/etcdserver/api/v3rpc/watch.go` (`defaultProgressReportInterval`).
            watch_progress_notify_interval: Duration::from_secs(600),
            auto_compaction: None,
            #[cfg(feature = "_tls")]
            tls: None,
        }
    }
}

impl Options {
    /// Returns the URL of a server that listens on this address.
    pub(crate) fn url(&self, address: SocketAddr) -> String {
        #[cfg(feature = "_tls")]
        if self.tls.is_some() {
            return format!("https://{address}");
        }
        format!("http://{address}")
    }
}
