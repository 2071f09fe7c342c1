//! A cluster of etcd servers.

use std::io;

use etcdex_server::ServerBuilder;
use tokio::time::{Instant, sleep};

use crate::etcd::{DEADLINE, INTERVAL};
use crate::peers::PeerProxies;
use crate::{Binary, Etcd};

/// A cluster of etcd servers, which are killed when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    members: Vec<Etcd>,
    peers: Option<PeerProxies>,
}

impl Cluster {
    /// Starts `size` servers of one version and waits until each answers.
    ///
    /// With arguments of your own: [`Builder::start_cluster`](crate::Builder::start_cluster).
    pub async fn start(binary: &Binary, size: usize) -> io::Result<Self> {
        Etcd::builder().binary(binary).start_cluster(size).await
    }

    /// Starts an embedded server, which is a cluster of one.
    pub async fn embedded(server: ServerBuilder) -> io::Result<Self> {
        let member = Etcd::embedded_with(server, None).await?;
        Ok(Self::of(vec![member], None))
    }

    pub(crate) fn of(members: Vec<Etcd>, peers: Option<PeerProxies>) -> Self {
        Self { members, peers }
    }

    /// Returns the servers; each can be killed, paused and restarted separately.
    pub fn members(&self) -> &[Etcd] {
        &self.members
    }

    /// Returns the endpoint of each member.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(Etcd::endpoint).collect()
    }

    /// Returns another server of the first member's version, which is not a member yet and does not
    /// run: add its [peer URL](Etcd::peer_url) to the cluster, then [launch](Etcd::launch) it.
    pub fn newcomer(&self) -> io::Result<Etcd> {
        match self.members.first() {
            Some(first) => Etcd::builder()
                .binary(first.binary())
                .newcomer(&self.members),
            None => Err(io::Error::other("the cluster has no members")),
        }
    }

    /// Cuts a member off from its peers, in both directions: all connections from and to it are
    /// reset, and new ones are refused, until [`heal`](Self::heal). It is cut off when this
    /// returns.
    ///
    /// Clients still reach the member, and it answers pings and serializable reads, but nothing
    /// that needs a quorum. It may still act as the leader for an election time-out (1 s). Several
    /// members can be cut off at a time. The proxies do not know a [`newcomer`](Self::newcomer),
    /// which has no connections to members while any of them is cut off.
    ///
    /// # Errors
    ///
    /// There is no such member, or the cluster was started without
    /// [`peer_proxies`](crate::Builder::peer_proxies).
    pub async fn isolate(&self, member: usize) -> io::Result<()> {
        self.peers()?.isolate(member).await
    }

    /// Connects a member with its peers again. It takes a moment until the member has caught up;
    /// [`Etcd::ready`] waits for that.
    ///
    /// # Errors
    ///
    /// The same as for [`isolate`](Self::isolate).
    pub fn heal(&self, member: usize) -> io::Result<()> {
        self.peers()?.heal(member)
    }

    fn peers(&self) -> io::Result<&PeerProxies> {
        self.peers.as_ref().ok_or_else(|| {
            io::Error::other("the cluster was started without proxies between its members")
        })
    }

    fn is_isolated(&self, member: usize) -> bool {
        let peers = self.peers.as_ref();
        peers.is_some_and(|peers| peers.is_isolated(member))
    }

    /// Waits until one of the members that run and are not isolated leads, and returns it.
    ///
    /// Call this after a leader was killed or paused: etcd loses requests until the election has
    /// ended.
    pub async fn leader(&self) -> io::Result<&Etcd> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let able = self
                .members
                .iter()
                .enumerate()
                .filter(|(index, member)| member.is_running() && !self.is_isolated(*index));
            for (_, member) in able {
                let metrics = member.metrics().await.unwrap_or_default();
                if metrics
                    .lines()
                    .any(|line| line == "etcd_server_is_leader 1")
                {
                    return Ok(member);
                }
            }
            if Instant::now() > deadline {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("no running member of the cluster leads after {DEADLINE:?}"),
                ));
            }
            sleep(INTERVAL).await;
        }
    }
}
