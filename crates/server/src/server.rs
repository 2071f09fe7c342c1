//! A server, and its life.

use std::io;
use std::net::{self, SocketAddr};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{self, Runtime};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::compactor::AutoCompaction;
use crate::connection;
use crate::faults::Faults;
use crate::node::Node;
use crate::options::Options;
use crate::service::STEP;
use crate::socket::SocketState;
#[cfg(feature = "_tls")]
use crate::tls::TlsConfig;

/// The pause after the system has refused to accept a connection: there are too many open files, for
/// example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The interval at which expired leases are looked for, as in etcd.
///
/// Source: etcd, `server/lease/lessor.go` (`runLoop`).
const EXPIRY_INTERVAL: Duration = Duration::from_millis(500);

/// An etcd-compatible server in this process: one node, in memory.
///
/// A server has a thread of its own, and shares nothing with other servers. It stops when it is
/// dropped, with all its connections.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = etcdex_server::Server::builder().start().await?;
/// let client = etcdex::Client::connect(server.client_url()).await?;
/// client.put("greeting", "hello").await?;
/// assert_eq!(client.get("greeting").string().await?.as_deref(), Some("hello"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    node: Arc<Node>,
    /// Ends the thread when it is dropped.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The options of a server that is not started: [`Server::builder`].
///
/// The defaults are etcd's, but for the address: a port of the loopback that the system chooses.
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until `start` is called"]
pub struct ServerBuilder {
    options: Options,
}

impl Server {
    /// Returns the options of a server, which [`start`](ServerBuilder::start) starts.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// Returns the URL for clients: `http://` or, with TLS, `https://`, the address and the port.
    #[must_use]
    pub fn client_url(&self) -> String {
        self.node.options().url(self.address)
    }

    /// Returns the addresses of the clients that are connected, in the order of their connections.
    #[must_use]
    pub fn connections(&self) -> Vec<SocketAddr> {
        self.node.faults().peers()
    }

    /// Returns the faults that a test can cause.
    pub fn faults(&self) -> Faults {
        Faults::new(Arc::clone(&self.node))
    }

    /// Returns the clock of the server.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock::new(Arc::clone(&self.node))
    }
}

