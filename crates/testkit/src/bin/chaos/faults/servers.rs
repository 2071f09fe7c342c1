//! Faults of servers and of the tokens that they gave.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use etcdex::Client;
use etcdex_testkit::Etcd;
use etcdex_testkit::etcdex_server::Faults;

use super::{FaultState, between};
use crate::args::Profile;
use crate::setup::{Setup, WATCHER};

/// The faults of servers.
pub(super) struct Servers {
    pub(super) state: FaultState,
    pub(super) setup: Arc<Setup>,
    pub(super) client: Client,
    pub(super) profile: Profile,
    pub(super) random: fastrand::Rng,
}

impl Servers {
    pub(super) async fn disturb(mut self) -> io::Result<()> {
        let setup = Arc::clone(&self.setup);
        let members = setup.members();
        loop {
            let pause = between(&mut self.random, 2_000, 6_000);
            if !self.state.pause(pause).await {
                return Ok(());
            }
            let choice = self.random.u8(..3);
            let hangs = self.random.u8(..3) == 0;
            let number = self.random.usize(..members.len());
            let member = &members[number];
            let hold = between(&mut self.random, 50, 2_500);
            if self.state.calm.load(Relaxed) {
                continue;
            }
            if let Some(server) = member.server() {
                self.disturb_embedded(&server.faults(), choice, hold).await;
                continue;
            }
            let is_slow = matches!(self.profile, Profile::Slow | Profile::All);
            match (self.profile, choice) {
                _ if is_slow && hangs && members.len() > 1 => self.isolate(number, hold).await?,
                (Profile::Slow, _) | (Profile::All, 0) => self.stop(member, hold).await?,
                (_, 1) if members.len() > 1 => {
                    let first = self.random.usize(..members.len());
                    if let Some(next) = move_leader(&self.client, members, first).await {
                        self.state.note("moved leader", format!("to {next:x}"));
                    }
                }
                _ => self.kill(member, hold).await?,
            }
        }
    }

    /// Faults of a server that cannot be killed.
    async fn disturb_embedded(&self, faults: &Faults, choice: u8, hold: Duration) {
        let what = format!("for {hold:?}");
        match choice {
            0 => {
                self.state.note("stalled server", what);
                faults.stall();
            }
            1 => {
                self.state.note("hung server", what);
                faults.hang();
            }
            _ => {
                self.state.note("cut connections", String::new());
                return faults.cut();
            }
        }
        self.state.hold(hold, true).await;
        faults.heal();
    }

    /// SIGSTOP, then SIGCONT.
    async fn stop(&self, member: &Etcd, hold: Duration) -> io::Result<()> {
        let what = format!("{} for {hold:?}", member.name());
        self.state.note("stopped server", what);
        member.pause()?;
        self.state.hold(hold, true).await;
        member.resume()
    }

    /// Cuts a member off from its peers: it answers pings, and no linearizable call. The fault
    /// takes three times as long as others, so that clients notice it.
    async fn isolate(&self, number: usize, hold: Duration) -> io::Result<()> {
        let cluster = self.setup.cluster();
        let hold = hold * 3;
        let name = cluster.members()[number].name();
        self.state
            .note("isolated server", format!("{name} for {hold:?}"));
        cluster.isolate(number).await?;
        self.state.hold(hold, true).await;
        cluster.heal(number)
    }

    /// SIGKILL, then a start of the same server with the same data.
    async fn kill(&self, member: &Etcd, hold: Duration) -> io::Result<()> {
        let what = format!("{} for {hold:?}", member.name());
        self.state.note("killed server", what);
        member.kill();
        self.state.hold(hold, true).await;
        member.restart().await
    }
}

/// Moves the leadership to another member, trying the members from `first` on. Returns the ID of
/// the next leader; none without a leader or without another member.
pub(super) async fn move_leader(client: &Client, members: &[Etcd], first: usize) -> Option<u64> {
    let mut leader = None;
    let mut others = Vec::new();
    for step in 0..members.len() {
        let url = members[(first + step) % members.len()].endpoint();
        let Ok(handle) = client.with_endpoint(&url) else {
            continue;
        };
        let Ok(status) = handle.maintenance().status().await else {
            continue;
        };
        if status.header.member_id == status.leader {
            leader = Some(handle);
        } else {
            others.push(status.header.member_id);
        }
    }
    let next = *others.first()?;
    let moved = leader?.maintenance().move_leader(next).await;
    moved.is_ok().then_some(next)
}

/// Revokes the tokens of the watching user by changing the password. Expiries, 3 s after the last
/// use of a token, are not counted as faults.
pub(super) async fn revoke(state: FaultState, client: Client) -> io::Result<()> {
    while state.pause(Duration::from_secs(5)).await {
        let changed = client.auth().change_password(WATCHER, WATCHER).await;
        if changed.is_ok() {
            state.note("revoked tokens", String::new());
        }
    }
    Ok(())
}
