//! The folder that the binaries are put in, `target/etcd` of the workspace.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{release, step};

/// The binaries of a release; older ones have no etcdutl.
const TOOLS: [&str; 3] = ["etcd", "etcdctl", "etcdutl"];

pub(super) struct Store {
    root: PathBuf,
}

impl Store {
    /// The store of this workspace, or the one that `ETCDEX_ETCD_DIR` names.
    pub(super) fn open() -> Result<Self> {
        let root = std::env::var_os("ETCDEX_ETCD_DIR")
            .filter(|root| !root.is_empty())
            .map_or_else(
                || release::workspace().join("target").join("etcd"),
                PathBuf::from,
            );
        // Some steps run in another folder, so a relative path would not do.
        let root = std::path::absolute(root)?;
        fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        Ok(Self { root })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the etcd of this version is there and works.
    pub(super) fn check(&self, version: &str) -> Result<()> {
        let etcd = self.root.join(version).join("etcd");
        if !etcd.exists() {
            bail!("not got yet; run cargo xtask etcd {version}");
        }
        answers(&etcd, version)
    }

    /// The tools of this version that are there.
    pub(super) fn tools(&self, version: &str) -> Vec<&'static str> {
        let folder = self.root.join(version);
        let mut tools = TOOLS.to_vec();
        tools.retain(|tool| folder.join(tool).exists());
        tools
    }

    /// Keeps other runs off this version until the file is closed; waits for one that is at it.
    pub(super) fn lock(&self, version: &str) -> Result<File> {
        let path = self.root.join(format!(".{version}.lock"));
        let file =
            File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => {
                step::say(version, "another run is at it, waiting for it");
                flock(&file, FlockOperation::LockExclusive)?;
            }
            outcome => outcome.with_context(|| format!("cannot lock {}", path.display()))?,
        }
        Ok(file)
    }

    /// An empty folder to prepare this version in. Only for the holder of the lock.
    pub(super) fn staging(&self, version: &str) -> Result<Staging> {
        let staging = Staging {
            version: version.to_owned(),
            place: self.root.join(version),
            folder: self.root.join(format!(".{version}.staging")),
        };
        staging.clear();
        for folder in [staging.bin(), staging.scratch()] {
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        Ok(staging)
    }
}

/// Where a version is prepared; removed when dropped.
pub(super) struct Staging {
    version: String,
    place: PathBuf,
    folder: PathBuf,
}

impl Staging {
    /// The folder that becomes the version's own.
    pub(super) fn bin(&self) -> PathBuf {
        self.folder.join("bin")
    }

    /// A folder for downloads and the like.
    pub(super) fn scratch(&self) -> PathBuf {
        self.folder.join("scratch")
    }

    /// Moves those of the tools that `from` has to where they are installed from.
    pub(super) fn take(&self, from: &Path) -> Result<()> {
        for tool in TOOLS {
            let found = from.join(tool);
            if found.exists() {
                fs::rename(&found, self.bin().join(tool))
                    .with_context(|| format!("cannot take {}", found.display()))?;
            }
        }
        Ok(())
    }

    /// Checks the tools and puts them in place in one step.
    pub(super) fn install(self) -> Result<()> {
        for tool in TOOLS {
            let path = self.bin().join(tool);
            if path.exists() {
                executable(&path)?;
                answers(&path, &self.version)?;
            } else if tool == "etcd" {
                bail!("the download has no etcd in it; its recipe needs a look");
            }
        }
        if self.place.exists() {
            // What does not work is in the way: a rename cannot replace a folder with files.
            fs::remove_dir_all(&self.place)
                .with_context(|| format!("cannot replace {}", self.place.display()))?;
        }
        fs::rename(self.bin(), &self.place)
            .with_context(|| format!("cannot put {} in place", self.place.display()))
    }

    fn clear(&self) {
        // What is left behind by a killed run is removed by the next one.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Archives do not always keep the mode.
fn executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", path.display()))
}

/// Whether the tool runs here and is of this version.
fn answers(path: &Path, version: &str) -> Result<()> {
    let server = path.file_name().is_some_and(|name| name == "etcd");
    let told = step::run(Command::new(path).arg(if server { "--version" } else { "version" }))?;
    if !told.split_whitespace().any(|word| word == version) {
        let first = told.lines().next().unwrap_or_default();
        bail!("{} is not {version}, it says: {first}", path.display());
    }
    Ok(())
}
