//! The workload that checks calls: reads, writes and transactions under faults.
//!
//! * `calls/callers.rs` makes the calls and records their answers;
//! * `calls/report.rs` compares and prints. The rules are in the library (`etcdex_testkit::calls`).

mod callers;
mod report;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use etcdex_proto::method::kv::PUT;
use etcdex_testkit::calls::{Call, Period};
use etcdex_testkit::history::{Archive, History, Incident};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::level_filters::LevelFilter;

use crate::args::{SceneProfile, SceneRun};
use crate::clock::Clock;
use crate::ending::{self, Headline, Judgement, Workload};
use crate::faults::Faults;
use crate::logs;
use crate::setup::{CLIENTS, Setup, Way};
use crate::store;
use callers::Caller;
use report::Report;

/// Number of callers of each client.
const CALLERS: usize = 4;
/// How long the callers run before the first fault and after the last one.
const CALM: Duration = Duration::from_secs(1);

/// Does a run, and returns whether all rules hold.
pub(crate) fn run(arguments: &SceneRun) -> io::Result<bool> {
    crate::with_seed(arguments.run.seed, |seed| play(arguments, seed))
}

/// The recordings of a run.
pub(crate) struct Played {
    /// The calls of each client, in the order of the ways.
    calls: Vec<Vec<Call>>,
    periods: Vec<(usize, Period)>,
    incidents: Vec<Incident>,
    history: History,
}

async fn play(arguments: &SceneRun, seed: u64) -> io::Result<bool> {
    let clock = Clock::start();
    logs::collect(LevelFilter::INFO, clock);
    let has_users = arguments.profile == SceneProfile::All;
    let setup = Arc::new(Setup::start(&arguments.run, has_users).await?);
    let client = setup.direct().map_err(io::Error::other)?;
    let ways = Arc::new(setup.ways().await?);
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = start(&setup, &ways, clock, seed, &stop)?;
    println!(
        "etcd {}, {} node(s), profile {}: {} callers; faults begin",
        setup.version(),
        arguments.run.nodes,
        arguments.profile,
        callers.len()
    );
    sleep(CALM).await;
    let mut faults = Faults::new(seed, clock);
    let served = faults.play_scenes(arguments.profile, &setup, &ways, &client, PUT);
    faults.go_on(arguments.run.duration()).await?;
    let incidents = faults.end().await?;
    sleep(CALM).await;
    stop.store(true, Relaxed);
    let mut calls = vec![Vec::new(); CLIENTS.len()];
    while let Some(caller) = callers.join_next().await {
        let (way, told) = caller.map_err(io::Error::other)?;
        calls[way].extend(told);
    }
    println!("callers end; the history is read");
    let played = Played {
        calls,
        periods: served.take(),
        incidents,
        history: store::read(&client).await?,
    };
    let headline = Headline::new(
        Workload::Calls,
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
        let mut calls = vec![Vec::new(); CLIENTS.len()];
        for call in archive.read::<Call>("calls.jsonl")? {
            let client = call.caller.split('/').next();
            let mut clients = CLIENTS.iter();
            let Some(way) = clients.position(|(name, _)| Some(*name) == client) else {
                let what = format!("calls.jsonl has a call of a client {client:?}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            };
            calls[way].push(call);
        }
        Ok(Self {
            calls,
            periods: archive.read("periods.jsonl")?,
            incidents: archive.read_faults()?,
            history: archive.read_history()?,
        })
    }
}

impl ending::Played for Played {
    fn judge(&self, _: &Headline) -> io::Result<Judgement> {
        if self.incidents.is_empty() || self.history.is_empty() {
            let what = "there was no fault, or no write: this run proves nothing";
            return Err(io::Error::other(what));
        }
        let report = Report::of(self);
        Ok(Judgement {
            text: report.to_string(),
            is_kept: report.is_kept(),
            is_odd: false,
        })
    }

    fn record(&self, archive: &Archive) -> io::Result<()> {
        archive.write_history(&self.history)?;
        archive.write_faults(&self.incidents)?;
        archive.write("periods.jsonl", &self.periods)?;
        archive.write("calls.jsonl", self.calls.iter().flatten())
    }
}

fn start(
    setup: &Setup,
    ways: &[Way],
    clock: Clock,
    seed: u64,
    stop: &Arc<AtomicBool>,
) -> io::Result<JoinSet<(usize, Vec<Call>)>> {
    let mut seeds = fastrand::Rng::with_seed(seed ^ 0xca11);
    let mut callers = JoinSet::new();
    for (number, (way, (name, mode))) in ways.iter().zip(CLIENTS).enumerate() {
        let client = setup.client_in(way, mode).map_err(io::Error::other)?;
        for caller in 0..CALLERS {
            let caller = Caller::new(
                format!("{name}/{caller}"),
                // Callers with the default time-out, and others with a shorter one.
                if caller % 2 == 0 {
                    client.clone()
                } else {
                    client.with_timeout(Duration::from_secs(2))
                },
                clock,
                fastrand::Rng::with_seed(seeds.u64(..)),
                Arc::clone(stop),
            );
            callers.spawn(async move { (number, caller.call().await) });
        }
    }
    Ok(callers)
}