impl ServerBuilder {
    /// Sets the address that the server listens on. Port 0 has the system choose one. The
    /// default is port 0 of 127.0.0.1.
    ///
    /// Without [`tls`](Self::tls) nothing is encrypted, and without users everybody who reaches the
    /// address can read and write all keys.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.options.listen = address;
        self
    }

    /// Sets the name of the member. The default is "default".
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.options.name = name.into();
        self
    }

    /// Sets the URL that clients are told of, when they ask for the members. The default is the one that
    /// the server listens on.
    pub fn advertise_client_url(mut self, url: impl Into<String>) -> Self {
        self.options.advertise = Some(url.into());
        self
    }

    /// Sets the most compares, and the most operations of each branch, of a transaction. The default is
    /// 128.
    pub fn max_txn_ops(mut self, most: usize) -> Self {
        self.options.max_txn_ops = most;
        self
    }

    /// Sets the length of the largest request that changes something, in bytes. The default is 1.5 MiB.
    /// Requests that are longer by more than 512 KiB are not read to their end.
    pub fn max_request_bytes(mut self, most: usize) -> Self {
        self.options.max_request_bytes = most;
        self
    }

    /// Sets the most open calls and streams of a connection; a client waits with further ones. The default
    /// is 16,384. Etcd has no limit by default.
    pub fn max_concurrent_streams(mut self, most: u32) -> Self {
        self.options.max_concurrent_streams = most;
        self
    }

    /// Sets the size from which on the server takes no more data, in bytes. The default is 2 GiB.
    pub fn quota_backend_bytes(mut self, quota: usize) -> Self {
        self.options.quota_backend_bytes = quota;
        self
    }

    /// Sets the shortest time-to-live of a lease, in whole seconds: a shorter one is raised to this. The
    /// default is 2 s, which is etcd's with its default election timeout.
    pub fn min_lease_ttl(mut self, shortest: Duration) -> Self {
        self.options.min_lease_ttl = shortest;
        self
    }

    /// Sets how long the token of a user is valid after its last use. The default is 5 minutes.
    pub fn auth_token_ttl(mut self, ttl: Duration) -> Self {
        self.options.auth_token_ttl = ttl;
        self
    }

    /// Sets the interval at which an idle watch is told of the progress of the store, if its client
    /// wants that. The default is 10 minutes.
    pub fn watch_progress_notify_interval(mut self, interval: Duration) -> Self {
        self.options.watch_progress_notify_interval = interval.max(Duration::from_millis(1));
        self
    }

    /// Has the server compact its history by itself. By default it does not. A time or a number of 0
    /// stands for the default.
    pub fn auto_compaction(mut self, kept: AutoCompaction) -> Self {
        let is_none = matches!(
            kept,
            AutoCompaction::Periodic(Duration::ZERO) | AutoCompaction::Revision(..=0)
        );
        self.options.auto_compaction = (!is_none).then_some(kept);
        self
    }

    /// Speaks TLS, and only that, with this certificate. By default nothing is encrypted.
    ///
    /// Needs the feature `tls` or `tls-aws-lc`.
    #[cfg(feature = "_tls")]
    pub fn tls(mut self, config: TlsConfig) -> Self {
        self.options.tls = Some(config);
        self
    }

    /// Starts the server. It serves when this returns. It needs no runtime of the caller, and goes on
    /// when that ends.
    ///
    /// # Errors
    /// - The error of the system, if it gives the server no address or no thread.
    /// - `InvalidInput`, if a certificate or a key cannot be used.
    ///
    /// # Cancel safety
    /// The server is started at the first poll, and that does not wait.
    pub async fn start(self) -> io::Result<Server> {
        self.start_blocking()
    }

    /// Starts the server, from code that is not asynchronous: [`start`](Self::start).
    ///
    /// # Errors
    /// The errors of [`start`](Self::start).
    pub fn start_blocking(self) -> io::Result<Server> {
        let listener = net::TcpListener::bind(self.options.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let url = self.options.url(address);
        let node = Arc::new(Node::new(self.options, url)?);
        let served = Arc::clone(&node);
        let (stop, stopped) = oneshot::channel();
        let (starts, started) = mpsc::channel();
        let thread = thread::Builder::new()
            .name(format!("etcdex-server:{}", address.port()))
            // The caller may be in a runtime, where another one may be neither entered nor dropped.
            .spawn(move || match listen(listener) {
                Ok((runtime, listener)) => {
                    let _ = starts.send(Ok(()));
                    run(&runtime, &listener, &served, stopped);
                }
                Err(error) => drop(starts.send(Err(error))),
            })?;
        // The thread has ended without a word: it has no memory, for example.
        started
            .recv()
            .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))?;
        Ok(Server {
            address,
            node,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

/// Returns the runtime of a server, and its listener in it.
fn listen(listener: net::TcpListener) -> io::Result<(Runtime, TcpListener)> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listener = {
        let _context = runtime.enter();
        TcpListener::from_std(listener)?
    };
    Ok((runtime, listener))
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed by the thread itself.
            let _ = thread.join();
        }
    }
}

/// Serves until the server is dropped. The end of the runtime ends all connections.
fn run(
    runtime: &Runtime,
    listener: &TcpListener,
    node: &Arc<Node>,
    stopped: oneshot::Receiver<()>,
) {
    runtime.block_on(async {
        tokio::select! {
            biased;
            _ = stopped => {}
            () = accept(listener, node) => {}
            () = expire_leases(node) => {}
            () = sweep(node) => {}
            () = compact(node) => {}
        }
    });
}

async fn accept(listener: &TcpListener, node: &Arc<Node>) {
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                let node = Arc::clone(node);
                tokio::spawn(async move {
                    let faults = Arc::new(SocketState::new(peer));
                    node.faults().add_connection(Arc::clone(&faults));
                    tracing::debug!(target: "etcdex_server", %peer, "connected");
                    match connection::serve(socket, &node, &faults).await {
                        Ok(()) => tracing::debug!(target: "etcdex_server", %peer, "disconnected"),
                        // The error is the client's: it has gone, or does not speak HTTP/2.
                        Err(cause) => {
                            tracing::debug!(target: "etcdex_server", %peer, %cause, "disconnected");
                        }
                    }
                    node.faults().remove_connection(&faults);
                });
            }
            Err(cause) => {
                tracing::warn!(target: "etcdex_server", %cause, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Does the work of compactions, in steps between which requests are answered.
async fn sweep(node: &Node) {
    loop {
        node.compacted().notified().await;
        while node.store().sweep(STEP) {
            tokio::task::yield_now().await;
        }
    }
}

/// Makes the compactions that the options ask for.
async fn compact(node: &Node) {
    match node.options().auto_compaction {
        Some(kept) => kept.run(node).await,
        None => std::future::pending().await,
    }
}

async fn expire_leases(node: &Node) {
    loop {
        tokio::time::sleep(EXPIRY_INTERVAL).await;
        let now = node.now();
        node.store().expire(now);
    }
}
