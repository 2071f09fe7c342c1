//! A server, and its life.

use std::io;
use std::net::{self, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{self, Runtime};
use tokio::sync::oneshot;

use crate::connection;
use crate::node::Node;
use crate::service::STEP;

/// The pause after the system has refused to accept a connection: there are too many open files, for
/// example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The interval at which expired leases are looked for, as in etcd.
///
/// Source: etcd, `server/lease/lessor.go` (`runLoop`).
const EXPIRY_INTERVAL: Duration = Duration::from_millis(500);

/// An etcd-compatible server in this process: one node, in memory.
///
/// A server has a thread of its own, and shares nothing with other servers. It listens on a port of
/// the loopback that the system chooses. It stops when it is dropped, with all its connections.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = etcdex_server::Server::start()?;
/// let client = etcdex::Client::connect(server.client_url()).await?;
/// client.put("greeting", "hello").await?;
/// assert_eq!(client.get("greeting").string().await?.as_deref(), Some("hello"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    /// Ends the thread when it is dropped.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server. It serves when this returns, and needs no runtime of the caller.
    ///
    /// # Errors
    /// The error of the system, if it gives the server no port or no thread.
    pub fn start() -> io::Result<Self> {
        let listener = net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = {
            let _context = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name(format!("etcdex-server:{}", address.port()))
            .spawn(move || run(&runtime, &listener, stopped))?;
        Ok(Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Returns the URL for clients: `http://127.0.0.1:` and the port.
    #[must_use]
    pub fn client_url(&self) -> String {
        format!("http://{}", self.address)
    }
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
fn run(runtime: &Runtime, listener: &TcpListener, stopped: oneshot::Receiver<()>) {
    runtime.block_on(async {
        let node = Arc::new(Node::new());
        tokio::select! {
            biased;
            _ = stopped => {}
            () = accept(listener, &node) => {}
            () = expire_leases(&node) => {}
            () = sweep(&node) => {}
        }
    });
}

async fn accept(listener: &TcpListener, node: &Arc<Node>) {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                let node = Arc::clone(node);
                tokio::spawn(async move {
                    // An error is the client's: it has gone, or does not speak HTTP/2.
                    let _ = connection::serve(socket, node).await;
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
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

async fn expire_leases(node: &Node) {
    loop {
        tokio::time::sleep(EXPIRY_INTERVAL).await;
        let now = node.now();
        node.store().expire(now);
    }
}
