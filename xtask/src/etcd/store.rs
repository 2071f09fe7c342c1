//! The folder of the binaries, `target/etcd` of the workspace.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::step;

/// The binaries of a release. Older releases have no etcdutl.
const TOOLS: [&str; 3] = ["etcd", "etcdctl", "etcdutl"];

pub(super) struct Store {
    root: PathBuf,
}

impl Store {
    /// Opens the store of this workspace, or the one that `ETCDEX_ETCD_DIR` names.
    pub(super) fn open() -> Result<Self> {
        let root = std::env::var_os("ETCDEX_ETCD_DIR")
            .filter(|root| !root.is_empty())
            .map_or_else(
                || crate::workspace().join("target").join("etcd"),
                PathBuf::from,
            );
        // Some steps run in another folder, where a relative path would be wrong.
        let root = std::path::absolute(root)?;
        fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        Ok(Self { root })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Fails if the etcd of this version is missing or does not work.
    pub(super) fn check(&self, version: &str) -> Result<()> {
        let etcd = self.root.join(version).join("etcd");
        if !etcd.exists() {
            bail!("missing; run cargo xtask etcd {version}");
        }
        check_version(&etcd, version)
    }

    /// Returns the tools of this version that are in the store.
    pub(super) fn tools(&self, version: &str) -> Vec<&'static str> {
        let folder = self.root.join(version);
        let mut tools = TOOLS.to_vec();
        tools.retain(|tool| folder.join(tool).exists());
        tools
    }

    /// Locks this version against other runs until the returned file is closed. Waits for a run that
    /// has the lock.
    pub(super) fn lock(&self, version: &str) -> Result<File> {
        let path = self.root.join(format!(".{version}.lock"));
        let file =
            File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => {
                step::say(version, "waiting for another run");
                flock(&file, FlockOperation::LockExclusive)?;
            }
            outcome => outcome.with_context(|| format!("cannot lock {}", path.display()))?,
        }
        Ok(file)
    }

    /// Makes an empty folder to prepare this version in. The caller has to hold the lock.
    pub(super) fn staging(&self, version: &str) -> Result<Staging> {
        let staging = Staging {
            version: version.to_owned(),
            destination: self.root.join(version),
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

/// The folder in which a version is prepared. Dropping this removes the folder.
pub(super) struct Staging {
    version: String,
    destination: PathBuf,
    folder: PathBuf,
}

impl Staging {
    /// The folder that is moved into the store at the end.
    pub(super) fn bin(&self) -> PathBuf {
        self.folder.join("bin")
    }

    /// The folder for downloads and other temporary files.
    pub(super) fn scratch(&self) -> PathBuf {
        self.folder.join("scratch")
    }

    /// The downloads with this file name extension.
    pub(super) fn downloads(&self, extension: &str) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.scratch())? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == extension) {
                found.push(path);
            }
        }
        Ok(found)
    }

    /// Moves the tools that are in the folder `from` to [`Staging::bin`].
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

    /// Checks the tools, and moves them into the store in one step.
    pub(super) fn install(self) -> Result<()> {
        for tool in TOOLS {
            let path = self.bin().join(tool);
            if path.exists() {
                executable(&path)?;
                check_version(&path, &self.version)?;
            } else if tool == "etcd" {
                bail!("the download has no etcd; check its recipe");
            }
        }
        if self.destination.exists() {
            // The folder holds a version that does not work. A rename cannot replace it.
            fs::remove_dir_all(&self.destination)
                .with_context(|| format!("cannot replace {}", self.destination.display()))?;
        }
        fs::rename(self.bin(), &self.destination)
            .with_context(|| format!("cannot put {} in place", self.destination.display()))
    }

    fn clear(&self) {
        // A killed run leaves its folder, which the next run removes.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Makes a file executable. Not every archive keeps the mode.
fn executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", path.display()))
}

/// Fails if the tool does not run on this machine, or is of another version.
fn check_version(path: &Path, version: &str) -> Result<()> {
    let server = path.file_name().is_some_and(|name| name == "etcd");
    let argument = if server { "--version" } else { "version" };
    let output = step::run(Command::new(path).arg(argument))?;
    if !output.split_whitespace().any(|word| word == version) {
        let first = output.lines().next().unwrap_or_default();
        bail!(
            "{} is not of version {version}; it prints: {first}",
            path.display()
        );
    }
    Ok(())
}
