//! Faults in scenes: a scene disturbs servers and connections, goes on for a while, and is undone.
//! So it is known at each moment which members could be reached.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcdex::Client;
use etcdex_testkit::calls::Period;
use etcdex_testkit::{Etcd, Fault, Proxy};

use super::servers::move_leader;
use super::{FaultState, between};
use crate::args::SceneProfile;
use crate::setup::{Setup, Way};

/// Time for the servers after a scene: an election, and catching up.
const CALM: Duration = Duration::from_secs(1);

/// Number of attempts of 20 s to wait for a member before the run is given up.
const READY: usize = 4;

/// The scenes of a run, one after the other.
pub(crate) struct Scenes {
    pub(super) state: FaultState,
    pub(super) setup: Arc<Setup>,
    pub(super) ways: Arc<Vec<Way>>,
    pub(super) client: Client,
    pub(super) profile: SceneProfile,
    /// The path whose frames the faults at a frame wait for.
    pub(super) method: &'static str,
    pub(super) random: fastrand::Rng,
    pub(super) served: Served,
}

/// For each way, the times in which a member with a quorum could be reached over it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Served(Arc<Mutex<Vec<(usize, Period)>>>);

/// The fault of servers in a scene.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Act {
    Nothing,
    Kill(Vec<usize>),
    Stop(usize),
    Isolate(usize),
    MoveLeader,
    /// One member after the other is terminated and started again.
    Restart,
}

/// The fault of the connections of one way.
struct Disturbance {
    fault: Fault,
    proxies: Vec<usize>,
}

impl Served {
    pub(crate) fn take(&self) -> Vec<(usize, Period)> {
        std::mem::take(&mut self.lock())
    }

