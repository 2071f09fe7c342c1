//! The command line.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use etcdex_testkit::Version;

/// Runs etcdex under faults, and checks whether the guarantees of etcd hold.
///
/// Exits with 0 if all guarantees hold, with 1 if one is violated, and with 2 if the run could not
/// be done.
#[derive(Debug, Parser)]
#[command(name = "chaos", arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs etcd, a load, watches and faults, and checks the watches at the end.
    Watch(Watch),
    /// Runs etcd, many callers and faults, and checks the calls at the end.
    Calls(SceneRun),
    /// Runs etcd, kept leases, locks and faults, and checks the leases and locks at the end.
    Leases(SceneRun),
    /// Checks a recorded run of any workload again.
    Check {
        /// The folder with the recorded run (--out).
        folder: PathBuf,
    },
}

/// Options of every run.
#[derive(Clone, Debug, Args)]
pub(crate) struct Run {
    /// Duration of the faults in minutes.
    #[arg(long, default_value_t = 1.0, value_parser = minutes)]
    pub(crate) minutes: f64,
    /// Number of members of the cluster: 1 or 3.
    #[arg(long, default_value_t = 1, value_parser = nodes)]
    pub(crate) nodes: usize,
    /// The version of etcd [default: the newest installed].
    #[arg(long)]
    pub(crate) etcd: Option<Version>,
    /// Seed of the faults and of the load. The timing still differs between runs [default: random].
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Records the run to this folder. Without it, only a run with a violation is recorded, to a
    /// folder whose path is printed.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
}

/// A run that checks watches.
#[derive(Clone, Debug, Args)]
pub(crate) struct Watch {
    #[command(flatten)]
    pub(crate) run: Run,
    /// Watches the embedded server instead of etcd. It cannot be killed: it stalls, hangs, and cuts
    /// connections.
    #[arg(long, conflicts_with_all = ["etcd", "nodes"])]
    pub(crate) embedded: bool,
    /// The kinds of faults.
    #[arg(long, value_enum, default_value_t = Profile::All)]
    pub(crate) profile: Profile,
    /// Number of revisions per second that the load makes.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub(crate) rate: u32,
    /// Number of small events in some revisions: the load writes a few of these before the watches
    /// begin, and one every 15 s; 0 for none.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=20_000))]
    pub(crate) small: u32,
}

/// A run that checks calls, or leases and locks.
#[derive(Clone, Debug, Args)]
pub(crate) struct SceneRun {
    #[command(flatten)]
    pub(crate) run: Run,
    /// The kinds of faults.
    #[arg(long, value_enum, default_value_t = SceneProfile::All)]
    pub(crate) profile: SceneProfile,
}

impl Run {
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.minutes * 60.0)
    }
}

/// The kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// Connections are cut in every way, servers are killed, leaders are moved.
    Cuts,
    /// The same, while the history is compacted to nearly the latest revision all the time.
    Compaction,
    /// Connections and servers are slow or silent, and recover.
    Slow,
    /// All of these, with authentication and tokens that expire.
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

/// The kinds of faults in scenes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SceneProfile {
    /// Connections are cut and refused, servers are killed and restarted, leaders are moved.
    Cuts,
    /// Connections are slow or silent, servers are stopped or cut off from their peers.
    Slow,
    /// All of these, with authentication and tokens that expire.
    All,
}

impl fmt::Display for SceneProfile {
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
