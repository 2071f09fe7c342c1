//! Several etcd servers that are one cluster.

use std::io;

use tokio::time::{Instant, sleep};

use crate::etcd::{DEADLINE, INTERVAL};
use crate::{Binary, Etcd};

/// Several etcd servers that are one cluster; killed when dropped.
#[derive(Debug)]
pub struct Cluster {
    members: Vec<Etcd>,
}

impl Cluster {
    /// Starts so many servers of one version and waits until each answers.
    ///
    /// With arguments of your own: [`Builder::start_cluster`](crate::Builder::start_cluster).
    pub async fn start(binary: &Binary, size: usize) -> io::Result<Self> {
        Etcd::builder().binary(binary).start_cluster(size).await
    }

    pub(crate) fn of(members: Vec<Etcd>) -> Self {
        Self { members }
    }

    /// The servers; each can be killed, paused and restarted by itself.
    pub fn members(&self) -> &[Etcd] {
        &self.members
    }

    /// The endpoint of each member.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(Etcd::endpoint).collect()
    }

    /// One more server of the first member's version, which is not a member yet and does not
    /// run: add its [peer URL](Etcd::peer_url) to the cluster, then [launch](Etcd::launch) it.
    pub fn newcomer(&self) -> io::Result<Etcd> {
        match self.members.first() {
            Some(first) => Etcd::builder()
                .binary(first.binary())
                .newcomer(&self.members),
            None => Err(io::Error::other("a cluster of nobody has no newcomers")),
        }
    }

    /// Waits until one of the members that run leads, and gives it.
    ///
    /// To be used after a leader was killed or paused: etcd loses what it is asked meanwhile.
    pub async fn leader(&self) -> io::Result<&Etcd> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            for member in self.members.iter().filter(|member| member.is_running()) {
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
