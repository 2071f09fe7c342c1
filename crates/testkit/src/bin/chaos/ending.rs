//! The end of a run of any workload: the run is checked, the result is printed, and the run is
//! recorded. A recorded run is checked again by the same code.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use etcdex_testkit::history::Archive;
use etcdex_testkit::{Etcd, Version};
use serde::{Deserialize, Serialize};

use crate::args::Run;
use crate::{calls, leases, logs, watch};

/// The file with the options of a recorded run.
const FILE: &str = "run.jsonl";

/// The options of a run, which are the first line of its summary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Headline {
    workload: Workload,
    version: String,
    nodes: usize,
    profile: String,
    minutes: f64,
    seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Workload {
    Watch,
    Calls,
    Leases,
}

/// The result of the checks of a run.
pub(crate) struct Judgement {
    /// The violations and the summary.
    pub(crate) text: String,
    /// Whether there is no violation without an excuse.
    pub(crate) is_kept: bool,
    /// Whether the run is recorded without `--out`, although there is no violation.
    pub(crate) is_odd: bool,
}

/// The data of a finished run.
pub(crate) trait Played {
    /// Checks the run. The error says why a run proves nothing.
    fn judge(&self, headline: &Headline) -> io::Result<Judgement>;

    /// Writes all data that the checks read.
    fn record(&self, archive: &Archive) -> io::Result<()>;
}

impl Headline {
    pub(crate) fn new(
        workload: Workload,
        version: Version,
        run: &Run,
        profile: &dyn fmt::Display,
        seed: u64,
    ) -> Self {
        Self {
            workload,
            version: version.to_string(),
            nodes: run.nodes,
            profile: profile.to_string(),
            minutes: run.minutes,
            seed,
        }
    }

    /// Returns the version of etcd.
    pub(crate) fn version(&self) -> io::Result<Version> {
        let version = self.version.parse();
        version.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

impl fmt::Display for Headline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "etcd {}, {} node(s), profile {}, {} minutes, seed {}",
            self.version, self.nodes, self.profile, self.minutes, self.seed
        )
    }
}

/// Checks a run, prints the result, and returns whether all promises hold.
///
/// The run is recorded to `out`. Without `out`, a run with a violation is recorded to a temporary
/// folder, and the path is printed.
pub(crate) fn end(
    headline: &Headline,
    out: Option<&Path>,
    played: &impl Played,
    members: &[Etcd],
) -> io::Result<bool> {
    let judgement = played.judge(headline);
    let mut is_odd = false;
    if let Ok(judgement) = &judgement {
        println!("{headline}\n{}", judgement.text);
        is_odd = judgement.is_odd || !judgement.is_kept;
    }
    let fallback = || std::env::temp_dir().join(format!("etcdex-chaos-{}", headline.seed));
    let folder: Option<PathBuf> = match out {
        Some(folder) => Some(folder.to_owned()),
        None => is_odd.then(fallback),
    };
    if let Some(folder) = folder {
        let archive = Archive::at(&folder)?;
        archive.write(FILE, [headline])?;
        played.record(&archive)?;
        logs::write(&folder, members)?;
        println!("recorded to {}", folder.display());
    }
    judgement.map(|judgement| judgement.is_kept)
}

/// Checks a recorded run again, prints the result, and returns whether all promises hold.
pub(crate) fn check(folder: &Path) -> io::Result<bool> {
    if !folder.join(FILE).is_file() {
        let what = format!(
            "{} has no recorded run: {FILE} is missing",
            folder.display()
        );
        return Err(io::Error::new(io::ErrorKind::NotFound, what));
    }
    let archive = Archive::at(folder)?;
    let mut headlines: Vec<Headline> = archive.read(FILE)?;
    let headline = headlines
        .pop()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{FILE} is empty")))?;
    let judgement = match headline.workload {
        Workload::Watch => watch::RecordedRun::read(&archive)?.judge(),
        Workload::Calls => calls::Played::read(&archive)?.judge(&headline)?,
        Workload::Leases => leases::Played::read(&archive)?.judge(&headline)?,
    };
    println!("{headline}\n{}", judgement.text);
    Ok(judgement.is_kept)
}
