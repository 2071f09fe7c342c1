//! The workload that judges kept leases and locks under faults.
//!
//! * `leases/keepers.rs` keeps leases and writes down what keepers say;
//! * `leases/takers.rs` takes locks;
//! * `leases/observer.rs` looks at the store, over connections that no fault meets;
//! * `leases/report.rs` compares and prints. The rules are in the library
//!   (`etcdex_testkit::leases`).

mod keepers;
mod observer;
mod report;
mod takers;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use etcdex::Mode;
use etcdex_proto::method::lease::LEASE_KEEP_ALIVE;
use etcdex_testkit::Version;
use etcdex_testkit::calls::Period;
use etcdex_testkit::history::{Archive, History, Incident};
use etcdex_testkit::leases::{Grant, KeptLease, Leadership, Left, Look, Revocation};
use etcdex_testkit::raft_log::{self, RaftLog};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::args::{InScenes, Scenery};
use crate::clock::Clock;
use crate::faults::Faults;
use crate::stage::Stage;
use crate::store;
use keepers::Keeper;
use observer::{Observer, Present};
use report::Report;
use takers::{Progress, Taker};

/// A client of each kind.
const CLIENTS: [(&str, Mode); 3] = [
    ("pick-first", Mode::PickFirst),
    ("random", Mode::Random),
    ("connect-all", Mode::ConnectAll),
];
/// The times-to-live of the leases that each client keeps, in seconds.
const TTLS: [u64; 4] = [3, 5, 10, 20];
/// The locks that all clients take.
const LOCKS: [&str; 2] = ["locks/one", "locks/other"];
/// How long all goes on before the first fault and after the last one.
const CALM: Duration = Duration::from_secs(2);
/// How long it may take after the last fault until each taker had its lock once more: a lease
/// that is kept no more ends first (5 s, and as much again after an election), and every taker
/// has its turn.
const TURN: Duration = Duration::from_secs(45);
/// The same on servers that can lose locks that wait: takers pause there, and have the lock again
/// only once no lock waits at their member.
const LONG_TURN: Duration = Duration::from_secs(120);

/// Plays a run; says whether all promises were kept.
pub(crate) fn run(arguments: &InScenes) -> io::Result<bool> {
    crate::with_seed(arguments.run.seed, |seed| play(arguments, seed))
}

/// Everything that a run leaves behind.
struct Played {
    version: Option<Version>,
    leases: Vec<KeptLease>,
    grants: Vec<Grant>,
    looks: Vec<Look>,
    left: Vec<Left>,
    /// The times in which each way led to a quorum.
    periods: Vec<(usize, Period)>,
    incidents: Vec<Incident>,
    history: History,
    /// Who has revoked leases, and who led.
    revocations: Vec<Revocation>,
    leaderships: Vec<Leadership>,
    /// Takers that did not get their lock after the last fault.
    waiting: Vec<String>,
    /// What became of requests for locks that failed.
    failures: Vec<String>,
}

/// All that runs beside the faults.
struct Company {
    keepers: JoinSet<Vec<KeptLease>>,
    takers: JoinSet<takers::Told>,
    observer: JoinSet<(Vec<Look>, Vec<Left>)>,
    progress: Vec<Progress>,
    stop: Arc<AtomicBool>,
}

async fn play(arguments: &InScenes, seed: u64) -> io::Result<bool> {
    let clock = Clock::start();
    let has_users = arguments.profile == Scenery::All;
    let stage = Arc::new(Stage::set(&arguments.run, has_users).await?);
    let client = stage.direct().map_err(io::Error::other)?;
    let mut ways = Vec::new();
    for (name, _) in CLIENTS {
        ways.push(stage.way(name, false).await?);
    }
    let ways = Arc::new(ways);
    let company = start(&stage, &ways, clock, seed)?;
    println!(
        "etcd {}, {} node(s), profile {}: {} leases, {} takers of locks; faults begin",
        stage.version(),
        arguments.run.nodes,
        arguments.profile,
        company.keepers.len(),
        company.takers.len()
    );
    sleep(CALM).await;
    let mut faults = Faults::new(seed, clock);
    let served = faults.play_scenes(arguments.profile, &stage, &ways, &client, LEASE_KEEP_ALIVE);
    faults.go_on(arguments.run.duration()).await?;
    let incidents = faults.end().await?;
    let turn = if may_lose_locks(&stage) {
        LONG_TURN
    } else {
        TURN
    };
    let waiting = wait_for_turns(&company.progress, turn).await;
    sleep(CALM).await;
    let mut played = end(company).await?;
    println!("leases end; the history is read");
    played.version = Some(stage.version());
    played.periods = served.take();
    played.incidents = incidents;
    played.waiting = waiting;
    if may_lose_locks(&stage) {
        // The lock service of such a server may still be busy with what it has lost.
        for member in stage.members() {
            member.kill();
            member.launch()?;
        }
    }
    played.history = store::read(&client).await?;
    (played.revocations, played.leaderships) = raft(&stage)?;
    if played.incidents.is_empty() || played.looks.is_empty() || played.grants.is_empty() {
        let what = "there was no fault, or no lock was taken: this run says nothing";
        return Err(io::Error::other(what));
    }
    let report = Report::of(&played);
    println!(
        "etcd {}, {} node(s), profile {}, {} minutes, seed {seed}",
        stage.version(),
        arguments.run.nodes,
        arguments.profile,
        arguments.run.minutes
    );
    println!("{report}");
    if let Some(folder) = arguments.run.folder(seed, !report.is_kept()) {
        record(&folder, &played)?;
        println!("recorded to {}", folder.display());
    }
    Ok(report.is_kept())
}

