//! What is done to connections, servers, the history and tokens.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcdex::Client;
use etcdex_proto::method::watch::WATCH;
use etcdex_testkit::history::Incident;
use etcdex_testkit::{Etcd, Fault, Proxy};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::args::Profile;
use crate::chronicle::Chronicle;
use crate::clock::Clock;
use crate::stage::{Stage, WATCHER, Way};

/// How long watches are left alone before a storm of compactions, so that those of lasting
/// ways are connected and have heard how far the store is.
const CALM: Duration = Duration::from_secs(4);
const STORM: Duration = Duration::from_secs(2);
/// How long they are left alone after it: idle ones are to hear of it before the next fault.
const LULL: Duration = Duration::from_secs(4);

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

    fn note(&self, kind: &str, what: String) {
        let at = self.clock.now();
        self.incidents().push(Incident {
            at,
            kind: kind.to_owned(),
            what,
        });
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

/// The faults of one client's connections.
struct Connections {
    desk: Desk,
    ways: Arc<Vec<Way>>,
    number: usize,
    profile: Profile,
    random: fastrand::Rng,
}

impl Connections {
    async fn disturb(mut self) -> io::Result<()> {
        let ways = Arc::clone(&self.ways);
        let way = &ways[self.number];
        loop {
            let pause = between(&mut self.random, 300, 2_500);
            if !self.desk.pause(pause).await {
                return Ok(());
            }
            let flow = match self.profile {
                Profile::Cuts => false,
                Profile::Slow => true,
                Profile::Compaction => self.random.u8(..4) == 0,
                Profile::All => self.random.u8(..3) == 0,
            };
            let fault = if flow {
                Fault::random_flow(&mut self.random)
            } else {
                Fault::random_break(&mut self.random, WATCH)
            };
            let all = self.random.bool();
            let one = self.random.usize(..way.proxies.len());
            let hold = match fault {
                // Long enough for the client to give the connection up, now and then.
                Fault::Stall | Fault::BlackHole => between(&mut self.random, 100, 6_000),
                _ => between(&mut self.random, 100, 1_500),
            };
            if way.lasting && self.desk.calm.load(Relaxed) {
                continue;
            }
            let chosen: Vec<&Proxy> = way
                .proxies
                .iter()
                .enumerate()
                .filter(|(number, _)| all || *number == one)
                .map(|(_, proxy)| proxy)
                .collect();
            self.inflict(way, &chosen, &fault, hold).await;
        }
    }

    async fn inflict(&self, way: &Way, proxies: &[&Proxy], fault: &Fault, hold: Duration) {
        let before: Vec<_> = proxies.iter().map(|proxy| traces(proxy)).collect();
        for proxy in proxies {
            proxy.inflict(fault);
        }
        let at = self.desk.incidents().len();
        let what = format!("{} of {}: {fault:?}", proxies.len(), way.name);
        self.desk.note(fault.name(), what);
        if fault.goes_on() {
            self.desk.hold(hold, way.lasting).await;
            for proxy in proxies {
                proxy.heal();
            }
        }
        // One that waits for bytes or frames that did not come was none.
        let waits = matches!(fault, Fault::Trip(_) | Fault::ResetAfter(..));
        let mut now = proxies.iter().map(|proxy| traces(proxy));
        if waits && before.iter().all(|before| now.next() == Some(*before)) {
            let mut incidents = self.desk.incidents();
            let mine = incidents[at..]
                .iter()
                .position(|one| one.kind == fault.name() && one.what.contains(way.name));
            if let Some(mine) = mine {
                incidents.remove(at + mine);
            }
        }
    }
}

/// What a link that was ended leaves behind.
fn traces(proxy: &Proxy) -> (u64, u64) {
    (proxy.tripped(), proxy.connections() - proxy.open())
}

/// The faults of servers.
struct Servers {
    desk: Desk,
    stage: Arc<Stage>,
    client: Client,
    profile: Profile,
    random: fastrand::Rng,
}

impl Servers {
    async fn disturb(mut self) -> io::Result<()> {
        let stage = Arc::clone(&self.stage);
        let members = stage.members();
        loop {
            let pause = between(&mut self.random, 2_000, 6_000);
            if !self.desk.pause(pause).await {
                return Ok(());
            }
            let choice = self.random.u8(..3);
            let member = &members[self.random.usize(..members.len())];
            let hold = between(&mut self.random, 50, 2_500);
            if self.desk.calm.load(Relaxed) {
                continue;
            }
            match (self.profile, choice) {
                (Profile::Slow, _) | (Profile::All, 0) => self.stop(member, hold).await?,
                (_, 1) if members.len() > 1 => self.move_leader(members).await,
                _ => self.kill(member, hold).await?,
            }
        }
    }

    /// SIGSTOP, then SIGCONT.
    async fn stop(&self, member: &Etcd, hold: Duration) -> io::Result<()> {
        let what = format!("{} for {hold:?}", member.name());
        self.desk.note("stopped server", what);
        member.pause()?;
        self.desk.hold(hold, true).await;
        member.resume()
    }

    /// SIGKILL, then the same server with the same data again.
    async fn kill(&self, member: &Etcd, hold: Duration) -> io::Result<()> {
        let what = format!("{} for {hold:?}", member.name());
        self.desk.note("killed server", what);
        member.kill();
        self.desk.hold(hold, true).await;
        member.restart().await
    }

    async fn move_leader(&mut self, members: &[Etcd]) {
        let first = self.random.usize(..members.len());
        let mut leader = None;
        let mut others = Vec::new();
        for step in 0..members.len() {
            let url = members[(first + step) % members.len()].endpoint();
            let Ok(handle) = self.client.member(&url) else {
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
        // Without a leader, or somebody to follow it, there is nothing to move.
        if let (Some(leader), Some(next)) = (leader, others.first()) {
            if leader.maintenance().move_leader(*next).await.is_ok() {
                self.desk.note("moved leader", format!("to {next:x}"));
            }
        }
    }
}

/// Compactions.
struct Compactor {
    desk: Desk,
    client: Client,
    chronicle: Chronicle,
    random: fastrand::Rng,
}

impl Compactor {
    /// As etcd's own tests do it: every 100 to 200 ms, to nearly the present.
    async fn always(mut self) -> io::Result<()> {
        loop {
            let pause = between(&mut self.random, 100, 200);
            if !self.desk.pause(pause).await {
                return Ok(());
            }
            self.compact().await;
        }
    }

    async fn now_and_then(mut self) -> io::Result<()> {
        loop {
            let pause = between(&mut self.random, 10_000, 20_000);
            let mut goes_on = self.desk.pause(pause).await;
            self.desk.calm.store(true, Relaxed);
            goes_on &= self.desk.pause(CALM).await;
            let end = Instant::now() + STORM;
            while goes_on && Instant::now() < end {
                self.compact().await;
                let pause = between(&mut self.random, 100, 200);
                goes_on = self.desk.pause(pause).await;
            }
            goes_on = goes_on && self.desk.pause(LULL).await;
            self.desk.calm.store(false, Relaxed);
            if !goes_on {
                return Ok(());
            }
        }
    }

    async fn compact(&mut self) {
        let revision = self.chronicle.settled() - self.random.i64(0..20);
        if revision < 2 {
            return;
        }
        // ORDER: noted before it is asked for, as it may have happened whatever the answer.
        self.chronicle.compact(revision);
        if self.client.compact(revision).await.is_ok() {
            self.desk.note("compaction", format!("to {revision}"));
        }
    }
}

/// Takes the tokens of the watching user away: whoever changes a password ends all of them.
/// That they also end by themselves, 3 s after their last use, is not counted.
async fn revoke(desk: Desk, client: Client) -> io::Result<()> {
    while desk.pause(Duration::from_secs(5)).await {
        let changed = client.auth().user_change_password(WATCHER, WATCHER).await;
        if changed.is_ok() {
            desk.note("revoked tokens", String::new());
        }
    }
    Ok(())
}
