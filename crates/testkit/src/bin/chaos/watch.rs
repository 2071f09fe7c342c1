//! `chaos watch`: watches under faults, from the start of a run to its summary.
//!
//! * `load.rs` writes, `reference.rs` builds the history of the store, to which watches are
//!   compared;
//! * `plan.rs` lists the watches, `consumers.rs` reads them, `recorder.rs` records their messages;
//!   `quiet.rs` reads one more watch at the end, without writes;
//! * `wire.rs` records the messages of servers; `keys.rs` is used by both recordings;
//! * `compactions.rs` compacts the history;
//! * `verdict.rs` compares, `report.rs` prints.

mod churn;
mod compactions;
mod consumers;
mod keys;
mod lists;
mod load;
mod plan;
mod quiet;
mod recorder;
mod reference;
mod report;
mod verdict;
mod wire;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use etcdex_proto::method::watch::WATCH;
use etcdex_testkit::history::{Archive, History, Incident, Recording};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::level_filters::LevelFilter;

use self::churn::Churn;
use self::compactions::Compactor;
use self::consumers::{Consumers, Counters, FinalHistory};
use self::load::{Counts, Load};
use self::plan::Plan;
use self::recorder::{ConsumerLog, WatchRecord};
use self::reference::{Reference, ReferenceBuilder, ReferenceError};
use self::report::Report;
use self::verdict::{Evidence, judge};
use self::wire::{Wire, WireRecords};
use crate::args::{Profile, Watch};
use crate::clock::Clock;
use crate::ending::{self, Headline, Judgement, Workload};
use crate::faults::Faults;
use crate::logs;
use crate::setup::{Setup, Way};

/// Interval of the progress lines of a run.
const TELL: Duration = Duration::from_secs(10);
/// Number of past revisions for the watches that start in the past.
const PAST: i64 = 300;
/// How long the watches may take to be in force, without faults.
const SET_UP: Duration = Duration::from_secs(60);

/// Does a run, and returns whether all guarantees hold.
pub(crate) fn run(arguments: &Watch) -> io::Result<bool> {
    crate::with_seed(arguments.run.seed, |seed| play(arguments, seed))
}

/// A run that is read from its folder.
pub(crate) struct RecordedRun {
    history: History,
    watches: Vec<Recording>,
    owners: Vec<Recording>,
    lists: Vec<Recording>,
    wire: Vec<Recording>,
}

impl RecordedRun {
    pub(crate) fn read(archive: &Archive) -> io::Result<Self> {
        Ok(Self {
            history: archive.read_history()?,
            watches: archive.read_watches()?,
            owners: archive.read_owners()?,
            lists: archive.read_lists()?,
            wire: archive.read_wire()?,
        })
    }

    pub(crate) fn judge(&self) -> Judgement {
        let verdict = judge(Evidence {
            history: &self.history,
            watches: &self.watches,
            owners: &self.owners,
            lists: &self.lists,
            wire: &self.wire,
        });
        let text = format!(
            "{}{} watches, {} changes; of servers: {}, of these seen by a watch: {}\n  violations: {}",
            report::violations(&verdict),
            self.watches.len(),
            self.history.len(),
            verdict.server,
            verdict.explained,
            verdict.client
        );
        Judgement {
            text,
            is_kept: verdict.client.is_empty(),
            is_odd: !verdict.explained.is_empty(),
        }
    }
}

/// The running clients of a run.
struct RunningClients {
    ways: Arc<Vec<Way>>,
    consumers: JoinSet<Vec<ConsumerLog>>,
    lists: JoinSet<Vec<Recording>>,
    wires: JoinSet<Wire>,
    ready: watch::Receiver<usize>,
    counters: Arc<Counters>,
}

