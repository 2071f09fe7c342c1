//! `chaos watch`: watches under faults, from the start of a run to its summary.
//!
//! * `load.rs` writes, `chronicle.rs` keeps the history of the store: the truth;
//! * `plan.rs` says which watches there are, `audience.rs` reads them, `notes.rs` records what
//!   they told; `quiet.rs` reads one watch more, in the end, when nothing is written;
//! * `wire.rs` records what servers sent; `keys.rs` serves both recordings;
//! * `compactions.rs` compacts the history;
//! * `verdict.rs` compares, `report.rs` prints.

mod audience;
mod chronicle;
mod churn;
mod compactions;
mod keys;
mod lists;
mod load;
mod notes;
mod plan;
mod quiet;
mod report;
mod verdict;
mod wire;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use etcdex_proto::method::watch::WATCH;
use etcdex_testkit::history::{Archive, History, Incident, Recording};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use self::audience::{Audience, Finale, Tally};
use self::chronicle::{Broken, Chronicle, Scribe};
use self::churn::Churn;
use self::compactions::Compactor;
use self::load::Load;
use self::notes::{Account, Notebook};
use self::plan::Plan;
use self::report::Report;
use self::verdict::{Evidence, judge};
use self::wire::{Heard, Wire};
use crate::args::{Profile, Watch};
use crate::clock::Clock;
use crate::faults::Faults;
use crate::stage::{Stage, Way};

/// How often a run says how far it is.
const TELL: Duration = Duration::from_secs(10);
/// The watches of the past have so many revisions to tell.
const PAST: i64 = 300;
/// How long the watches may take to be in force, with no fault about.
const SET_UP: Duration = Duration::from_secs(60);

/// Plays a run; says whether all promises were kept.
pub(crate) fn run(arguments: &Watch) -> io::Result<bool> {
    let seed = arguments.run.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(play(arguments, seed));
    println!("seed {seed}");
    outcome
}

/// Judges a recorded run again; says whether all promises were kept.
pub(crate) fn check(folder: &Path) -> io::Result<bool> {
    if !folder.is_dir() {
        let what = format!("{} is no folder with a run", folder.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, what));
    }
    let archive = Archive::at(folder)?;
    let history = archive.read_history()?;
    let watches = archive.read_watches()?;
    let wire = archive.read_wire()?;
    let owners = archive.read_owners()?;
    let lists = archive.read_lists()?;
    let verdict = judge(Evidence {
        history: &history,
        watches: &watches,
        owners: &owners,
        lists: &lists,
        wire: &wire,
    });
    print!("{}", report::violations(&verdict));
    println!(
        "{} watches, {} changes; violations: {}, of servers: {}, of these seen by a watch: {}",
        watches.len(),
        history.len(),
        verdict.client,
        verdict.server,
        verdict.explained
    );
    Ok(verdict.client.is_empty())
}

/// The clients of a run, under way.
struct House {
    ways: Arc<Vec<Way>>,
    audiences: JoinSet<Vec<Notebook>>,
    lists: JoinSet<Vec<Recording>>,
    wires: JoinSet<Wire>,
    ready: watch::Receiver<usize>,
    tally: Arc<Tally>,
}

