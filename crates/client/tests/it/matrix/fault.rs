//! Faults of a member.

use std::fmt;
use std::time::Duration;

use etcdex_testkit::{Cluster, Etcd};

use super::traffic::Traffic;
use crate::stage::{connect, eventually};

/// Duration of a fault: longer than a lease lives without renewals.
const OUTAGE: Duration = Duration::from_secs(7);

/// How often the client may move while a member gets its role.
const MAX_MOVES: usize = 5;

/// The role of the member in its cluster when the fault begins.
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
    /// No byte passes between the clients and the member; it stays in the cluster.
    Cut,
    /// The member is cut off from its peers, and clients still reach it: it answers pings, and no
    /// call that needs its quorum.
    Hang(Role),
    /// `SIGTERM` and a start, one member after the other.
    RollingRestart,
}

impl Fault {
    /// Makes the member in use have the right role, and returns its index.
    ///
    /// A call that is answered with a change of the leader can make the client move: then the next
    /// member gets the role.
    pub(super) async fn prepare(self, cluster: &Cluster, sticky: &Traffic) -> usize {
        for _ in 0..MAX_MOVES {
            let target = sticky.used().await;
            self.assign_role(cluster, target).await;
            if sticky.used().await == target {
                return target;
            }
        }
        panic!("the client moved {MAX_MOVES} times without a fault");
    }

    async fn assign_role(self, cluster: &Cluster, target: usize) {
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
    }

    /// Runs the fault from its begin to its end.
    ///
    /// The leases survive the fault, with one exception: a stopped leader may revoke them right
    /// after it continues, before it learns that another member leads. Every etcd before 3.4.31 and
    /// 3.5.13 does so, and later ones do on a busy machine.
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

/// Checks the leases all the time, and asserts that they live in the end.
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
    eventually("the member leads", || async {
        if is_leader(target).await {
            return true;
        }
        let leader = cluster.leader().await.unwrap();
        let leader = connect(leader).await.maintenance();
        // The member may have lost the leadership meanwhile, to any other.
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
