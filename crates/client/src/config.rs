//! The builder of a client: a method for each option.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::connector::Connector;
use crate::credentials::{Credentials, Secret, TokenProvider};
use crate::debug::debug_fields;
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
mod validate;

pub use self::limits::WatchLimits;
pub(crate) use self::options::{Config, Options};
pub(crate) use self::validate::{check, check_all};

/// etcd answers pings that come faster than this with GOAWAY (`too_many_pings`).
///
/// Source: `server/embed/config.go`, `DefaultGRPCKeepAliveMinTime`.
pub(crate) const MIN_KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// Makes a [`Client`](crate::Client).
///
/// Every option has a default that is safe for production. A builder without options connects to
/// `http://127.0.0.1:2379`. An invalid value makes [`connect`](Self::connect) fail with an error
/// that names the option and its bound. A duration of more than a year is taken as a year.
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
    // The first invalid option. `connect` reports it, so that the chain of methods needs no `?`.
    error: Option<(ErrorKind, String)>,
    options: Options,
}

/// Makes methods of [`ClientBuilder`] that set one option each: `fn name(argument) => option = value;`.
macro_rules! settings {
    ($($(#[$doc:meta])* fn $name:ident($($argument:ident: $type:ty)?) => $option:ident = $value:expr;)*) => {
        $(
            $(#[$doc])*
            pub fn $name(mut self $(, $argument: $type)?) -> Self {
                self.options.$option = $value;
                self
            }
        )*
    };
}

impl ClientBuilder {
    /// Adds an endpoint. Default, when none is added: `http://127.0.0.1:2379`.
    ///
    /// An invalid URL makes [`connect`](Self::connect) fail.
    pub fn endpoint(mut self, url: impl AsRef<str>) -> Self {
        match url.as_ref().parse::<Endpoint>() {
            Ok(endpoint) if self.endpoints.contains(&endpoint) => {}
            Ok(endpoint) => self.endpoints.push(endpoint),
            Err(error) => self.refuse(error.message()),
        }
        self
    }

    /// Sets how many unread events a client keeps for its watches. Default:
    /// [`WatchLimits::default`].
    pub fn watch_limits(mut self, limits: WatchLimits) -> Self {
        self.options.watch_limits = limits;
        self
    }

    /// Adds several endpoints.
    pub fn endpoints<U: AsRef<str>>(self, urls: impl IntoIterator<Item = U>) -> Self {
        urls.into_iter().fold(self, Self::endpoint)
    }

    /// Names this client in its errors, spans and metrics. Default: none.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.options.name = Some(name.into());
        self
    }

    settings! {
        /// Sets how long a call may take, from its first poll to its answer, including the time that it
        /// waits for a connection. The client sends the time-out to the server (`grpc-timeout`).
        /// Default: 5 s; at least 1 ms.
        fn timeout(timeout: Duration) => timeout = Some(timeout);

        /// Lets calls take any time.
        fn no_timeout() => timeout = None;

        /// Sets how long one attempt to connect may take, including handshakes. Default: 3 s; at least
        /// 1 ms.
        fn connect_timeout(timeout: Duration) => connect_timeout = timeout;

        /// Sets how long a connection with calls in progress may be silent before the client sends a
        /// ping. Default: 10 s. Less than 5 s is refused, as etcd closes connections that ping faster.
        /// The client leaves at least 6 s between two pings, as some networks bring them closer
        /// together.
        fn keep_alive_interval(interval: Duration) => keep_alive_interval = Some(interval);

        /// Sends no pings on silent connections.
        fn no_keep_alive_interval() => keep_alive_interval = None;

        /// Sets how long a ping may stay unanswered before the client closes the connection as dead.
        /// Default: 3 s; at least 10 ms.
        fn keep_alive_timeout(timeout: Duration) => keep_alive_timeout = Some(timeout);

        /// Never closes a connection because a ping stays unanswered.
        fn no_keep_alive_timeout() => keep_alive_timeout = None;

        /// Sets how often a repeatable call is sent again after a failure. Default: 10.
        ///
        /// Independent of this number, a request that provably reached no server (because the
        /// connection was closed gracefully, for example) goes to the next connection.
        fn retries(retries: u32) => retries = retries;

        /// Sets the longest pause between two attempts to connect. Default: 1 s; at least 10 ms.
        ///
        /// Pauses start at 10 ms, double, and are jittered. A good reply resets them to 10 ms.
        fn retry_timeout(pause: Duration) => retry_timeout = pause;

        /// Sets the local address to connect from. Default: the system chooses.
        fn bind_address(address: IpAddr) => bind_address = Some(address);

        /// Sets whether small writes are sent at once (`TCP_NODELAY`). Default: true.
        fn nodelay(nodelay: bool) => nodelay = nodelay;
    }

    /// Sets how many bytes of one reply the server may send ahead of the reader. Default: 8 MiB;
    /// from 64 KiB to 2 GiB - 1.
    pub fn stream_window(mut self, bytes: u32) -> Self {
        self.check_window("stream_window", bytes);
        self.options.stream_window = bytes;
        self
    }

    /// Sets how many bytes of all replies of a connection together the server may send ahead of
    /// their readers. Default: 2 GiB - 1, so that unread replies do not stop other replies; from 64
    /// KiB.
    pub fn connection_window(mut self, bytes: u32) -> Self {
        self.check_window("connection_window", bytes);
        self.options.connection_window = bytes;
        self
    }

    settings! {
        /// Sets the size of the largest reply that the client accepts, in bytes. Default: 256 MiB.
        ///
        /// Read larger ranges in pages, with [`Client::list`](crate::Client::list). For watches, this
        /// is the limit of one message. A larger revision comes in several messages, and has its own
        /// limit, [`WatchLimits::revision_bytes`](crate::WatchLimits::revision_bytes).
        fn max_receive_size(bytes: usize) => max_receive_size = bytes;

        /// Sets the size of the largest request that the client sends, in bytes. Default: 2 MiB (a
        /// server accepts 1.5 MiB unless it was started with another `--max-request-bytes`).
        fn max_send_size(bytes: usize) => max_send_size = bytes;

        /// Sets how calls are distributed over several endpoints. Default: [`Mode::PickFirst`].
        fn mode(mode: Mode) => mode = mode;

        /// Sets the age at which the client replaces a connection for calls. Default: 30 minutes; at
        /// least 1 s.
        ///
        /// The new connection may lead to another endpoint. Calls in progress end on the old
        /// connection. The client takes up to a fifth off the age at random.
        ///
        /// Without an age, all clients stay on the members that they reached during a rolling restart.
        fn max_connection_age(age: Duration) => max_connection_age = Some(age);

        /// Keeps connections for as long as they work.
        fn no_max_connection_age() => max_connection_age = None;

        /// Sets how often the client asks the cluster for its members, to use their advertised client
        /// URLs as endpoints. Default: never; at least 10 ms. The client adds or takes off a tenth at
        /// random.
        ///
        /// The client asks for the first time when the first connection is up. It uses the URLs that
        /// members with a vote advertise, once a member of the same cluster has answered there. It then
        /// gives up the endpoints that no member advertises any more, including endpoints that it was
        /// given. When no advertised URL answers (because the addresses are known only inside of the
        /// cluster's own network, for example), nothing changes. When no endpoint in use can be
        /// reached, the client returns at once to the endpoints that it was given. A client with an
        /// https endpoint learns only https URLs, and others only http ones. Endpoints that
        /// [`add_endpoint`](crate::Client::add_endpoint) has added stay. For a sync on demand, see
        /// [`sync_endpoints`](crate::Client::sync_endpoints).
        ///
        /// An endpoint at which another cluster answers is not used, and gets no secret. Attempts to
        /// connect to it fail with [`ErrorKind::ClusterMismatch`](crate::ErrorKind).
        fn auto_sync_interval(interval: Duration) => auto_sync_interval = Some(interval);
    }

    /// Finds endpoints by DNS SRV records when the client is [connected](Self::connect), and again
    /// when no endpoint in use can be reached. The client adds the endpoints that it finds then.
    /// See [`Srv`](crate::Srv). Other endpoints of the builder are used, too.
    #[cfg(feature = "srv")]
    pub fn srv(mut self, srv: Srv) -> Self {
        self.options.srv = Some(srv);
        self
    }

    /// Opens byte streams with `connector`, instead of the client's own TCP and unix sockets.
    pub fn connector(mut self, connector: impl Connector) -> Self {
        self.options.connector = Some(Arc::new(connector));
        self
    }

    /// Configures TLS for `https` endpoints: see [`TlsConfig`](crate::TlsConfig). Default: the
    /// system's certificate authorities, no client certificate.
    ///
    /// The client also speaks TLS over the byte streams of a [`connector`](Self::connector). With
    /// this option, at least one endpoint has to be https, as the option would otherwise protect
    /// nothing. Without any endpoint, the default is `https://127.0.0.1:2379`.
    #[cfg(feature = "_tls")]
    pub fn tls(mut self, tls: TlsConfig) -> Self {
        self.options.tls = Some(tls);
        self
    }

    /// Sets the user and the password to log in with.
    ///
    /// The client fetches a token with them, keeps the token across connections, and fetches a new
    /// one when the server refuses it. On a server without authentication they have no effect.
    /// Neither password nor token is ever printed.
    pub fn credentials(mut self, user: impl Into<Arc<str>>, password: impl Into<Arc<str>>) -> Self {
        self.options.credentials = Some(Credentials::Password {
            user: user.into(),
            password: Secret::new(password),
        });
        self
    }

    /// Sets the source of tokens that are made elsewhere (JWT): a [`Token`](crate::credentials::Token) that
    /// stays the same, or a provider. This option replaces [`credentials`](Self::credentials).
    pub fn token(mut self, provider: impl TokenProvider) -> Self {
        self.options.credentials = Some(Credentials::Provider(Arc::new(provider)));
        self
    }

    /// Puts all keys of this client below `prefix`: see
    /// [`Client::namespace`](crate::Client::namespace). Default: none.
    pub fn namespace(mut self, prefix: impl Into<crate::key::Key>) -> Self {
        self.options.namespace = prefix.into().into_bytes();
        self
    }

    /// Sets whether calls go only to members that see a leader: see
    /// [`Client::require_leader`](crate::Client::require_leader). Default: locks and watches do,
    /// other calls do not. The renewals of leases always do.
    pub fn require_leader(mut self, require: bool) -> Self {
        self.options.require_leader = Some(require);
        self
    }

    /// Adds the endpoints that DNS has returned.
    #[cfg(feature = "srv")]
    pub(crate) fn with_found(mut self, endpoints: Vec<Endpoint>) -> Self {
        for endpoint in endpoints {
            if !self.endpoints.contains(&endpoint) {
                self.endpoints.push(endpoint);
            }
        }
        self
    }

    /// Returns the SRV records to look up, if any, and whether only https endpoints may be used.
    #[cfg(feature = "srv")]
    pub(crate) fn wanted_records(&self) -> Option<(Srv, bool)> {
        let only_https = self.has_tls() || self.endpoints.iter().any(Endpoint::is_secure);
        Some((self.options.srv.clone()?, only_https))
    }
}

debug_fields! { ClientBuilder |builder| {
    endpoints: builder.endpoints, name: builder.options.name, timeout: builder.options.timeout, ..
} }