async fn play(arguments: &Watch, seed: u64) -> io::Result<bool> {
    let clock = Clock::start();
    let has_users = arguments.profile == Profile::All;
    let stage = Arc::new(Stage::set(&arguments.run, has_users).await?);
    let client = stage.direct().map_err(io::Error::other)?;
    let (chronicle, acks) = Chronicle::begin(clock);
    let mut scribe = Scribe::new(&chronicle, acks, client.clone());
    let load = Load::start(&client, &chronicle, arguments.rate, arguments.small, seed);
    let counts = load.counts();
    let past = async {
        while chronicle.settled() < PAST {
            sleep(Duration::from_millis(20)).await;
        }
    };
    scribe_until(&mut scribe, past).await?;

    let (finale, end) = watch::channel(None);
    let house = open(&stage, clock, &end, seed).await?;
    scribe_until(&mut scribe, in_force(&house)).await??;
    println!(
        "etcd {}, {} node(s), profile {}: {} clients watch; faults begin",
        stage.version(),
        arguments.run.nodes,
        arguments.profile,
        house.audiences.len()
    );
    let mut faults = Faults::new(seed, clock);
    faults.disturb_connections(arguments.profile, &house.ways, WATCH);
    faults.disturb_servers(arguments.profile, &stage, &client);
    let compactor = Compactor {
        desk: faults.desk(),
        client: client.clone(),
        chronicle: chronicle.clone(),
        random: faults.random(),
    };
    match arguments.profile {
        Profile::Compaction => faults.add(compactor.always()),
        Profile::All => faults.add(compactor.now_and_then()),
        Profile::Cuts | Profile::Slow => {}
    }
    let going = go_on(arguments, clock, &mut faults, &chronicle, &house.tally);
    scribe_until(&mut scribe, going).await??;

    println!("faults end; watches catch up");
    let incidents = scribe_until(&mut scribe, faults.end()).await??;
    scribe_until(&mut scribe, load.stop()).await?;
    finish(&mut scribe).await?;
    let written = chronicle.close();
    let history = Arc::new(written.history);
    finale.send_replace(Some(Arc::clone(&history)));
    let tally = Arc::clone(&house.tally);
    let mut recorded = close(house).await?;
    let quiet = quiet::ask(&stage, clock, history.revision()).await?;
    recorded.owners.push(quiet);

    if incidents.is_empty() || tally.events.load(Relaxed) == 0 {
        let what = "there was no fault, or no event: this run says nothing";
        return Err(io::Error::other(what));
    }
    let verdict = judge(Evidence {
        history: &history,
        watches: &recorded.watches(),
        owners: &recorded.owners,
        lists: &recorded.lists,
        wire: &recorded.heard.recordings,
    });
    print!("{}", report::violations(&verdict));
    let report = Report {
        arguments,
        version: stage.version(),
        seed,
        incidents: &incidents,
        accounts: &recorded.accounts,
        lists: &recorded.lists,
        tally: &tally,
        counts: &counts,
        moments: history.moments(),
        changes: history.len(),
        read: written.read,
        compared: written.compared,
        compactions: history.compactions().len(),
        heard: &recorded.heard,
        verdict: &verdict,
    };
    println!("{report}");
    let kept = verdict.client.is_empty();
    let suspicious = !kept || !verdict.explained.is_empty();
    if let Some(folder) = folder(arguments, seed, suspicious) {
        record(&folder, &history, incidents, recorded)?;
        println!("recorded to {}", folder.display());
    }
    Ok(kept)
}

/// Waits until all clients have their watches.
async fn in_force(house: &House) -> io::Result<()> {
    let count = house.audiences.len();
    let mut ready = house.ready.clone();
    match timeout(SET_UP, ready.wait_for(|ready| *ready == count)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(io::Error::other(
            "a client has ended before all watches were there",
        )),
        Err(_) => Err(io::Error::other("the watches were not in force in time")),
    }
}

/// Tells how far it is, until the time is over.
async fn go_on(
    arguments: &Watch,
    clock: Clock,
    faults: &mut Faults,
    chronicle: &Chronicle,
    tally: &Tally,
) -> io::Result<()> {
    let deadline = Instant::now() + arguments.run.duration();
    let mut tell = Instant::now() + TELL;
    while Instant::now() < deadline {
        sleep(Duration::from_millis(100)).await;
        if let Some(error) = faults.trouble() {
            return Err(error);
        }
        if Instant::now() >= tell {
            tell += TELL;
            println!(
                "{:>5} s: {} faults, revision {}, {} events, {} resumes, {} ended as compacted",
                clock.now() / 1_000_000,
                faults.count(),
                chronicle.settled(),
                tally.events.load(Relaxed),
                tally.resumes.load(Relaxed),
                tally.compacted.load(Relaxed)
            );
        }
    }
    Ok(())
}

