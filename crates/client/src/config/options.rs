//! The options of a client as plain data, and the default of each.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::WatchLimits;
use crate::connector::Connector;
use crate::credentials::Credentials;
use crate::endpoint::Endpoint;
use crate::mode::Mode;
#[cfg(feature = "srv")]
use crate::srv::Srv;
#[cfg(feature = "_tls")]
use crate::tls::TlsConfig;

/// The endpoints and options that a client is made with.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) options: Options,
}

/// Every option of a client. The methods of [`ClientBuilder`](super::ClientBuilder) document them.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) connect_timeout: Duration,
    pub(crate) keep_alive_interval: Option<Duration>,
    pub(crate) keep_alive_timeout: Option<Duration>,
    pub(crate) retries: u32,
    pub(crate) retry_timeout: Duration,
    pub(crate) bind_address: Option<IpAddr>,
    pub(crate) nodelay: bool,
    pub(crate) stream_window: u32,
    pub(crate) connection_window: u32,
    pub(crate) max_receive_size: usize,
    pub(crate) max_send_size: usize,
    pub(crate) connector: Option<Arc<dyn Connector>>,
    #[cfg(feature = "_tls")]
    pub(crate) tls: Option<TlsConfig>,
    pub(crate) namespace: bytes::Bytes,
    /// `None`: locks and watches require a leader, other calls do not.
    pub(crate) require_leader: Option<bool>,
    pub(crate) mode: Mode,
    pub(crate) max_connection_age: Option<Duration>,
    pub(crate) auto_sync_interval: Option<Duration>,
    #[cfg(feature = "srv")]
    pub(crate) srv: Option<Srv>,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) watch_limits: WatchLimits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: None,
            timeout: Some(Duration::from_secs(5)),
            connect_timeout: Duration::from_secs(3),
            keep_alive_interval: Some(Duration::from_secs(10)),
            keep_alive_timeout: Some(Duration::from_secs(3)),
            retries: 10,
            retry_timeout: Duration::from_secs(1),
            bind_address: None,
            nodelay: true,
            stream_window: 8 << 20,
            // The windows of streams bound the memory; a few unread replies must not stop all
            // others.
            connection_window: (1 << 31) - 1,
            max_receive_size: 256 << 20,
            max_send_size: 2 << 20,
            connector: None,
            #[cfg(feature = "_tls")]
            tls: None,
            namespace: bytes::Bytes::new(),
            require_leader: None,
            mode: Mode::PickFirst,
            max_connection_age: Some(Duration::from_secs(30 * 60)),
            auto_sync_interval: None,
            #[cfg(feature = "srv")]
            srv: None,
            credentials: None,
            watch_limits: WatchLimits::default(),
        }
    }
}
