//! The command line.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use etcdex_testkit::Version;

/// etcdex under faults, and whether etcd's promises were kept.
///
/// Exits with 0 when they did, with 1 when one did not, and with 2 when the run could not be
/// done.
#[derive(Debug, Parser)]
#[command(name = "chaos", arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Runs etcd, a load, watches and faults, and judges the watches at the end.
    Watch(Watch),
    /// Runs etcd, many callers and faults, and judges the calls at the end.
    Calls(InScenes),
    /// Runs etcd, kept leases, locks and faults, and judges the leases and locks at the end.
    Leases(InScenes),
    /// Judges a recorded run of watches again.
    Check {
        /// The folder that a run was recorded to (--out).
        folder: PathBuf,
    },
}

/// Options of every run.
#[derive(Clone, Debug, Args)]
pub(crate) struct Run {
    /// How long faults happen.
    #[arg(long, default_value_t = 1.0, value_parser = minutes)]
    pub(crate) minutes: f64,
    /// How many members the cluster has: 1 or 3.
    #[arg(long, default_value_t = 1, value_parser = nodes)]
    pub(crate) nodes: usize,
    /// The version of etcd [default: the newest that is there].
    #[arg(long)]
    pub(crate) etcd: Option<Version>,
    /// Gives the same faults and the same load again; not the same timing [default: a new one].
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Records the run to this folder; without it, only a run with a violation is recorded, to
    /// a folder that is told then.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
}

/// A run that judges watches.
#[derive(Clone, Debug, Args)]
pub(crate) struct Watch {
    #[command(flatten)]
    pub(crate) run: Run,
    /// Which faults happen.
    #[arg(long, value_enum, default_value_t = Profile::All)]
    pub(crate) profile: Profile,
    /// How many revisions the load makes in a second.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub(crate) rate: u32,
    /// Writes revisions of so many small events now and then, some before the watches begin; 0
    /// for none.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=20_000))]
    pub(crate) small: u32,
}

/// A run that judges calls, or leases and locks.
#[derive(Clone, Debug, Args)]
pub(crate) struct InScenes {
    #[command(flatten)]
    pub(crate) run: Run,
    /// Which faults happen.
    #[arg(long, value_enum, default_value_t = Scenery::All)]
    pub(crate) profile: Scenery,
}

impl Run {
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.minutes * 60.0)
    }

    /// Where to record the run to, if it is to be recorded.
    pub(crate) fn folder(&self, seed: u64, suspicious: bool) -> Option<PathBuf> {
        let fallback = || std::env::temp_dir().join(format!("etcdex-chaos-{seed}"));
        match &self.out {
            Some(folder) => Some(folder.clone()),
            None => suspicious.then(fallback),
        }
    }
}

/// Which faults happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// Connections are cut in every way, servers are killed, leaders move.
    Cuts,
    /// The same, while the history is compacted to nearly the present all the time.
    Compaction,
    /// Connections and servers are slow or silent, and come back.
    Slow,
    /// All of it, with authentication and tokens that expire.
    All,
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cuts => "cuts",
            Self::Compaction => "compaction",
            Self::Slow => "slow",
            Self::All => "all",
        })
    }
}

/// Which faults happen in scenes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenery {
    /// Connections are cut and refused, servers are killed and restarted, leaders move.
    Cuts,
    /// Connections are slow or silent, servers are stopped or cut off from their peers.
    Slow,
    /// All of it, with authentication and tokens that expire.
    All,
}

impl fmt::Display for Scenery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cuts => "cuts",
            Self::Slow => "slow",
            Self::All => "all",
        })
    }
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| "a number of minutes".to_owned())?;
    if minutes > 0.0 && minutes <= 24.0 * 60.0 {
        Ok(minutes)
    } else {
        Err("more than 0 and at most a day".to_owned())
    }
}

fn nodes(text: &str) -> Result<usize, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        _ => Err("1 or 3".to_owned()),
    }
}