/// Starts the clients and what listens to them.
async fn open(stage: &Stage, clock: Clock, end: &Finale, seed: u64) -> io::Result<House> {
    let first = 2;
    let clients: [(&str, bool, Vec<Plan>); 7] = [
        ("crowd", true, plan::crowd()),
        ("mixed", true, plan::mixed(first, first + 100)),
        ("streams", false, plan::streams(first)),
        ("alone", true, plan::solo("busy/")),
        ("exposed", false, plan::solo("crowd/")),
        ("restless", false, plan::staying()),
        ("lists", false, Vec::new()),
    ];
    let binding = stage.version().answers_progress_in_order();
    let (ready, is_ready) = watch::channel(0);
    let mut house = House {
        ways: Arc::default(),
        audiences: JoinSet::new(),
        lists: JoinSet::new(),
        wires: JoinSet::new(),
        ready: is_ready,
        tally: Arc::default(),
    };
    let mut ways = Vec::new();
    for (name, lasting, plans) in clients {
        let way = stage.way(name, lasting).await?;
        for (number, tap) in way.tap(WATCH).into_iter().enumerate() {
            let wire = Wire::new(format!("{name} n{}", number + 1), clock, binding);
            house.wires.spawn(wire.listen(tap));
        }
        let client = stage.client(&way).map_err(io::Error::other)?;
        ways.push(way);
        if name == "lists" {
            house
                .lists
                .spawn(lists::keep(client, clock, end.clone(), seed));
            continue;
        }
        let audience = Audience {
            name,
            owner: name.to_owned(),
            is_alone: false,
            client,
            plans,
            clock,
            tally: Arc::clone(&house.tally),
            finale: end.clone(),
            ready: ready.clone(),
        };
        let churn = || Churn::new(fastrand::Rng::with_seed(seed));
        match name {
            "streams" => house.audiences.spawn(audience.watch_apart()),
            "restless" => house
                .audiences
                .spawn(audience.watch_together(Some(churn()))),
            _ => house.audiences.spawn(audience.watch_together(None)),
        };
    }
    house.ways = Arc::new(ways);
    Ok(house)
}

/// What was recorded in a run.
struct Recorded {
    accounts: Vec<Account>,
    owners: Vec<Recording>,
    lists: Vec<Recording>,
    heard: Heard,
}

impl Recorded {
    fn watches(&self) -> Vec<Recording> {
        let accounts = self.accounts.iter();
        accounts.map(|account| account.recording.clone()).collect()
    }
}

/// Waits for the clients, which end by themselves, then for what listened to them.
async fn close(mut house: House) -> io::Result<Recorded> {
    let mut recorded = Recorded {
        accounts: Vec::new(),
        owners: Vec::new(),
        lists: Vec::new(),
        heard: Heard::default(),
    };
    while let Some(audience) = house.audiences.join_next().await {
        for notebook in audience.map_err(io::Error::other)? {
            recorded.accounts.extend(notebook.accounts);
            recorded.owners.push(notebook.owner);
        }
    }
    while let Some(lists) = house.lists.join_next().await {
        recorded.lists.extend(lists.map_err(io::Error::other)?);
    }
    // The proxies end with their last owner, and the taps with them.
    drop(house.ways);
    while let Some(one) = house.wires.join_next().await {
        let one = one.map_err(io::Error::other)?;
        if one.broken > 0 {
            let what = format!("{} messages of watches could not be read", one.broken);
            return Err(io::Error::other(what));
        }
        one.tell(&mut recorded.heard);
    }
    Ok(recorded)
}

/// Lets the history be written until something is done.
async fn scribe_until<T>(scribe: &mut Scribe, done: impl Future<Output = T>) -> io::Result<T> {
    tokio::select! {
        broken = scribe.run() => Err(unjudged(broken)),
        done = done => Ok(done),
    }
}

async fn finish(scribe: &mut Scribe) -> io::Result<()> {
    let deadline = Instant::now() + SET_UP;
    loop {
        match scribe.finish().await {
            Ok(()) => return Ok(()),
            Err(Broken::Unread(_)) if Instant::now() < deadline => {
                sleep(Duration::from_millis(100)).await;
            }
            Err(broken) => return Err(unjudged(broken)),
        }
    }
}

fn unjudged(broken: Broken) -> io::Error {
    io::Error::other(match broken {
        Broken::Contradiction(what) => format!("the history contradicts itself: {what}"),
        Broken::Unread(error) => format!("the history could not be read: {error}"),
    })
}

fn folder(arguments: &Watch, seed: u64, suspicious: bool) -> Option<PathBuf> {
    let fallback = || std::env::temp_dir().join(format!("etcdex-chaos-{seed}"));
    match &arguments.run.out {
        Some(folder) => Some(folder.clone()),
        None => suspicious.then(fallback),
    }
}

fn record(
    folder: &Path,
    history: &History,
    mut incidents: Vec<Incident>,
    recorded: Recorded,
) -> io::Result<()> {
    let archive = Archive::at(folder)?;
    let watches = recorded.watches();
    incidents.extend(recorded.heard.refusals);
    incidents.sort_by_key(|incident| incident.at);
    archive.write_history(history)?;
    archive.write_faults(&incidents)?;
    archive.write_watches(&watches)?;
    archive.write_owners(&recorded.owners)?;
    archive.write_lists(&recorded.lists)?;
    archive.write_wire(&recorded.heard.recordings)
}
