//! Faults of connections, servers and tokens.

mod connections;
mod scenes;
mod servers;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcdex::Client;
use etcdex_testkit::history::Incident;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::args::{Profile, SceneProfile};
use crate::clock::Clock;
use crate::setup::{Setup, Way};
use connections::Connections;
use scenes::Scenes;
pub(crate) use scenes::Served;
use servers::{Servers, revoke};

/// Interval of the progress lines of a run.
const TELL: Duration = Duration::from_secs(10);

/// The faults of a run. The same seed and the same order of calls give the same faults.
pub(crate) struct Faults {
    tasks: JoinSet<io::Result<()>>,
    state: FaultState,
    seeds: fastrand::Rng,
}

/// State that all tasks with faults share.
#[derive(Clone)]
pub(crate) struct FaultState {
    clock: Clock,
    stop: Arc<AtomicBool>,
    /// Whether lasting ways and servers get no faults.
    calm: Arc<AtomicBool>,
    incidents: Arc<Mutex<Vec<Incident>>>,
}

impl Faults {
    pub(crate) fn new(seed: u64, clock: Clock) -> Self {
        Self {
            tasks: JoinSet::new(),
            state: FaultState {
                clock,
                stop: Arc::default(),
                calm: Arc::default(),
                incidents: Arc::default(),
            },
            seeds: fastrand::Rng::with_seed(seed),
        }
    }

    pub(crate) fn state(&self) -> FaultState {
        self.state.clone()
    }

    /// Returns a source of random numbers for one task.
    pub(crate) fn random(&mut self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seeds.u64(..))
    }

    /// Runs a task that causes faults and ends when [`FaultState::pause`] returns false.
    pub(crate) fn add(&mut self, task: impl Future<Output = io::Result<()>> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Causes faults of the connections of each way. Faults at a frame wait for frames of `method`.
    pub(crate) fn disturb_connections(
        &mut self,
        profile: Profile,
        ways: &Arc<Vec<Way>>,
        method: &'static str,
    ) {
        for number in 0..ways.len() {
            let connections = Connections {
                state: self.state(),
                ways: Arc::clone(ways),
                number,
                profile,
                method,
                random: self.random(),
            };
            self.add(connections.disturb());
        }
    }

    /// Causes faults of the servers, and revokes tokens if there are users.
    pub(crate) fn disturb_servers(
        &mut self,
        profile: Profile,
        setup: &Arc<Setup>,
        client: &Client,
    ) {
        let servers = Servers {
            state: self.state(),
            setup: Arc::clone(setup),
            client: client.clone(),
            profile,
            random: self.random(),
        };
        self.add(servers.disturb());
        if setup.has_users() {
            self.add(revoke(self.state(), client.clone()));
        }
    }

    /// Causes faults of servers and connections in scenes, and revokes tokens if there are users.
    /// Faults at a frame wait for frames of `method`.
    pub(crate) fn play_scenes(
        &mut self,
        profile: SceneProfile,
        setup: &Arc<Setup>,
        ways: &Arc<Vec<Way>>,
        client: &Client,
        method: &'static str,
    ) -> Served {
        let served = Served::default();
        let scenes = Scenes {
            state: self.state(),
            setup: Arc::clone(setup),
            ways: Arc::clone(ways),
            client: client.clone(),
            profile,
            method,
            random: self.random(),
            served: served.clone(),
        };
        self.add(scenes.play());
        if setup.has_users() {
            self.add(revoke(self.state(), client.clone()));
        }
        served
    }

    /// Prints progress until the time is over.
    pub(crate) async fn go_on(&mut self, time: Duration) -> io::Result<()> {
        let deadline = Instant::now() + time;
        let mut tell = Instant::now() + TELL;
        while Instant::now() < deadline {
            sleep(Duration::from_millis(100)).await;
            if let Some(error) = self.trouble() {
                return Err(error);
            }
            if Instant::now() >= tell {
                tell += TELL;
                let (time, count) = (self.state.clock.now() / 1_000_000, self.count());
                println!("{time:>5} s: {count} faults");
            }
        }
        Ok(())
    }

    /// Returns the number of faults so far.
    pub(crate) fn count(&self) -> usize {
        self.state.incidents().len()
    }

    /// Returns the error of a fault that could not be caused, if there is one.
    pub(crate) fn trouble(&mut self) -> Option<io::Error> {
        match self.tasks.try_join_next()? {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(error) => Some(io::Error::other(error)),
        }
    }

    /// Ends all faults. Servers and connections work again when this returns.
    pub(crate) async fn end(mut self) -> io::Result<Vec<Incident>> {
        self.state.stop.store(true, Relaxed);
        while let Some(outcome) = self.tasks.join_next().await {
            outcome.map_err(io::Error::other)??;
        }
        let incidents = self.state.incidents().clone();
        Ok(incidents)
    }
}

impl FaultState {
    fn incidents(&self) -> std::sync::MutexGuard<'_, Vec<Incident>> {
        let incidents = self.incidents.lock();
        incidents.unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, kind: &str, what: String) -> Incident {
        let incident = Incident {
            at: self.clock.now(),
            kind: kind.to_owned(),
            what,
        };
        self.incidents().push(incident.clone());
        incident
    }

    fn take_back(&self, incident: &Incident) {
        self.incidents().retain(|other| other != incident);
    }

    /// Sets whether lasting ways and servers get no faults.
    pub(crate) fn set_calm(&self, calm: bool) {
        self.calm.store(calm, Relaxed);
    }

    /// Waits, and returns whether to go on.
    pub(crate) async fn pause(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        while !self.stop.load(Relaxed) && Instant::now() < end {
            sleep(Duration::from_millis(10)).await;
        }
        !self.stop.load(Relaxed)
    }
}

impl FaultState {
    /// Waits while a fault goes on. A fault of a lasting way ends early before a series of
    /// compactions.
    async fn hold(&self, time: Duration, lasting: bool) {
        let end = Instant::now() + time;
        let step = Duration::from_millis(10);
        while Instant::now() < end && self.pause(step).await {
            if lasting && self.calm.load(Relaxed) {
                return;
            }
        }
    }
}

pub(crate) fn between(random: &mut fastrand::Rng, least: u64, most: u64) -> Duration {
    Duration::from_millis(random.u64(least..most))
}

/// Returns the number of faults of each kind, for a summary.
pub(crate) fn summary(incidents: &[Incident]) -> String {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for incident in incidents {
        *kinds.entry(incident.kind.as_str()).or_default() += 1;
    }
    let mut text = format!("  faults: {}\n", incidents.len());
    for (kind, count) in kinds {
        let _ = writeln!(text, "    {count:>6} {kind}");
    }
    text
}
