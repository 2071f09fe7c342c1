//! What happens to a member.

use std::fmt;
use std::time::Duration;

use etcdex_testkit::{Cluster, Etcd};

use super::traffic::Traffic;
use crate::stage::{connect, eventually};

/// How long a member is away: longer than the leases live that nobody renews.
const OUTAGE: Duration = Duration::from_secs(7);

/// What the member is in its cluster when the fault begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Leader,
    Follower,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// `SIGKILL`, and a start later.
    Kill(Role),
    /// `SIGSTOP`, and `SIGCONT` later: its links stay open.
    Stop(Role),
    /// Nothing gets through between the clients and it any more, either way; it stays a member.
    Cut,
    /// It is cut off from its peers, and clients still reach it: it answers pings, and no call that
    /// needs its quorum.
    Hang(Role),
    /// `SIGTERM` and a start, of each member after the other.
    RollingRestart,
}

impl Fault {
    /// Sees to it that the member in use has the right role; gives its place.
    pub(super) async fn prepare(self, cluster: &Cluster, sticky: &Traffic) -> usize {
        let target = sticky.used().await;
        match self {
            Self::Kill(Role::Leader) | Self::Stop(Role::Leader) | Self::Hang(Role::Leader) => {
                lead(cluster, target).await;
            }
            Self::Kill(Role::Follower)
            | Self::Stop(Role::Follower)
            | Self::Hang(Role::Follower) => {
                if is_leader(&cluster.members()[target]).await {
                    lead(cluster, (target + 1) % cluster.members().len()).await;
                }
            }
            Self::Cut | Self::RollingRestart => {}
        }
        target
    }

    /// The fault, from its begin to its end.
    ///
    /// The leases live through all of it, with one exception: a leader that stood still may
    /// revoke them in the moment in which it goes on and has not heard yet that another one
    /// leads. Every etcd until 3.4.31 and 3.5.13 does, and later ones do on a busy machine.
    ///
    /// Source: <https://github.com/etcd-io/etcd/issues/15247>.
    pub(super) async fn run(self, cluster: &Cluster, clients: &[Traffic], target: usize) {
        let member = &cluster.members()[target];
        match self {
            Self::Kill(_) => {
                member.kill();
                outage(clients).await;
                member.restart().await.unwrap();
            }
            Self::Stop(_) => {
                member.pause().unwrap();
                outage(clients).await;
                member.resume().unwrap();
                member.ready().await.unwrap();
            }
            Self::Cut => {
                for client in clients {
                    client.proxies[target].black_hole();
                }
                outage(clients).await;
                for client in clients {
                    client.proxies[target].heal();
                }
            }
            Self::Hang(_) => {
                cluster.isolate(target).await.unwrap();
                outage(clients).await;
                cluster.heal(target).unwrap();
                member.ready().await.unwrap();
            }
            Self::RollingRestart => {
                for member in cluster.members() {
                    member.terminate().await.unwrap();
                    member.launch().unwrap();
                    member.ready().await.unwrap();
                }
            }
        }
    }
}

/// The leases are looked at all the time, and live in the end.
async fn outage(clients: &[Traffic]) {
    let end = tokio::time::Instant::now() + OUTAGE;
    while tokio::time::Instant::now() < end {
        for client in clients {
            client.look_at_lease();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for client in clients {
        client.assert_lease_lives().await;
    }
}

async fn is_leader(member: &Etcd) -> bool {
    let metrics = member.metrics().await.unwrap_or_default();
    let mut lines = metrics.lines();
    lines.any(|line| line == "etcd_server_is_leader 1")
}

/// Makes this member the leader.
async fn lead(cluster: &Cluster, target: usize) {
    let target = &cluster.members()[target];
    let id = connect(target).await.maintenance().status().await.unwrap();
    eventually("it leads", || async {
        if is_leader(target).await {
            return true;
        }
        let leader = cluster.leader().await.unwrap();
        let leader = connect(leader).await.maintenance();
        // It may have lost the leadership meanwhile, to whomever.
        let _ = leader.move_leader(id.header.member_id).await;
        false
    })
    .await;
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill(Role::Leader) => "SIGKILL of the leader",
            Self::Kill(Role::Follower) => "SIGKILL of a follower",
            Self::Stop(Role::Leader) => "SIGSTOP of the leader",
            Self::Stop(Role::Follower) => "SIGSTOP of a follower",
            Self::Cut => "cut off",
            Self::Hang(Role::Leader) => "leader without its peers",
            Self::Hang(Role::Follower) => "follower without its peers",
            Self::RollingRestart => "rolling restart",
        })
    }
}
