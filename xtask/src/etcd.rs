//! `cargo xtask etcd`: real etcd binaries for the tests, one folder per version.

mod debian;
mod golang;
mod release;
mod step;
mod store;
mod wheel;

use std::time::Instant;

use anyhow::{Result, bail};

use release::{Recipe, Release};
use store::Store;

const USAGE: &str = "\
Puts real etcd binaries (etcd, etcdctl, etcdutl) under target/etcd/<version>/.

Usage: cargo xtask etcd [--list] [VERSION..]

Without a VERSION it gets every version with a recipe in xtask/etcd/, and
succeeds if it has at least one. Each VERSION that is given is required. A
version that is there already is not replaced.

Options:
  --list   list the versions that are there and that are missing; get nothing
  --help   print this

Environment:
  ETCDEX_ETCD_DIR   the folder to use instead of target/etcd of the workspace

3.4 comes from Debian bookworm's packages (needs apt-get and dpkg-deb), 3.5.1
from a Python wheel (needs python3 with pip, on Linux x86-64), the others are
built as Go tools (needs go, at least the version that their go.mod names).
";

/// Runs the chore.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut list_only = false;
    let mut wanted = Vec::new();
    for argument in arguments {
        match argument.as_str() {
            "--help" | "-h" => {
                print!("{USAGE}");
                return Ok(());
            }
            "--list" => list_only = true,
            option if option.starts_with('-') => {
                bail!("unknown option '{option}'; see cargo xtask etcd --help")
            }
            version => wanted.push(version.trim_start_matches('v')),
        }
    }
    let releases = select(release::all()?, &wanted)?;
    let store = Store::open()?;
    if list_only {
        list(&store, &releases);
        return Ok(());
    }
    get(&store, &releases, !wanted.is_empty())
}

/// Returns the named releases in ascending order, or all releases if none is named.
fn select(all: Vec<Release>, wanted: &[&str]) -> Result<Vec<Release>> {
    for version in wanted {
        if !all.iter().any(|release| release.version == *version) {
            let known: Vec<&str> = all.iter().map(|known| known.version.as_str()).collect();
            bail!(
                "there is no recipe for etcd {version}; known are {}",
                known.join(", ")
            );
        }
    }
    let mut releases = all;
    releases.retain(|release| wanted.is_empty() || wanted.contains(&release.version.as_str()));
    Ok(releases)
}

fn list(store: &Store, releases: &[Release]) {
    println!("in {}:", store.root().display());
    for release in releases {
        let state = match store.check(&release.version) {
            Ok(()) => format!("there ({})", store.tools(&release.version).join(", ")),
            Err(error) => format!("missing: {error:#}"),
        };
        println!("  {:8} {state}", release.version);
    }
}

fn get(store: &Store, releases: &[Release], all_needed: bool) -> Result<()> {
    let mut there = Vec::new();
    let mut missing = Vec::new();
    for release in releases {
        match get_one(store, release) {
            Ok(()) => there.push(release.version.as_str()),
            Err(error) => {
                eprintln!("etcd {}: failed: {error:#}", release.version);
                missing.push(release.version.as_str());
            }
        }
    }
    if !there.is_empty() {
        println!(
            "there: {} (in {})",
            there.join(", "),
            store.root().display()
        );
    }
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(", ");
    if all_needed || there.is_empty() {
        bail!("could not get etcd {missing}; the lines above say why");
    }
    println!("missing: {missing} (the lines above say why)");
    Ok(())
}

/// Gets one release unless it is there already.
fn get_one(store: &Store, release: &Release) -> Result<()> {
    let version = &release.version;
    if store.check(version).is_ok() {
        step::say(version, "there already");
        return Ok(());
    }
    let started = Instant::now();
    let _lock = store.lock(version)?;
    // Another run may have got the release while this one waited for the lock.
    if store.check(version).is_ok() {
        step::say(version, "there already, from another run");
        return Ok(());
    }
    let staging = store.staging(version)?;
    match release.recipe {
        Recipe::Debian => debian::fetch(release, &staging)?,
        Recipe::Wheel => wheel::fetch(release, &staging)?,
        Recipe::Go => golang::build(release, &staging)?,
    }
    staging.install()?;
    let seconds = started.elapsed().as_secs_f32();
    step::say(version, &format!("ready after {seconds:.1} s"));
    Ok(())
}
