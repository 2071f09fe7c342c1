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

use crate::args::{Profile, Scenery};
use crate::clock::Clock;
use crate::stage::{Stage, Way};
use connections::Connections;
use scenes::Scenes;
pub(crate) use scenes::{Seen, Served};
use servers::{Servers, revoke};

/// How often a run says how far it is.
const TELL: Duration = Duration::from_secs(10);

/// The faults of a run. The same seed and the same order of calls bring the same faults.
pub(crate) struct Faults {
    tasks: JoinSet<io::Result<()>>,
    desk: Desk,
    seeds: fastrand::Rng,
}

/// State that all tasks share which cause faults.
#[derive(Clone)]
pub(crate) struct Desk {
    clock: Clock,
    stop: Arc<AtomicBool>,
    /// Lasting ways and servers are left alone.
    calm: Arc<AtomicBool>,
    incidents: Arc<Mutex<Vec<Incident>>>,
}

impl Faults {
    pub(crate) fn new(seed: u64, clock: Clock) -> Self {
        Self {
            tasks: JoinSet::new(),
            desk: Desk {
                clock,
                stop: Arc::default(),
                calm: Arc::default(),
                incidents: Arc::default(),
            },
            seeds: fastrand::Rng::with_seed(seed),
        }
    }

    pub(crate) fn desk(&self) -> Desk {
        self.desk.clone()
    }

    /// A source of random numbers for one task.
    pub(crate) fn random(&mut self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seeds.u64(..))
    }

    /// Runs a task that causes faults and ends when [`Desk::pause`] says so.
    pub(crate) fn add(&mut self, task: impl Future<Output = io::Result<()>> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Disturbs the connections of each way. Faults at a frame look for frames of `method`.
    pub(crate) fn disturb_connections(
        &mut self,
        profile: Profile,
        ways: &Arc<Vec<Way>>,
        method: &'static str,
    ) {
        for number in 0..ways.len() {
            let connections = Connections {
                desk: self.desk(),
                ways: Arc::clone(ways),
                number,
                profile,
                method,
                random: self.random(),
            };
            self.add(connections.disturb());
        }
    }

    /// Disturbs the servers, and takes tokens away where there are users.
    pub(crate) fn disturb_servers(
        &mut self,
        profile: Profile,
        stage: &Arc<Stage>,
        client: &Client,
    ) {
        let servers = Servers {
            desk: self.desk(),
            stage: Arc::clone(stage),
            client: client.clone(),
            profile,
            random: self.random(),
        };
        self.add(servers.disturb());
        if stage.has_users() {
            self.add(revoke(self.desk(), client.clone()));
        }
    }

    /// Disturbs servers and connections in scenes, and takes tokens away where there are users.
    /// Faults at a frame look for frames of `method`.
    pub(crate) fn play_scenes(
        &mut self,
        scenery: Scenery,
        stage: &Arc<Stage>,
        ways: &Arc<Vec<Way>>,
        client: &Client,
        method: &'static str,
    ) -> Served {
        let served = Served::default();
        let scenes = Scenes {
            desk: self.desk(),
            stage: Arc::clone(stage),
            ways: Arc::clone(ways),
            client: client.clone(),
            scenery,
            method,
            random: self.random(),
            served: served.clone(),
        };
        self.add(scenes.play());
        if stage.has_users() {
            self.add(revoke(self.desk(), client.clone()));
        }
        served
    }

    /// Tells how far it is, until the time is over.
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
                let (time, count) = (self.desk.clock.now() / 1_000_000, self.count());
                println!("{time:>5} s: {count} faults");
            }
        }
        Ok(())
    }

    /// How many there were so far.
    pub(crate) fn count(&self) -> usize {
        self.desk.incidents().len()
    }

    /// How one of them could not be done, or none while all goes on.
    pub(crate) fn trouble(&mut self) -> Option<io::Error> {
        match self.tasks.try_join_next()? {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(error) => Some(io::Error::other(error)),
        }
    }

    /// Ends them; all is well when this returns.
    pub(crate) async fn end(mut self) -> io::Result<Vec<Incident>> {
        self.desk.stop.store(true, Relaxed);
        while let Some(outcome) = self.tasks.join_next().await {
            outcome.map_err(io::Error::other)??;
        }
        let incidents = self.desk.incidents().clone();
        Ok(incidents)
    }
}

impl Desk {
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

    /// Leaves lasting ways and servers alone, or no longer.
    pub(crate) fn set_calm(&self, calm: bool) {
        self.calm.store(calm, Relaxed);
    }

    /// Waits; says whether to go on.
    pub(crate) async fn pause(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        while !self.stop.load(Relaxed) && Instant::now() < end {
            sleep(Duration::from_millis(10)).await;
        }
        !self.stop.load(Relaxed)
    }
}

impl Desk {
    /// Waits while a fault goes on; what is to be left alone before a storm is healed early.
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

/// The faults by kind, for a summary.
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
