//! The workload `server`: the embedded server beside real etcd, with the same client.

mod load;
mod subject;

use std::path::PathBuf;

use anyhow::ensure;

use self::load::Load;
use self::subject::Subject;
use crate::binary;
use crate::ratio::{Ratio, median};

/// Options of the workload.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Rounds; in each, both servers are measured, and take turns in being the first
    #[arg(long, default_value = "7")]
    rounds: u32,
    /// Version of etcd; the newest one on this machine by default
    #[arg(long)]
    etcd: Option<String>,
    /// The etcdex command; by default the one beside this command
    #[arg(long)]
    serve: Option<PathBuf>,
    /// Calls, pairs of the large range, and changes that watchers are told of, as parts of 100
    #[arg(long, default_value = "100")]
    percent: usize,
    /// Only the loads with this text in their names
    #[arg(long, default_value = "")]
    only: String,
    /// Measure the memory of this number of keys with values of 100 bytes instead
    #[arg(long)]
    memory: Option<usize>,
}

/// Runs the workload and prints its results.
pub fn run(options: &Options) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            match options.memory {
                Some(keys) => memory(options, keys).await,
                None => compare(options).await,
            }
        })
}

/// Starts real etcd, without waiting for its disk, and the embedded server.
async fn start(options: &Options) -> anyhow::Result<[Subject; 2]> {
    let binary = binary::find(options.etcd.as_deref())?;
    let serve = match &options.serve {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("etcdex"),
    };
    ensure!(
        serve.exists(),
        "there is no {}; cargo build --release -p etcdex-cli builds it",
        serve.display()
    );
    Ok([
        Subject::etcd(&binary).await?,
        Subject::embedded(&serve).await?,
    ])
}

/// Each load on both servers, in turn.
async fn compare(options: &Options) -> anyhow::Result<()> {
    ensure!(options.rounds > 0, "--rounds has to be more than 0");
    let mut loads = Load::all(options.percent);
    loads.retain(|load| load.to_string().contains(&options.only));
    ensure!(
        !loads.is_empty(),
        "no load is named like '{}'",
        options.only
    );
    let mut rates_of_all: Vec<Vec<(f64, f64)>> = vec![Vec::new(); loads.len()];
    for round in 0..options.rounds {
        let subjects = start(options).await?;
        for (load, of_load) in loads.iter().zip(&mut rates_of_all) {
            let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
            let mut rates = [0.0; 2];
            for subject in order {
                rates[subject] = load.run(&subjects[subject].url()).await?;
            }
            of_load.push((rates[0], rates[1]));
        }
        eprintln!("round {} of {}", round + 1, options.rounds);
    }
    println!("a second, medians of {} rounds", options.rounds);
    println!("{:34} {:>10} {:>10}  ratio", "", "etcd", "embedded");
    for (load, rates) in loads.iter().zip(rates_of_all) {
        let etcd = median(rates.iter().map(|pair| pair.0).collect());
        let embedded = median(rates.iter().map(|pair| pair.1).collect());
        let ratio = Ratio::of(rates.iter().map(|(etcd, embedded)| embedded / etcd));
        println!(
            "{:34} {etcd:>10.0} {embedded:>10.0}  {ratio}",
            load.to_string()
        );
    }
    Ok(())
}

/// The memory of both servers, when they are idle and with many keys.
async fn memory(options: &Options, keys: usize) -> anyhow::Result<()> {
    let subjects = start(options).await?;
    println!("MiB of memory {:>12} {:>12}", "idle", "with keys");
    for subject in &subjects {
        let idle = subject.memory()?;
        load::fill(&subject.url(), keys).await?;
        let filled = subject.memory()?;
        println!("{:13} {idle:>12.1} {filled:>12.1}", subject.name());
    }
    Ok(())
}
