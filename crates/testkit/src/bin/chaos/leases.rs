//! The workload that checks kept leases and locks under faults.
//!
//! * `leases/keepers.rs` keeps leases and records the states of their keepers;
//! * `leases/takers.rs` takes locks;
//! * `leases/replies.rs` records the answers of servers to requests for locks;
//! * `leases/observer.rs` reads the store, over connections without faults;
//! * `leases/report.rs` compares and prints. The rules are in the library
//!   (`etcdex_testkit::leases`).

mod keepers;
mod observer;
mod replies;
mod report;
mod takers;

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use etcdex_proto::method::lease::LEASE_KEEP_ALIVE;
use etcdex_proto::method::lock::LOCK;
use etcdex_testkit::calls::Period;
use etcdex_testkit::history::{Archive, History, Incident};
use etcdex_testkit::leases::{
    Grant, KeptLease, Leadership, Left, Look, Queue, Reply, Revocation, TURN, Turn,
};
use etcdex_testkit::raft_log::{self, RaftLog};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::level_filters::LevelFilter;

use crate::args::{SceneProfile, SceneRun};
use crate::clock::Clock;
use crate::ending::{self, Headline, Judgement, Workload};
use crate::faults::Faults;
use crate::logs;
use crate::setup::{CLIENTS, Setup, Way};
use crate::store;
use keepers::Keeper;
use observer::{Observer, Present};
use replies::Replies;
use report::Report;
use takers::{Progress, Taker};

/// The times-to-live of the leases that each client keeps, in seconds.
const TTLS: [u64; 4] = [3, 5, 10, 20];
/// The locks that all clients take.
const LOCKS: [&str; 2] = ["locks/one", "locks/other"];
/// How long all tasks run before the first fault and after the last one.
const CALM: Duration = Duration::from_secs(2);
/// Does a run, and returns whether all promises hold.
pub(crate) fn run(arguments: &SceneRun) -> io::Result<bool> {
    crate::with_seed(arguments.run.seed, |seed| play(arguments, seed))
}

/// The recordings of a run.
#[derive(Default)]
pub(crate) struct Played {
    leases: Vec<KeptLease>,
    grants: Vec<Grant>,
    turns: Vec<Turn>,
    looks: Vec<Look>,
    queues: Vec<Queue>,
    replies: Vec<Reply>,
    left: Vec<Left>,
    /// The times in which each way led to a quorum.
    periods: Vec<(usize, Period)>,
    incidents: Vec<Incident>,
    history: History,
    /// Requests to revoke a lease from the raft log, and the leaders from the logs of the members.
    revocations: Vec<Revocation>,
    leaderships: Vec<Leadership>,
    /// Failed calls of takers.
    failures: Vec<String>,
}

/// The tasks that run during the faults.
struct Tasks {
    keepers: JoinSet<Vec<KeptLease>>,
    takers: JoinSet<takers::Told>,
    observer: JoinSet<observer::Seen>,
    replies: Vec<Replies>,
    progress: Vec<Progress>,
    stop: Arc<AtomicBool>,
}

async fn play(arguments: &SceneRun, seed: u64) -> io::Result<bool> {
    let clock = Clock::start();
    logs::collect(LevelFilter::DEBUG, clock);
    let has_users = arguments.profile == SceneProfile::All;
    let setup = Arc::new(Setup::start(&arguments.run, has_users).await?);
    let client = setup.direct().map_err(io::Error::other)?;
    let ways = Arc::new(setup.ways().await?);
    let tasks = start(&setup, &ways, clock, seed)?;
    println!(
        "etcd {}, {} node(s), profile {}: {} leases, {} takers of locks; faults begin",
        setup.version(),
        arguments.run.nodes,
        arguments.profile,
        tasks.keepers.len(),
        tasks.takers.len()
    );
    sleep(CALM).await;
    let mut faults = Faults::new(seed, clock);
    let served = faults.play_scenes(arguments.profile, &setup, &ways, &client, LEASE_KEEP_ALIVE);
    faults.go_on(arguments.run.duration()).await?;
    let incidents = faults.end().await?;
    wait_for_turns(&tasks.progress).await;
    sleep(CALM).await;
    let mut played = end(tasks).await?;
    println!("leases end; the history is read");
    played.periods = served.take();
    played.incidents = incidents;
    if may_lose_locks(&setup) {
        // The lock service of such a server may still be busy with the lost locks.
        for member in setup.members() {
            member.kill();
            member.launch()?;
        }
    }
    played.history = store::read(&client).await?;
    (played.revocations, played.leaderships) = raft(&setup)?;
    let headline = Headline::new(
        Workload::Leases,
        setup.version(),
        &arguments.run,
        &arguments.profile,
        seed,
    );
    let out = arguments.run.out.as_deref();
    ending::end(&headline, out, &played, setup.members())
}

impl Played {
    pub(crate) fn read(archive: &Archive) -> io::Result<Self> {
        Ok(Self {
            leases: archive.read("leases.jsonl")?,
            grants: archive.read("grants.jsonl")?,
            turns: archive.read("turns.jsonl")?,
            looks: archive.read("looks.jsonl")?,
            queues: archive.read("queues.jsonl")?,
            replies: archive.read("replies.jsonl")?,
            left: archive.read("left.jsonl")?,
            periods: archive.read("periods.jsonl")?,
            incidents: archive.read_faults()?,
            history: archive.read_history()?,
            revocations: archive.read("revocations.jsonl")?,
            leaderships: archive.read("leaderships.jsonl")?,
            failures: archive.read("failures.jsonl")?,
        })
    }
}

