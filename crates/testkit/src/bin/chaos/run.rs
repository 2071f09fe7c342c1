//! A run, from its start to its summary.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use etcdex_testkit::history::{Archive, History, Incident, Recording};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::args::Watch;
use crate::audience::{Audience, Finale, Tally};
use crate::chronicle::{Broken, Chronicle, Scribe};
use crate::clock::Clock;
use crate::faults::Faults;
use crate::load::Load;
use crate::notes::Account;
use crate::plan::{self, Plan};
use crate::report::{self, Report};
use crate::stage::{Stage, Way};
use crate::verdict::judge;
use crate::wire::{Heard, Wire};

/// How often a run says how far it is.
const TELL: Duration = Duration::from_secs(10);
/// The watches of the past have so many revisions to tell.
const PAST: i64 = 300;
/// How long the watches may take to be in force, with no fault about.
const SET_UP: Duration = Duration::from_secs(30);

/// Plays a run; says whether all promises were kept.
pub(crate) fn run(arguments: &Watch) -> io::Result<bool> {
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(play(arguments, seed));
    println!("seed {seed}");
    outcome
}

/// The clients of a run, under way.
struct House {
    ways: Arc<Vec<Way>>,
    audiences: JoinSet<Vec<Account>>,
    wires: JoinSet<Wire>,
    ready: watch::Receiver<usize>,
    tally: Arc<Tally>,
}

async fn play(arguments: &Watch, seed: u64) -> io::Result<bool> {
    let clock = Clock::start();
    let stage = Arc::new(Stage::set(arguments).await?);
    let client = stage.direct().map_err(io::Error::other)?;
    let (chronicle, acks) = Chronicle::begin(clock);
    let mut scribe = Scribe::new(&chronicle, acks, client.clone());
    let load = Load::start(&client, &chronicle, arguments.rate, seed);
    let counts = load.counts();
    let past = async {
        while chronicle.settled() < PAST {
            sleep(Duration::from_millis(20)).await;
        }
    };
    scribe_until(&mut scribe, past).await?;

    let (finale, end) = watch::channel(None);
    let house = open(&stage, clock, &end).await?;
    scribe_until(&mut scribe, in_force(&house)).await??;
    println!(
        "etcd {}, {} node(s), profile {}: {} clients watch; faults begin",
        stage.version(),
        arguments.nodes,
        arguments.profile,
        house.audiences.len()
    );
    let mut faults = Faults::begin(
        arguments.profile,
        seed,
        clock,
        &stage,
        &house.ways,
        &client,
        &chronicle,
    );
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
    let (accounts, heard) = close(house).await?;

    if incidents.is_empty() || tally.events.load(Relaxed) == 0 {
        let what = "there was no fault, or no event: this run says nothing";
        return Err(io::Error::other(what));
    }
    let recordings = accounts.iter().map(|account| &account.recording);
    let verdict = judge(&history, recordings, &heard.recordings);
    print!("{}", report::violations(&verdict));
    let report = Report {
        arguments,
        version: &stage.version(),
        seed,
        incidents: &incidents,
        accounts: &accounts,
        tally: &tally,
        counts: &counts,
        times: &written.times,
        changes: history.len(),
        read: written.read,
        compared: written.compared,
        compactions: history.compactions().len(),
        heard: &heard,
        verdict: &verdict,
    };
    println!("{report}");
    let kept = verdict.client.is_empty();
    let suspicious = !kept || !verdict.explained.is_empty();
    if let Some(folder) = folder(arguments, seed, suspicious) {
        record(&folder, &history, incidents, accounts, heard)?;
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
    let deadline = Instant::now() + arguments.duration();
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
async fn open(stage: &Stage, clock: Clock, finale: &Finale) -> io::Result<House> {
    let first = 2;
    let clients: [(&str, bool, Vec<Plan>); 5] = [
        ("crowd", true, plan::crowd()),
        ("mixed", true, plan::mixed(first, first + 100)),
        ("streams", false, plan::streams(first)),
        ("alone", true, plan::solo("busy/")),
        ("exposed", false, plan::solo("crowd/")),
    ];
    let tally = Arc::new(Tally::default());
    let (ready, is_ready) = watch::channel(0);
    let mut ways = Vec::new();
    let mut audiences = JoinSet::new();
    let mut wires = JoinSet::new();
    for (name, lasting, plans) in clients {
        let (way, taps) = stage.way(name, lasting).await?;
        for (number, tap) in taps.into_iter().enumerate() {
            wires.spawn(Wire::new(format!("{name} n{}", number + 1), clock).listen(tap));
        }
        let audience = Audience {
            name,
            client: stage.client(&way).map_err(io::Error::other)?,
            plans,
            clock,
            tally: Arc::clone(&tally),
            finale: finale.clone(),
            ready: ready.clone(),
        };
        if name == "streams" {
            audiences.spawn(audience.watch_apart());
        } else {
            audiences.spawn(audience.watch_together());
        }
        ways.push(way);
    }
    Ok(House {
        ways: Arc::new(ways),
        audiences,
        wires,
        ready: is_ready,
        tally,
    })
}

/// Waits for the clients, which end by themselves, then for what listened to them.
async fn close(mut house: House) -> io::Result<(Vec<Account>, Heard)> {
    let mut accounts = Vec::new();
    while let Some(audience) = house.audiences.join_next().await {
        accounts.extend(audience.map_err(io::Error::other)?);
    }
    // The proxies end with their last owner, and the taps with them.
    drop(house.ways);
    let mut heard = Heard::default();
    while let Some(one) = house.wires.join_next().await {
        let one = one.map_err(io::Error::other)?;
        if one.broken > 0 {
            let what = format!("{} messages of watches could not be read", one.broken);
            return Err(io::Error::other(what));
        }
        one.tell(&mut heard);
    }
    Ok((accounts, heard))
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
    match &arguments.out {
        Some(folder) => Some(folder.clone()),
        None => suspicious.then(fallback),
    }
}

fn record(
    folder: &PathBuf,
    history: &History,
    mut incidents: Vec<Incident>,
    accounts: Vec<Account>,
    heard: Heard,
) -> io::Result<()> {
    let archive = Archive::at(folder)?;
    let recordings: Vec<Recording> = accounts.into_iter().map(|one| one.recording).collect();
    incidents.extend(heard.refusals);
    incidents.sort_by_key(|incident| incident.at);
    archive.write_history(history)?;
    archive.write_faults(&incidents)?;
    archive.write_watches(&recordings)?;
    archive.write_wire(&heard.recordings)
}
