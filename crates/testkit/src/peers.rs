//! Proxies between the members of a cluster, which can cut a member off from its peers.
//!
//! Each member advertises the address of its proxy as its peer URL. A proxy has only one target. It
//! looks the source of a connection up in `/proc`: the process that holds the other end. Most
//! requests name their sender (`X-Server-From: <member ID>`), so that one lookup for each member is
//! enough; the others (`/leases`, `/raft/probing`, `/version`, `/members`) need a lookup each.
//!
//! All proxies of a cluster run on one thread of their own, so that a test that blocks its
//! runtime, or pauses its clock, does not disturb the cluster.

mod source;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::etcd::SharedProcess;

/// The header that names the member that sends a request, as etcd writes it.
const SENDER: &str = "X-Server-From: ";
/// How long a connection may take to send its first request.
const FIRST_REQUEST: Duration = Duration::from_millis(500);

/// Number of lookups of the source of a connection: `/proc/net/tcp` can miss a socket while others
/// are opened and closed.
const LOOKUPS: usize = 3;

/// How long a forbidden connection is held, without forwarding a byte, before it is refused.
/// Members try again at once, and each try costs a lookup in `/proc` (5 ms).
const HOLD: Duration = Duration::from_secs(1);

/// A listener for the proxy of each member, before the members exist.
#[derive(Debug)]
pub(crate) struct PeerListeners(Vec<TcpListener>);

/// The running proxies of a cluster, one before each member.
#[derive(Debug)]
pub(crate) struct PeerProxies {
    /// For each member, whether it is cut off.
    isolated: watch::Sender<Vec<bool>>,
    /// For each member, the number of connections from or to it.
    links: watch::Receiver<Vec<usize>>,
    /// Ends the thread, and with it all connections, when dropped.
    _stop: oneshot::Sender<()>,
}

/// One member as its proxy sees it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The address at which the member listens for its peers.
    pub(crate) address: SocketAddr,
    /// The process of the member, which identifies its outgoing connections.
    pub(crate) process: SharedProcess,
}

/// State that all connections share.
#[derive(Debug)]
struct Shared {
    targets: Vec<Target>,
    isolated: watch::Receiver<Vec<bool>>,
    links: watch::Sender<Vec<usize>>,
    /// The index of each member, by its ID in hexadecimal as in requests.
    // INVARIANT: a member keeps its ID for the life of the cluster.
    ids: Mutex<HashMap<String, usize>>,
}

/// The two ends of one connection; the source is none if no member holds it.
#[derive(Clone, Copy, Debug)]
struct Ends {
    from: Option<usize>,
    to: usize,
}

impl PeerListeners {
    pub(crate) fn bind(size: usize) -> io::Result<Self> {
        let listeners = (0..size).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        listeners.collect::<io::Result<_>>().map(Self)
    }

    /// The port of each proxy.
    pub(crate) fn ports(&self) -> io::Result<Vec<u16>> {
        let ports = self.0.iter().map(TcpListener::local_addr);
        ports.map(|address| Ok(address?.port())).collect()
    }

    /// Starts the proxies; the targets are in the order of the ports.
    pub(crate) fn start(self, targets: Vec<Target>) -> io::Result<PeerProxies> {
        let count = targets.len();
        let (isolated, isolated_seen) = watch::channel(vec![false; count]);
        let (links_changed, links) = watch::channel(vec![0; count]);
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::new(Shared {
            targets,
            isolated: isolated_seen,
            links: links_changed,
            ids: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listeners = self.0;
        thread::Builder::new()
            .name("peer proxies".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    for (to, listener) in listeners.into_iter().enumerate() {
                        tokio::spawn(accept(listener, to, Arc::clone(&shared)));
                    }
                    // The sender sends nothing: the wait ends when it is dropped.
                    let _ = stopped.await;
                });
            })?;
        Ok(PeerProxies {
            isolated,
            links,
            _stop: stop,
        })
    }
}

impl PeerProxies {
    /// Resets all connections from and to this member, and refuses new ones, until
    /// [`heal`](Self::heal). The connections are closed when this returns.
    pub(crate) async fn isolate(&self, member: usize) -> io::Result<()> {
        self.set(member, true)?;
        // ORDER: a link is counted before it reads `isolated`. A link that is counted after this
        // has read zero sees that it is forbidden.
        let mut links = self.links.clone();
        let none = links.wait_for(|links| links[member] == 0).await;
        none.map(drop).map_err(io::Error::other)
    }

    /// Lets this member have connections again.
    pub(crate) fn heal(&self, member: usize) -> io::Result<()> {
        self.set(member, false)
    }

    pub(crate) fn is_isolated(&self, member: usize) -> bool {
        self.isolated.borrow().get(member).copied() == Some(true)
    }