impl ending::Played for Played {
    fn judge(&self, headline: &Headline) -> io::Result<Judgement> {
        if self.incidents.is_empty() || self.looks.is_empty() || self.grants.is_empty() {
            let what = "there was no fault, or no lock was taken: this run proves nothing";
            return Err(io::Error::other(what));
        }
        let report = Report::of(self, headline.version()?);
        Ok(Judgement {
            text: report.to_string(),
            is_kept: report.is_kept(),
            is_odd: false,
        })
    }

    fn record(&self, archive: &Archive) -> io::Result<()> {
        archive.write_history(&self.history)?;
        archive.write_faults(&self.incidents)?;
        archive.write("leases.jsonl", &self.leases)?;
        archive.write("grants.jsonl", &self.grants)?;
        archive.write("turns.jsonl", &self.turns)?;
        archive.write("looks.jsonl", &self.looks)?;
        archive.write("queues.jsonl", &self.queues)?;
        archive.write("replies.jsonl", &self.replies)?;
        archive.write("left.jsonl", &self.left)?;
        archive.write("periods.jsonl", &self.periods)?;
        archive.write("revocations.jsonl", &self.revocations)?;
        archive.write("leaderships.jsonl", &self.leaderships)?;
        archive.write("failures.jsonl", &self.failures)
    }
}

/// Reads the requests to revoke a lease, and the leaders, from the files of the members.
fn raft(setup: &Setup) -> io::Result<(Vec<Revocation>, Vec<Leadership>)> {
    let mut logs = Vec::new();
    let mut leaderships = Vec::new();
    for member in setup.members() {
        logs.push(RaftLog::read(&member.data_dir())?);
        let log = fs::read(member.log_file())?;
        leaderships.extend(raft_log::leaderships(&String::from_utf8_lossy(&log)));
    }
    Ok((raft_log::revocations(&logs), leaderships))
}

/// Returns whether a token that expires can make the servers lose locks.
fn may_lose_locks(setup: &Setup) -> bool {
    setup.has_users() && setup.version().repeats_refused_watches()
}

fn start(setup: &Setup, ways: &[Way], clock: Clock, seed: u64) -> io::Result<Tasks> {
    let mut seeds = fastrand::Rng::with_seed(seed ^ 0x1ea5e);
    let stop = Arc::new(AtomicBool::new(false));
    let present = Present::default();
    let direct = setup.direct().map_err(io::Error::other)?;
    // Takers then follow the documentation of `Client::lock`.
    let may_be_lost = may_lose_locks(setup);
    let mut tasks = Tasks {
        keepers: JoinSet::new(),
        takers: JoinSet::new(),
        observer: JoinSet::new(),
        replies: Vec::new(),
        progress: Vec::new(),
        stop: Arc::clone(&stop),
    };
    for (number, (way, (name, mode))) in ways.iter().zip(CLIENTS).enumerate() {
        let taps = way.tap(LOCK).into_iter();
        let replies = taps.map(|tap| Replies::new(tap, clock));
        tasks.replies.extend(replies);
        let client = setup.client_in(way, mode).map_err(io::Error::other)?;
        for ttl in TTLS {
            let keeper = Keeper {
                way: number,
                client: client.clone(),
                direct: direct.clone(),
                ttl: Duration::from_secs(ttl),
                clock,
                present: present.clone(),
                stop: Arc::clone(&stop),
            };
            tasks.keepers.spawn(keeper.keep());
        }
        for lock in LOCKS {
            for taker in 0..2 {
                let progress = Progress::new(format!("{name}/{taker} of {lock}"));
                tasks.progress.push(progress.clone());
                let taker = Taker {
                    name: lock.into(),
                    client: client.clone(),
                    may_be_lost,
                    clock,
                    random: fastrand::Rng::with_seed(seeds.u64(..)),
                    progress,
                    stop: Arc::clone(&stop),
                };
                tasks.takers.spawn(taker.take());
            }
        }
    }
    let observer = Observer {
        client: direct,
        clock,
        present,
        random: fastrand::Rng::with_seed(seeds.u64(..)),
        stop,
    };
    tasks.observer.spawn(observer.look());
    Ok(tasks)
}

/// Waits until each taker has got its lock once more, or the time for that is over.
async fn wait_for_turns(takers: &[Progress]) {
    let before: Vec<usize> = takers.iter().map(Progress::count).collect();
    // Elections after the last fault extend the time of a taker.
    let deadline = Instant::now() + Duration::from_micros(TURN) * 3;
    loop {
        let mut waiting = takers.iter().zip(&before);
        let waits = waiting.any(|(taker, before)| taker.count() == *before);
        if !waits || Instant::now() > deadline {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn end(mut tasks: Tasks) -> io::Result<Played> {
    tasks.stop.store(true, Relaxed);
    let mut played = Played::default();
    while let Some(keeper) = tasks.keepers.join_next().await {
        played.leases.extend(keeper.map_err(io::Error::other)?);
    }
    while let Some(taker) = tasks.takers.join_next().await {
        let told = taker.map_err(io::Error::other)?;
        played.grants.extend(told.grants);
        played.turns.extend(told.turns);
        played.failures.extend(told.failures);
    }
    while let Some(observer) = tasks.observer.join_next().await {
        let seen = observer.map_err(io::Error::other)?;
        played.looks.extend(seen.looks);
        played.queues.extend(seen.queues);
        played.left.extend(seen.left);
    }
    for replies in tasks.replies {
        played.replies.extend(replies.heard());
    }
    Ok(played)
}