async fn play(arguments: &Watch, seed: u64) -> io::Result<bool> {
    let clock = Clock::start();
    logs::collect(LevelFilter::INFO, clock);
    let has_users = arguments.profile == Profile::All;
    let setup = match arguments.embedded {
        true => Setup::embedded(has_users).await?,
        false => Setup::start(&arguments.run, has_users).await?,
    };
    let setup = Arc::new(setup);
    let client = setup.direct().map_err(io::Error::other)?;
    let (reference, acks) = Reference::begin(clock);
    let mut builder = ReferenceBuilder::new(&reference, acks, client.clone());
    let load = Load::start(&client, &reference, arguments.rate, arguments.small, seed);
    let counts = load.counts();
    let past = async {
        while reference.settled() < PAST {
            sleep(Duration::from_millis(20)).await;
        }
    };
    build_until(&mut builder, past).await?;

    let (final_history, end) = watch::channel(None);
    let running = open(&setup, clock, &end, seed).await?;
    build_until(&mut builder, in_force(&running)).await??;
    println!(
        "{} {}, {} node(s), profile {}: {} clients watch; faults begin",
        if arguments.embedded {
            "the embedded server, as etcd"
        } else {
            "etcd"
        },
        setup.version(),
        arguments.run.nodes,
        arguments.profile,
        running.consumers.len()
    );
    let mut faults = Faults::new(seed, clock);
    faults.disturb_connections(arguments.profile, &running.ways, WATCH);
    faults.disturb_servers(arguments.profile, &setup, &client);
    let compactor = Compactor {
        state: faults.state(),
        client: client.clone(),
        reference: reference.clone(),
        random: faults.random(),
    };
    match arguments.profile {
        Profile::Compaction => faults.add(compactor.always()),
        Profile::All => faults.add(compactor.now_and_then()),
        Profile::Cuts | Profile::Slow => {}
    }
    let going = go_on(arguments, clock, &mut faults, &reference, &running.counters);
    build_until(&mut builder, going).await??;

    println!("faults end; watches catch up");
    let incidents = build_until(&mut builder, faults.end()).await??;
    build_until(&mut builder, load.stop()).await?;
    finish(&mut builder).await?;
    let written = reference.close();
    let history = Arc::new(written.history);
    final_history.send_replace(Some(Arc::clone(&history)));
    let counters = Arc::clone(&running.counters);
    let mut recorded = close(running).await?;
    let quiet = quiet::ask(&setup, clock, history.revision()).await?;
    recorded.owners.push(quiet);

    let played = Played {
        history,
        incidents,
        recorded,
        counters,
        counts,
        read: written.read,
        compared: written.compared,
    };
    let headline = Headline::new(
        Workload::Watch,
        setup.version(),
        &arguments.run,
        &arguments.profile,
        seed,
    );
    let out = arguments.run.out.as_deref();
    ending::end(&headline, out, &played, setup.members())
}

/// Everything that a run leaves behind.
struct Played {
    history: Arc<History>,
    incidents: Vec<Incident>,
    recorded: Recorded,
    counters: Arc<Counters>,
    counts: Arc<Counts>,
    /// How often the store was read for a revision, and compared with the history.
    read: u64,
    compared: u64,
}

impl ending::Played for Played {
    fn judge(&self, _: &Headline) -> io::Result<Judgement> {
        if self.incidents.is_empty() || self.counters.events.load(Relaxed) == 0 {
            let what = "there was no fault, or no event: this run says nothing";
            return Err(io::Error::other(what));
        }
        let Self {
            history, recorded, ..
        } = self;
        let verdict = judge(Evidence {
            history,
            watches: &recorded.watches(),
            owners: &recorded.owners,
            lists: &recorded.lists,
            wire: &recorded.heard.recordings,
        });
        let report = Report {
            incidents: &self.incidents,
            records: &recorded.records,
            lists: &recorded.lists,
            counters: &self.counters,
            counts: &self.counts,
            moments: history.moments(),
            changes: history.len(),
            read: self.read,
            compared: self.compared,
            compactions: history.compactions().len(),
            heard: &recorded.heard,
            verdict: &verdict,
        };
        Ok(Judgement {
            text: format!("{}{report}", report::violations(&verdict)),
            is_kept: verdict.client.is_empty(),
            is_odd: !verdict.explained.is_empty(),
        })
    }

    fn record(&self, archive: &Archive) -> io::Result<()> {
        let heard = &self.recorded.heard;
        let mut incidents = self.incidents.clone();
        incidents.extend(heard.refusals.iter().cloned());
        incidents.sort_by_key(|incident| incident.at);
        archive.write_history(&self.history)?;
        archive.write_faults(&incidents)?;
        archive.write_watches(&self.recorded.watches())?;
        archive.write_owners(&self.recorded.owners)?;
        archive.write_lists(&self.recorded.lists)?;
        archive.write_wire(&heard.recordings)
    }
}

/// Waits until all clients have their watches.
async fn in_force(running: &RunningClients) -> io::Result<()> {
    let count = running.consumers.len();
    let mut ready = running.ready.clone();
    match timeout(SET_UP, ready.wait_for(|ready| *ready == count)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(io::Error::other(
            "a client has ended before all watches were in force",
        )),
        Err(_) => Err(io::Error::other("the watches were not in force in time")),
    }
}

/// Prints progress until the time is over.
async fn go_on(
    arguments: &Watch,
    clock: Clock,
    faults: &mut Faults,
    reference: &Reference,
    counters: &Counters,
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
                reference.settled(),
                counters.events.load(Relaxed),
                counters.resumes.load(Relaxed),
                counters.compacted.load(Relaxed)
            );
        }
    }
    Ok(())
}

