//! What is done to connections, servers, the history and tokens.

mod compactions;
mod connections;
mod servers;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcdex::Client;
use etcdex_testkit::history::Incident;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::args::Profile;
use crate::chronicle::Chronicle;
use crate::clock::Clock;
use crate::stage::{Stage, Way};
use compactions::Compactor;
use connections::Connections;
use servers::{Servers, revoke};

/// The faults of a run.
pub(crate) struct Faults {
    tasks: JoinSet<io::Result<()>>,
    desk: Desk,
}

/// What all that cause faults share.
#[derive(Clone)]
struct Desk {
    clock: Clock,
    stop: Arc<AtomicBool>,
    /// Lasting ways and servers are left alone.
    calm: Arc<AtomicBool>,
    incidents: Arc<Mutex<Vec<Incident>>>,
}

impl Faults {
    /// Begins to disturb everything; the same seed brings the same faults.
    pub(crate) fn begin(
        profile: Profile,
        seed: u64,
        clock: Clock,
        stage: &Arc<Stage>,
        ways: &Arc<Vec<Way>>,
        client: &Client,
        chronicle: &Chronicle,
    ) -> Self {
        let desk = Desk {
            clock,
            stop: Arc::default(),
            calm: Arc::default(),
            incidents: Arc::default(),
        };
        let mut seeds = fastrand::Rng::with_seed(seed);
        let mut random = || fastrand::Rng::with_seed(seeds.u64(..));
        let mut tasks = JoinSet::new();
        for number in 0..ways.len() {
            let connections = Connections {
                desk: desk.clone(),
                ways: Arc::clone(ways),
                number,
                profile,
                random: random(),
            };
            tasks.spawn(connections.disturb());
        }
        let servers = Servers {
            desk: desk.clone(),
            stage: Arc::clone(stage),
            client: client.clone(),
            profile,
            random: random(),
        };
        tasks.spawn(servers.disturb());
        let compactor = Compactor {
            desk: desk.clone(),
            client: client.clone(),
            chronicle: chronicle.clone(),
            random: random(),
        };
        match profile {
            Profile::Compaction => drop(tasks.spawn(compactor.always())),
            Profile::All => drop(tasks.spawn(compactor.now_and_then())),
            Profile::Cuts | Profile::Slow => {}
        }
        if stage.has_users() {
            tasks.spawn(revoke(desk.clone(), client.clone()));
        }
        Self { tasks, desk }
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

    fn note(&self, kind: &str, what: String) -> Incident {
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

    /// Waits; says whether to go on.
    async fn pause(&self, time: Duration) -> bool {
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

fn between(random: &mut fastrand::Rng, least: u64, most: u64) -> Duration {
    Duration::from_millis(random.u64(least..most))
}