    fn add(&self, way: usize, period: Period) {
        self.lock().push((way, period));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(usize, Period)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Act {
    /// Returns the members that cannot serve during this fault.
    fn out(&self) -> &[usize] {
        match self {
            Self::Kill(members) => members,
            Self::Stop(member) | Self::Isolate(member) => std::slice::from_ref(member),
            Self::Nothing | Self::MoveLeader | Self::Restart => &[],
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Nothing => Period::CALM,
            Self::Kill(_) => "killed server",
            Self::Stop(_) => "stopped server",
            Self::Isolate(_) => "isolated server",
            Self::MoveLeader => "moved leader",
            Self::Restart => "rolling restart",
        }
    }
}

impl Disturbance {
    /// Returns whether a proxy forwards normally after the fault was caused.
    fn spares(&self, proxy: usize) -> bool {
        !self.fault.goes_on() || !self.proxies.contains(&proxy)
    }
}

impl Scenes {
    pub(super) async fn play(mut self) -> io::Result<()> {
        let mut quiet_since = self.state.clock.now();
        loop {
            let pause = CALM + between(&mut self.random, 0, 1_500);
            let goes_on = self.state.pause(pause).await;
            let now = self.state.clock.now();
            for way in 0..self.ways.len() {
                let period = period(quiet_since, now, Period::CALM.to_owned());
                self.served.add(way, period);
            }
            if !goes_on {
                return Ok(());
            }
            self.scene().await?;
            quiet_since = self.state.clock.now();
        }
    }

    async fn scene(&mut self) -> io::Result<()> {
        let act = self.act();
        let disturbances: Vec<Option<Disturbance>> =
            (0..self.ways.len()).map(|_| self.disturbance()).collect();
        // Sometimes long enough for every reaction of a client.
        let hold = if self.random.u8(..5) == 0 {
            between(&mut self.random, 12_000, 14_000)
        } else {
            between(&mut self.random, 100, 3_000)
        };
        let connections = disturbances.iter().enumerate();
        for (number, disturbance) in connections {
            if let Some(disturbance) = disturbance {
                self.disturb(number, disturbance);
            }
        }
        self.begin(&act).await?;
        let began = self.state.clock.now();
        self.state.pause(hold).await;
        let ended = self.state.clock.now();
        for (number, disturbance) in disturbances.iter().enumerate() {
            if self.can_be_reached(&act, disturbance.as_ref()) {
                let what = describe(&act, disturbance.as_ref());
                self.served.add(number, period(began, ended, what));
            }
            self.ways[number].proxies.iter().for_each(Proxy::heal);
        }
        self.end(&act).await
    }

    /// Chooses a fault of servers. A fault of the last member hits no other member.
    fn act(&mut self) -> Act {
        let members = self.setup.members().len();
        let one = self.random.usize(..members);
        let choice = self.random.u8(..10);
        match self.profile {
            SceneProfile::Cuts => match choice {
                0..=3 => Act::Kill(vec![one]),
                4 if members > 1 => Act::Kill(vec![one, (one + 1) % members]),
                5 if members > 1 => Act::MoveLeader,
                6 => Act::Restart,
                _ => Act::Nothing,
            },
            SceneProfile::Slow => match choice {
                0..=3 => Act::Stop(one),
                4..=6 if members > 1 => Act::Isolate(one),
                _ => Act::Nothing,
            },
            SceneProfile::All => match choice {
                0 | 1 => Act::Kill(vec![one]),
                2 if members > 1 => Act::Kill(vec![one, (one + 1) % members]),
                3 | 4 => Act::Stop(one),
                5 | 6 if members > 1 => Act::Isolate(one),
                7 if members > 1 => Act::MoveLeader,
                8 => Act::Restart,
                _ => Act::Nothing,
            },
        }
    }

    fn disturbance(&mut self) -> Option<Disturbance> {
        let proxies = self.setup.members().len();
        let choice = self.random.u8(..8);
        let slow = match self.profile {
            SceneProfile::Cuts => false,
            SceneProfile::Slow => true,
            SceneProfile::All => choice % 2 == 0,
        };
        let fault = match (choice, slow) {
            (0..=2, _) => return None,
            (3 | 4, true) => Fault::Delay(between(&mut self.random, 300, 3_000)),
            (3 | 4, false) => Fault::Refuse,
            (_, true) => Fault::random_flow(&mut self.random),
            (_, false) => Fault::random_break(&mut self.random, self.method),
        };
        let all = self.random.u8(..4) == 0;
        let one = self.random.usize(..proxies);
        let proxies = (0..proxies).filter(|proxy| all || *proxy == one).collect();
        Some(Disturbance { fault, proxies })
    }

    fn disturb(&self, number: usize, disturbance: &Disturbance) {
        let way = &self.ways[number];
        for proxy in &disturbance.proxies {
            way.proxies[*proxy].inflict(&disturbance.fault);
        }
        let Disturbance { fault, proxies } = disturbance;
        let what = format!("{proxies:?} of {}: {fault:?}", way.name);
        self.state.note(fault.name(), what);
    }

    async fn begin(&mut self, act: &Act) -> io::Result<()> {
        let members = self.setup.members();
        if *act != Act::Nothing && *act != Act::MoveLeader {
            let names: Vec<&str> = act.out().iter().map(|at| members[*at].name()).collect();
            self.state.note(act.name(), names.join(", "));
        }
        match act {
            Act::Nothing => {}
            Act::Kill(chosen) => chosen.iter().for_each(|at| members[*at].kill()),
            Act::Stop(at) => members[*at].pause()?,
            Act::Isolate(at) => self.setup.cluster().isolate(*at).await?,
            Act::MoveLeader => {
                let first = self.random.usize(..members.len());
                if let Some(next) = move_leader(&self.client, members, first).await {
                    self.state.note(act.name(), format!("to {next:x}"));
                }
            }
            Act::Restart => {
                for member in members {
                    // As an orchestrator does. A server does not end by itself after its lock service has
                    // stopped (ADR 0012).
                    if member.terminate().await.is_err() {
                        member.kill();
                    }
                    member.launch()?;
                    ready(member).await?;
                }
            }
        }
        Ok(())
    }

    async fn end(&self, act: &Act) -> io::Result<()> {
        let members = self.setup.members();
        match act {
            Act::Kill(chosen) => {
                for at in chosen {
                    members[*at].launch()?;
                }
            }
            Act::Stop(at) => members[*at].resume()?,
            Act::Isolate(at) => self.setup.cluster().heal(*at)?,
            Act::Nothing | Act::MoveLeader | Act::Restart => return Ok(()),
        }
        for member in members {
            ready(member).await?;
        }
        Ok(())
    }

    /// Returns whether there is a quorum with a member behind an undisturbed proxy.
    fn can_be_reached(&self, act: &Act, disturbance: Option<&Disturbance>) -> bool {
        let members = self.setup.members().len();
        let out = act.out();
        let has_quorum = members - out.len() > members / 2;
        let is_spared =
            |member: &usize| disturbance.is_none_or(|disturbance| disturbance.spares(*member));
        has_quorum && (0..members).any(|member| !out.contains(&member) && is_spared(&member))
    }
}

/// Waits until a member has a quorum again. On 3.4, a member that returns disturbs the leader
/// (there is no pre-vote), and on a busy machine votes are split repeatedly.
async fn ready(member: &Etcd) -> io::Result<()> {
    let mut tries = 0;
    loop {
        tries += 1;
        match member.ready().await {
            Err(error) if error.kind() == io::ErrorKind::TimedOut && tries < READY => {}
            outcome => return outcome,
        }
    }
}

fn describe(act: &Act, disturbance: Option<&Disturbance>) -> String {
    let servers = match act.out() {
        [] => act.name().to_owned(),
        out => format!("{} {out:?}", act.name()),
    };
    match disturbance {
        None => servers,
        Some(Disturbance { fault, proxies }) => format!("{servers}; {proxies:?}: {fault:?}"),
    }
}

fn period(from: u64, to: u64, what: String) -> Period {
    Period { from, to, what }
}