/// Starts the clients and the recordings of the wire.
async fn open(
    setup: &Setup,
    clock: Clock,
    end: &FinalHistory,
    seed: u64,
) -> io::Result<RunningClients> {
    let first = 2;
    let clients: [(&str, bool, Vec<Plan>); 7] = [
        ("crowd", true, plan::crowd()),
        ("mixed", true, plan::mixed(first, first + 100)),
        ("streams", false, plan::streams(first)),
        ("alone", true, plan::solo("busy/")),
        ("exposed", false, plan::solo("crowd/")),
        ("churn", false, plan::staying()),
        ("lists", false, Vec::new()),
    ];
    let binding = setup.version().answers_progress_in_order();
    let (ready, is_ready) = watch::channel(0);
    let mut running = RunningClients {
        ways: Arc::default(),
        consumers: JoinSet::new(),
        lists: JoinSet::new(),
        wires: JoinSet::new(),
        ready: is_ready,
        counters: Arc::default(),
    };
    let mut ways = Vec::new();
    for (name, lasting, plans) in clients {
        let way = setup.way(name, lasting).await?;
        for (number, tap) in way.tap(WATCH).into_iter().enumerate() {
            let wire = Wire::new(format!("{name} n{}", number + 1), clock, binding);
            running.wires.spawn(wire.listen(tap));
        }
        let client = setup.client(&way).map_err(io::Error::other)?;
        ways.push(way);
        if name == "lists" {
            running
                .lists
                .spawn(lists::keep(client, clock, end.clone(), seed));
            continue;
        }
        let consumers = Consumers {
            name,
            owner: name.to_owned(),
            is_alone: false,
            client,
            plans,
            clock,
            counters: Arc::clone(&running.counters),
            final_history: end.clone(),
            ready: ready.clone(),
        };
        let churn = || Churn::new(fastrand::Rng::with_seed(seed));
        match name {
            "streams" => running.consumers.spawn(consumers.watch_apart()),
            "churn" => running
                .consumers
                .spawn(consumers.watch_together(Some(churn()))),
            _ => running.consumers.spawn(consumers.watch_together(None)),
        };
    }
    running.ways = Arc::new(ways);
    Ok(running)
}

/// The recordings of a run.
struct Recorded {
    records: Vec<WatchRecord>,
    owners: Vec<Recording>,
    lists: Vec<Recording>,
    heard: WireRecords,
}

impl Recorded {
    fn watches(&self) -> Vec<Recording> {
        let records = self.records.iter();
        records.map(|record| record.recording.clone()).collect()
    }
}

/// Waits for the clients, which end by themselves, then for the recordings of the wire.
async fn close(mut running: RunningClients) -> io::Result<Recorded> {
    let mut recorded = Recorded {
        records: Vec::new(),
        owners: Vec::new(),
        lists: Vec::new(),
        heard: WireRecords::default(),
    };
    while let Some(consumers) = running.consumers.join_next().await {
        for notebook in consumers.map_err(io::Error::other)? {
            recorded.records.extend(notebook.records);
            recorded.owners.push(notebook.owner);
        }
    }
    while let Some(lists) = running.lists.join_next().await {
        recorded.lists.extend(lists.map_err(io::Error::other)?);
    }
    // The proxies end with their last owner, and the taps with them.
    drop(running.ways);
    while let Some(one) = running.wires.join_next().await {
        let one = one.map_err(io::Error::other)?;
        if one.broken > 0 {
            let what = format!("{} messages of watches could not be read", one.broken);
            return Err(io::Error::other(what));
        }
        one.tell(&mut recorded.heard);
    }
    Ok(recorded)
}

/// Builds the history until `done` ends.
async fn build_until<T>(
    builder: &mut ReferenceBuilder,
    done: impl Future<Output = T>,
) -> io::Result<T> {
    tokio::select! {
        broken = builder.run() => Err(not_checked(broken)),
        done = done => Ok(done),
    }
}

async fn finish(builder: &mut ReferenceBuilder) -> io::Result<()> {
    let deadline = Instant::now() + SET_UP;
    loop {
        match builder.finish().await {
            Ok(()) => return Ok(()),
            Err(ReferenceError::Unread(_)) if Instant::now() < deadline => {
                sleep(Duration::from_millis(100)).await;
            }
            Err(broken) => return Err(not_checked(broken)),
        }
    }
}

fn not_checked(broken: ReferenceError) -> io::Error {
    io::Error::other(match broken {
        ReferenceError::Contradiction(what) => format!("the history contradicts itself: {what}"),
        ReferenceError::Unread(error) => format!("the history could not be read: {error}"),
    })
}
