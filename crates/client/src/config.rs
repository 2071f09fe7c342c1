//! How a client is built: a method for each option.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::connector::Connector;
use crate::credentials::{Credentials, Secret, TokenProvider};
use crate::endpoint::Endpoint;
use crate::error::ErrorKind;
use crate::mode::Mode;
#[cfg(feature = "srv")]
use crate::srv::Srv;
#[cfg(feature = "_tls")]
use crate::tls::TlsConfig;

mod bounds;
mod environment;
mod limits;
mod options;
mod refusal;

pub use self::limits::WatchLimits;
pub(crate) use self::options::{Config, Options};
pub(crate) use self::refusal::{check, check_all};

/// etcd answers pings that come faster than this with GOAWAY (`too_many_pings`).
///
/// Source: `server/embed/config.go`, `DefaultGRPCKeepAliveMinTime`.
pub(crate) const MIN_KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// Makes a [`Client`](crate::Client).
///
/// Every option has a default that is safe for production; the smallest program gives none and
/// talks to `http://127.0.0.1:2379`. A value that makes no sense makes
/// [`connect`](Self::connect) fail: its text names the option and its bound. A duration over a year
/// is taken as a year.
///
/// ```no_run
/// # async fn example() -> Result<(), etcdex::Error> {
/// use std::time::Duration;
///
/// let client = etcdex::Client::builder()
///     .endpoints(["http://10.0.0.1:2379", "http://10.0.0.2:2379"])
///     .name("orders")
///     .timeout(Duration::from_secs(2))
///     .connect()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct ClientBuilder {
    endpoints: Vec<Endpoint>,
    // The first thing that was wrong; told by `connect`, so that the chain needs no `?`.
    refusal: Option<(ErrorKind, String)>,
    options: Options,
}

impl ClientBuilder {
    /// Adds an endpoint. Default, when none is added: `http://127.0.0.1:2379`.
    ///
    /// A URL that is none makes [`connect`](Self::connect) fail.
    pub fn endpoint(mut self, url: impl AsRef<str>) -> Self {
        match url.as_ref().parse::<Endpoint>() {
            Ok(endpoint) if self.endpoints.contains(&endpoint) => {}
            Ok(endpoint) => self.endpoints.push(endpoint),
            Err(error) => self.refuse(error.message()),
        }
        self
    }

    /// How much of the changes that nobody has read yet is kept. Default:
    /// [`WatchLimits::default`].
    pub fn watch_limits(mut self, limits: WatchLimits) -> Self {
        self.options.watch_limits = limits;
        self
    }

    /// Adds several endpoints.
    pub fn endpoints<U: AsRef<str>>(self, urls: impl IntoIterator<Item = U>) -> Self {
        urls.into_iter().fold(self, Self::endpoint)
    }

