//! The workload `unary`: puts and gets by many callers at once. The clients take turns.

use std::io::Write;
use std::num::{NonZeroU32, NonZeroUsize};

use anyhow::Context;
use bytes::Bytes;

use crate::cores::{self, Cores};
use crate::null_server::NullServer;
use crate::peer::{Connected, Name};

mod report;
mod round;

pub use report::{Cell, Report, Row};
pub use round::{Load, Op, round};

/// The key of every call: 16 bytes.
pub const KEY: Bytes = Bytes::from_static(b"/bench/key/00001");

/// The value of every call: 64 bytes.
pub const VALUE: Bytes =
    Bytes::from_static(b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");

/// Options of the workload.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Numbers of concurrent callers
    #[arg(long, value_delimiter = ',', default_value = "1,64,1024")]
    callers: Vec<NonZeroU32>,
    /// Calls in a round, by all callers together
    #[arg(long, default_value = "10000")]
    calls: NonZeroU32,
    /// Measured rounds, after one round of warm-up
    #[arg(long, default_value = "7")]
    rounds: NonZeroUsize,
    /// Clients to measure
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "etcdex,raw-h2"
    )]
    peers: Vec<Name>,
    /// Kinds of call
    #[arg(long, value_enum, value_delimiter = ',', default_value = "put,get")]
    op: Vec<Op>,
    /// Prints the result as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the workload and prints its report.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let cores = Cores::of_this_process();
    let program = std::env::current_exe().context("cannot find the benchmark's own binary")?;
    let server = NullServer::start(&program, cores.map(|cores| cores.server))?;
    if let Some(Cores { client, .. }) = cores {
        cores::pin(client).with_context(|| format!("cannot pin the client to core {client}"))?;
    }
    let report = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(measure(options, &server))?;
    let mut stdout = std::io::stdout().lock();
    if options.json {
        serde_json::to_writer_pretty(&mut stdout, &report)?;
        writeln!(stdout)?;
    } else {
        write!(stdout, "{report}")?;
    }
    Ok(())
}

async fn measure(options: &Options, server: &NullServer) -> anyhow::Result<Report> {
    let mut peers = Vec::new();
    for &name in &options.peers {
        let peer = Connected::open(name, server.address()).await;
        peers.push(peer.with_context(|| format!("{} cannot connect", name.as_str()))?);
    }
    let mut cells = Vec::new();
    for &op in &options.op {
        for &callers in &options.callers {
            let load = Load {
                op,
                callers: callers.get(),
                calls: options.calls.get(),
            };
            eprintln!("{} with {callers} at once", op.as_str());
            cells.push(cell(&peers, load, options.rounds.get()).await?);
        }
    }
    Ok(Report {
        calls: options.calls.get(),
        rounds: options.rounds.get(),
        cells,
    })
}

async fn cell(peers: &[Connected], load: Load, rounds: usize) -> anyhow::Result<Cell> {
    let mut readings = vec![Vec::with_capacity(rounds); peers.len()];
    for number in 0..=rounds {
        for turn in 0..peers.len() {
            // The order is reversed in every round, so that no client is always the first.
            let turn = if number % 2 == 0 {
                turn
            } else {
                peers.len() - 1 - turn
            };
            let peer = &peers[turn];
            let reading = round_of(peer, load)
                .await
                .with_context(|| format!("{} failed", peer.name().as_str()))?;
            // The first round only warms up.
            if number > 0 {
                readings[turn].push(reading);
            }
        }
    }
    let names = peers.iter().map(Connected::name);
    Ok(Cell::new(load, names.zip(readings).collect()))
}

async fn round_of(peer: &Connected, load: Load) -> anyhow::Result<crate::reading::Reading> {
    match peer {
        Connected::Etcdex(peer) => round(peer, load).await,
        Connected::RawH2(peer) => round(&**peer, load).await,
    }
}