/// What the members have on disk of who has revoked leases, and who led.
fn raft(stage: &Stage) -> io::Result<(Vec<Revocation>, Vec<Leadership>)> {
    let mut logs = Vec::new();
    let mut leaderships = Vec::new();
    for member in stage.members() {
        logs.push(RaftLog::read(&member.data_dir())?);
        let log = fs::read(member.log_file())?;
        leaderships.extend(raft_log::leaderships(&String::from_utf8_lossy(&log)));
    }
    Ok((raft_log::revocations(&logs), leaderships))
}

/// Whether a token that expires can make the servers lose locks.
fn may_lose_locks(stage: &Stage) -> bool {
    stage.has_users() && stage.version().loses_waiting_locks()
}

fn start(
    stage: &Stage,
    ways: &[crate::stage::Way],
    clock: Clock,
    seed: u64,
) -> io::Result<Company> {
    let mut seeds = fastrand::Rng::with_seed(seed ^ 0x1ea5e);
    let stop = Arc::new(AtomicBool::new(false));
    let present = Present::default();
    let direct = stage.direct().map_err(io::Error::other)?;
    // Takers then do as the documentation of `Client::lock` says.
    let may_be_lost = may_lose_locks(stage);
    let mut company = Company {
        keepers: JoinSet::new(),
        takers: JoinSet::new(),
        observer: JoinSet::new(),
        progress: Vec::new(),
        stop: Arc::clone(&stop),
    };
    for (number, (way, (name, mode))) in ways.iter().zip(CLIENTS).enumerate() {
        let client = stage.client_in(way, mode).map_err(io::Error::other)?;
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
            company.keepers.spawn(keeper.keep());
        }
        for lock in LOCKS {
            for taker in 0..2 {
                let progress = Progress::new(format!("{name}/{taker} of {lock}"));
                company.progress.push(progress.clone());
                let taker = Taker {
                    name: lock.into(),
                    client: client.clone(),
                    may_be_lost,
                    clock,
                    random: fastrand::Rng::with_seed(seeds.u64(..)),
                    progress,
                    stop: Arc::clone(&stop),
                };
                company.takers.spawn(taker.take());
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
    company.observer.spawn(observer.look());
    Ok(company)
}

/// Waits until each taker had its lock once more. Returns those that had not.
async fn wait_for_turns(takers: &[Progress], turn: Duration) -> Vec<String> {
    let before: Vec<usize> = takers.iter().map(Progress::count).collect();
    let deadline = Instant::now() + turn;
    loop {
        let waiting = takers.iter().zip(&before);
        let waiting = waiting.filter(|(taker, before)| taker.count() == **before);
        let waiting: Vec<String> = waiting.map(|(taker, _)| taker.name()).collect();
        if waiting.is_empty() || Instant::now() > deadline {
            return waiting;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn end(mut company: Company) -> io::Result<Played> {
    company.stop.store(true, Relaxed);
    let mut played = Played {
        version: None,
        leases: Vec::new(),
        grants: Vec::new(),
        looks: Vec::new(),
        left: Vec::new(),
        periods: Vec::new(),
        incidents: Vec::new(),
        history: History::default(),
        revocations: Vec::new(),
        leaderships: Vec::new(),
        waiting: Vec::new(),
        failures: Vec::new(),
    };
    while let Some(keeper) = company.keepers.join_next().await {
        played.leases.extend(keeper.map_err(io::Error::other)?);
    }
    while let Some(taker) = company.takers.join_next().await {
        let told = taker.map_err(io::Error::other)?;
        played.grants.extend(told.grants);
        played.failures.extend(told.failures);
    }
    while let Some(observer) = company.observer.join_next().await {
        let (looks, left) = observer.map_err(io::Error::other)?;
        played.looks.extend(looks);
        played.left.extend(left);
    }
    Ok(played)
}

fn record(folder: &Path, played: &Played) -> io::Result<()> {
    let archive = Archive::at(folder)?;
    archive.write_history(&played.history)?;
    archive.write_faults(&played.incidents)?;
    lines(&folder.join("leases.jsonl"), &played.leases)?;
    lines(&folder.join("grants.jsonl"), &played.grants)?;
    lines(&folder.join("looks.jsonl"), &played.looks)?;
    lines(&folder.join("left.jsonl"), &played.left)?;
    lines(&folder.join("revocations.jsonl"), &played.revocations)?;
    lines(&folder.join("leaderships.jsonl"), &played.leaderships)
}

fn lines<T: Serialize>(file: &Path, items: &[T]) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(file)?);
    for item in items {
        serde_json::to_writer(&mut file, item)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}