    /// A name for this client, in its errors, spans and metrics. Default: none.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.options.name = Some(name.into());
        self
    }

    /// How long a call may take, from its first poll to its answer: waiting for a connection,
    /// sending and receiving included. The server is told (`grpc-timeout`). Default: 5 s; at least
    /// 1 ms.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// Calls wait as long as it takes.
    pub fn no_timeout(mut self) -> Self {
        self.options.timeout = None;
        self
    }

    /// How long one attempt to connect may take, handshakes included. Default: 3 s; at least 1 ms.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.connect_timeout = timeout;
        self
    }

    /// How long a connection with calls under way may be silent before a ping is sent.
    /// Default: 10 s. Below 5 s it is refused: etcd closes connections that ping faster. No two
    /// pings go out within 6 s, as some networks bring them closer together.
    pub fn keep_alive_interval(mut self, interval: Duration) -> Self {
        self.options.keep_alive_interval = Some(interval);
        self
    }

    /// Sends no pings on silent connections.
    pub fn no_keep_alive_interval(mut self) -> Self {
        self.options.keep_alive_interval = None;
        self
    }

    /// How long a ping may stay unanswered before the connection counts as dead. Default: 3 s;
    /// at least 10 ms.
    pub fn keep_alive_timeout(mut self, timeout: Duration) -> Self {
        self.options.keep_alive_timeout = Some(timeout);
        self
    }

    /// Never takes a connection for dead because a ping stays unanswered.
    pub fn no_keep_alive_timeout(mut self) -> Self {
        self.options.keep_alive_timeout = None;
        self
    }

    /// How often a call that may be repeated is sent again after a failure. Default: 10.
    ///
    /// Independent of this number, a request that provably reached no server (the connection
    /// was closed gracefully, say) goes to the next connection.
    pub fn retries(mut self, retries: u32) -> Self {
        self.options.retries = retries;
        self
    }

    /// The longest pause between two attempts to connect. Default: 1 s; at least 10 ms.
    ///
    /// Pauses start at 10 ms, double, and are jittered; they start over after a good reply.
    pub fn retry_timeout(mut self, pause: Duration) -> Self {
        self.options.retry_timeout = pause;
        self
    }

    /// The local address to connect from. Default: the system's choice.
    pub fn bind_address(mut self, address: IpAddr) -> Self {
        self.options.bind_address = Some(address);
        self
    }

    /// Whether small writes leave at once (`TCP_NODELAY`). Default: true.
    pub fn nodelay(mut self, nodelay: bool) -> Self {
        self.options.nodelay = nodelay;
        self
    }

    /// How many bytes of one reply the server may send ahead of the reader. Default: 8 MiB;
    /// from 64 KiB to 2 GiB - 1.
    pub fn stream_window(mut self, bytes: u32) -> Self {
        self.check_window("stream_window", bytes);
        self.options.stream_window = bytes;
        self
    }

    /// How many bytes of all replies of a connection together the server may send ahead of
    /// their readers. Default: 2 GiB - 1, so that replies nobody reads yet stop no others;
    /// from 64 KiB.
    pub fn connection_window(mut self, bytes: u32) -> Self {
        self.check_window("connection_window", bytes);
        self.options.connection_window = bytes;
        self
    }

    /// The largest reply that is taken, in bytes. Default: 256 MiB.
    ///
    /// Read more than that in pages, with [`Client::list`](crate::Client::list). For watches it
    /// is the limit of one message. A revision that is larger comes in several messages; its
    /// own limit is [`WatchLimits::revision_bytes`](crate::WatchLimits::revision_bytes).
    pub fn max_receive_size(mut self, bytes: usize) -> Self {
        self.options.max_receive_size = bytes;
        self
    }

    /// The largest request that is sent, in bytes. Default: 2 MiB (a server takes 1.5 MiB
    /// unless it was started with another `--max-request-bytes`).
    pub fn max_send_size(mut self, bytes: usize) -> Self {
        self.options.max_send_size = bytes;
        self
    }

    /// How calls are spread over several endpoints. Default: [`Mode::PickFirst`].
    pub fn mode(mut self, mode: Mode) -> Self {
        self.options.mode = mode;
        self
    }

    /// How old a connection for calls may grow; then another one takes over, to another
    /// endpoint perhaps, and calls that are under way end on the old one. Up to a fifth is
    /// taken off at random. Default: 30 minutes; at least 1 s.
    ///
    /// Without an end, all clients stay for good where a rolling restart has left them.
    pub fn max_connection_age(mut self, age: Duration) -> Self {
        self.options.max_connection_age = Some(age);
        self
    }

    /// Connections grow as old as they can.
    pub fn no_max_connection_age(mut self) -> Self {
        self.options.max_connection_age = None;
        self
    }

    /// How often the client asks the cluster for its members, to have their advertised client
    /// URLs as endpoints. A tenth is added or taken off at random. Default: never;
    /// at least 10 ms.
    ///
    /// It looks for the first time when the first connection is up. What members with a vote
    /// advertise is used once a member of the same cluster has answered there; what no member
    /// advertises any more is then given up, endpoints that the client was given included. When
    /// nothing that is advertised answers (it is an address that is only known inside of the
    /// cluster's own network, say), nothing is changed. When no endpoint in use can be reached,
    /// those that the client was given are back at once. A client with an https endpoint learns
    /// only https URLs, and others only http ones. What
    /// [`add_endpoint`](crate::Client::add_endpoint) has added is left alone. A sync on demand is
    /// [`sync_endpoints`](crate::Client::sync_endpoints).
    ///
    /// An endpoint at which another cluster answers is not used, and no secret goes there: its
    /// attempts to connect fail with [`ErrorKind::ClusterMismatch`](crate::ErrorKind).
    pub fn auto_sync_interval(mut self, interval: Duration) -> Self {
        self.options.auto_sync_interval = Some(interval);
        self
    }

    /// Finds endpoints by DNS SRV records, when the client is [connected](Self::connect), and
    /// again when no endpoint in use can be reached: what is found then is added. See
    /// [`Srv`](crate::Srv). Endpoints that are given besides are used, too.
    #[cfg(feature = "srv")]
    pub fn srv(mut self, srv: Srv) -> Self {
        self.options.srv = Some(srv);
        self
    }

    /// What opens the byte streams instead of the client's own TCP and unix sockets.
    pub fn connector(mut self, connector: impl Connector) -> Self {
        self.options.connector = Some(Arc::new(connector));
        self
    }

    /// How `https` endpoints are spoken to: see [`TlsConfig`](crate::TlsConfig). Default: the
    /// system's authorities, no client certificate.
    ///
    /// It goes around the byte streams of a [`connector`](Self::connector), too. With it, an
    /// endpoint has to be https (or there has to be none: the default one is then
    /// `https://127.0.0.1:2379`), as it would otherwise protect nothing.
    #[cfg(feature = "_tls")]
    pub fn tls(mut self, tls: TlsConfig) -> Self {
        self.options.tls = Some(tls);
        self
    }

    /// The user and the password to log in with.
    ///
    /// The client fetches a token with them, keeps it across connections, and gets a new one
    /// when the server refuses it. On a server without authentication they have no effect.
    /// Neither password nor token is ever printed.
    pub fn credentials(mut self, user: impl Into<Arc<str>>, password: impl Into<Arc<str>>) -> Self {
        self.options.credentials = Some(Credentials::Password {
            user: user.into(),
            password: Secret::new(password),
        });
        self
    }

    /// Where tokens come from that are made elsewhere (JWT): a [`Token`](crate::Token) that
    /// stays the same, or a provider. It replaces [`credentials`](Self::credentials).
    pub fn token(mut self, provider: impl TokenProvider) -> Self {
        self.options.credentials = Some(Credentials::Provider(Arc::new(provider)));
        self
    }

    /// All keys of this client stand below `prefix`, unseen: see
    /// [`Client::namespace`](crate::Client::namespace). Default: none.
    pub fn namespace(mut self, prefix: impl Into<crate::key::Key>) -> Self {
        self.options.namespace = prefix.into().into_bytes();
        self
    }

    /// Whether calls go only to members that see a leader: see
    /// [`Client::require_leader`](crate::Client::require_leader). Default: locks and watches do,
    /// other calls do not. The renewals of leases always do.
    pub fn require_leader(mut self, require: bool) -> Self {
        self.options.require_leader = Some(require);
        self
    }

    /// The same with the endpoints that DNS tells, if it is to be asked.
    #[cfg(feature = "srv")]
    pub(crate) fn with_found(mut self, endpoints: Vec<Endpoint>) -> Self {
        for endpoint in endpoints {
            if !self.endpoints.contains(&endpoint) {
                self.endpoints.push(endpoint);
            }
        }
        self
    }

    /// Where DNS is to be asked for endpoints, if anywhere, and whether only for https.
    #[cfg(feature = "srv")]
    pub(crate) fn wanted_records(&self) -> Option<(Srv, bool)> {
        let only_https = self.has_tls() || self.endpoints.iter().any(Endpoint::is_secure);
        Some((self.options.srv.clone()?, only_https))
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("endpoints", &self.endpoints)
            .field("name", &self.options.name)
            .field("timeout", &self.options.timeout)
            .finish_non_exhaustive()
    }
}