    fn set(&self, member: usize, value: bool) -> io::Result<()> {
        if member >= self.isolated.borrow().len() {
            let what = format!("the cluster has no member {member}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        self.isolated
            .send_modify(|isolated| isolated[member] = value);
        Ok(())
    }
}

impl Ends {
    /// Returns whether the connection is allowed. A connection of an unknown source may be an
    /// isolated member's, so it is refused while any member is isolated.
    fn are_allowed(self, isolated: &[bool]) -> bool {
        match self.from {
            Some(from) => !isolated[from] && !isolated[self.to],
            None => !isolated.contains(&true),
        }
    }

    /// Changes the count of each member that the connection belongs to. A connection of an unknown
    /// source belongs to all.
    fn count(self, links: &mut [usize], change: impl Fn(&mut usize)) {
        for (member, count) in links.iter_mut().enumerate() {
            if self.from.is_none() || self.from == Some(member) || self.to == member {
                change(count);
            }
        }
    }
}

/// Counts a connection while it exists.
struct Counted<'a> {
    ends: Ends,
    links: &'a watch::Sender<Vec<usize>>,
}

impl<'a> Counted<'a> {
    fn new(ends: Ends, links: &'a watch::Sender<Vec<usize>>) -> Self {
        links.send_modify(|links| ends.count(links, |count| *count += 1));
        Self { ends, links }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let ends = self.ends;
        self.links
            .send_modify(|links| ends.count(links, |count| *count -= 1));
    }
}

async fn accept(listener: TcpListener, to: usize, shared: Arc<Shared>) {
    let listener = listener
        .set_nonblocking(true)
        .and_then(|()| tokio::net::TcpListener::from_std(listener));
    let Ok(listener) = listener else {
        return;
    };
    loop {
        match listener.accept().await {
            Ok((stream, source)) => {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move { forward(stream, source, to, &shared).await });
            }
            // The peer has closed the connection, or no file descriptor is free: both are
            // temporary.
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Forwards both ways until one end closes or an end is isolated.
async fn forward(mut source: TcpStream, address: SocketAddr, to: usize, shared: &Arc<Shared>) {
    let mut isolated = shared.isolated.clone();
    let is_open = !isolated.borrow()[to];
    let from = if is_open {
        find(shared, &source, address).await
    } else {
        None
    };
    let ends = Ends { from, to };
    if !ends.are_allowed(&isolated.borrow_and_update()) {
        // Refused at once when a member is isolated or healed.
        let _ = timeout(HOLD, isolated.changed()).await;
        return reset(source);
    }
    // ORDER: dropped after both streams were reset, so that a connection that is not counted is
    // closed.
    let _counted = Counted::new(ends, &shared.links);
    let mut target = None;
    let pass = async {
        let target = target.insert(TcpStream::connect(shared.targets[to].address).await?);
        source.set_nodelay(true)?;
        target.set_nodelay(true)?;
        tokio::io::copy_bidirectional(&mut source, target).await
    };
    let finished = tokio::select! {
        biased;
        _ = isolated.wait_for(|isolated| !ends.are_allowed(isolated)) => false,
        outcome = pass => outcome.is_ok(),
    };
    if !finished {
        reset(source);
        target.into_iter().for_each(reset);
    }
}

/// Returns the member that a connection comes from.
async fn find(shared: &Arc<Shared>, stream: &TcpStream, address: SocketAddr) -> Option<usize> {
    let sender = timeout(FIRST_REQUEST, sender(stream)).await.ok().flatten();
    let known = sender.as_ref().and_then(|id| shared.ids().get(id).copied());
    if known.is_some() {
        return known;
    }
    let looking = Arc::clone(shared);
    // Not on the thread that forwards: a delay of some tens of milliseconds would cause elections.
    let found = spawn_blocking(move || looking.look_up(address)).await;
    let found = found.ok().flatten();
    if let (Some(id), Some(member)) = (sender, found) {
        shared.ids().insert(id, member);
    }
    found
}

/// Returns the member ID in the first request of a connection, which is peeked and not consumed.
async fn sender(stream: &TcpStream) -> Option<String> {
    let mut head = [0; 2048];
    let count = stream.peek(&mut head).await.ok()?;
    let head = String::from_utf8_lossy(&head[..count]);
    // An incomplete ID would be another one.
    let mut lines = head.split_inclusive("\r\n");
    let id = lines.find_map(|line| line.strip_prefix(SENDER)?.strip_suffix("\r\n"))?;
    Some(id.to_owned())
}

impl Shared {
    fn ids(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the member that holds the other end of a connection from this address.
    fn look_up(&self, address: SocketAddr) -> Option<usize> {
        (0..LOOKUPS).find_map(|_| {
            let inode = source::inode(address.port())?;
            self.targets.iter().position(|target| {
                let pid = target.process.id();
                pid.is_some_and(|pid| source::holds(pid, inode))
            })
        })
    }
}

/// Closes a connection with an RST.
fn reset(stream: TcpStream) {
    // This fails only for a closed connection.
    let _ = set_socket_linger(&stream, Some(Duration::ZERO));
}
