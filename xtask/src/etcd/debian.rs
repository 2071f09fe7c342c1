//! Binaries from Debian packages, which are unpacked and not installed.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::release::Release;
use super::step;
use super::store::Staging;

pub(super) fn fetch(release: &Release, staging: &Staging) -> Result<()> {
    let version = &release.version;
    let pins = fs::read_to_string(release.folder.join("packages.txt"))?;
    let packages: Vec<&str> = pins
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let scratch = staging.scratch();
    step::say(version, "downloading Debian's packages with apt-get");
    download(version, &packages, &scratch)?;
    step::say(version, "unpacking");
    let unpacked = scratch.join("unpacked");
    for archive in staging.downloads("deb")? {
        step::run(
            Command::new("dpkg-deb")
                .arg("-x")
                .args([&archive, &unpacked]),
        )?;
    }
    staging.take(&unpacked.join("usr").join("bin"))
}

/// Downloads packages with the machine's package index. If that fails, with an updated one.
fn download(version: &str, packages: &[&str], scratch: &Path) -> Result<()> {
    step::run(Command::new("apt-get").arg("--version"))?;
    if step::run(apt(scratch, false).arg("download").args(packages)).is_ok() {
        return Ok(());
    }
    step::say(version, "updating a package index");
    // A separate index needs no root, and does not change the machine's.
    for folder in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(scratch.join(folder))?;
    }
    step::run(apt(scratch, true).arg("update"))?;
    let outcome = step::run(apt(scratch, true).arg("download").args(packages));
    match outcome {
        Ok(_) => Ok(()),
        Err(error) if error.to_string().contains("was not found") => {
            bail!("this system's package index has no such version; that of Debian bookworm has")
        }
        Err(error) => Err(error).context("cannot download Debian's packages"),
    }
}

/// Returns an apt-get command that works for every user.
fn apt(scratch: &Path, own_index: bool) -> Command {
    let mut command = Command::new("apt-get");
    command.current_dir(scratch).arg("-qq");
    // Without this option, apt-get as root warns that its sandbox user cannot write here.
    command.args(["-o", "APT::Sandbox::User=root"]);
    if own_index {
        for (option, folder) in [("Dir::State::lists", "lists"), ("Dir::Cache", "cache")] {
            let path = scratch.join(folder);
            command
                .arg("-o")
                .arg(format!("{option}={}", path.display()));
        }
    }
    command
}
