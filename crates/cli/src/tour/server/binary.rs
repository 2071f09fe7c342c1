//! The etcd binary to start: one of the user, or one that `cargo xtask etcd` gets.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::failure::Failure;
use crate::tour::printer::Printer;

/// Versions that `cargo xtask etcd` downloads in seconds; the others are compiled.
const PREBUILT: [&str; 2] = ["3.5.1", "3.4.23"];
const HOW_TO_GET_ONE: &str = "run cargo xtask etcd in the workspace of etcdex, \
     set ETCDEX_ETCD to the path of an etcd, or give the --endpoints of a running one";

/// Returns the path of an etcd. In the workspace of etcdex, gets one if there is none.
pub(super) async fn find_or_fetch(printer: &mut Printer) -> Result<PathBuf, Failure> {
    match find()? {
        Some(binary) => Ok(binary),
        None => fetch(printer).await,
    }
}

fn find() -> Result<Option<PathBuf>, Failure> {
    if let Some(chosen) = variable("ETCDEX_ETCD").map(PathBuf::from) {
        if chosen.is_file() {
            return Ok(Some(chosen));
        }
        let text = format!("ETCDEX_ETCD is {}, which is no file", chosen.display());
        return Err(Failure::Other(text));
    }
    let path = variable("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("etcd"));
    let mut candidates = on_path.chain(fetched());
    Ok(candidates.find(|etcd| etcd.is_file()))
}

/// Returns an environment variable that is neither unset nor empty.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The binaries that `cargo xtask etcd` has got, newest first.
fn fetched() -> Vec<PathBuf> {
    let Some(workspace) = workspace() else {
        return Vec::new();
    };
    let folder = variable("ETCDEX_ETCD_DIR")
        .map_or_else(|| workspace.join("target").join("etcd"), PathBuf::from);
    let versions = versions(&folder).into_iter();
    versions
        .map(|version| folder.join(version).join("etcd"))
        .collect()
}

/// The workspace of etcdex that the command was built in, or that it runs in.
fn workspace() -> Option<PathBuf> {
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR"));
    let runs_in = std::env::current_dir().unwrap_or_default();
    let mut folders = built_in.ancestors().chain(runs_in.ancestors());
    let root = folders.find(|folder| folder.join("xtask").join("etcd").is_dir())?;
    Some(root.to_owned())
}

/// The subfolders that are named after versions, newest first.
fn versions(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut versions: Vec<(Vec<u32>, String)> = entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            let parts = name.split('.').map(str::parse).collect::<Result<_, _>>();
            Some((parts.ok()?, name))
        })
        .collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    versions.into_iter().map(|(_, name)| name).collect()
}

/// Runs `cargo xtask etcd` for one version after the other until it succeeds.
async fn fetch(printer: &mut Printer) -> Result<PathBuf, Failure> {
    let Some(workspace) = workspace() else {
        return Err(Failure::Other(format!("no etcd found: {HOW_TO_GET_ONE}")));
    };
    let mut known = versions(&workspace.join("xtask").join("etcd"));
    known.sort_by_key(|version| {
        PREBUILT
            .iter()
            .position(|prebuilt| prebuilt == version)
            .unwrap_or(PREBUILT.len())
    });
    for version in known {
        printer.line(&format!("No etcd found yet: cargo xtask etcd {version}"))?;
        let cargo = variable("CARGO").unwrap_or_else(|| "cargo".into());
        let status = tokio::process::Command::new(cargo)
            .args(["xtask", "etcd", &version])
            .current_dir(&workspace)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .status()
            .await;
        match (status, find()?) {
            (Ok(status), Some(etcd)) if status.success() => return Ok(etcd),
            (Err(error), _) => {
                let text = format!("cannot run cargo xtask etcd ({error}): {HOW_TO_GET_ONE}");
                return Err(Failure::Other(text));
            }
            _ => printer.line("That failed; the lines above say why.")?,
        }
    }
    Err(Failure::Other(format!(
        "could not get an etcd: {HOW_TO_GET_ONE}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_newest_first() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["3.5.9", "3.10.0", "3.5.35", ".staging", "3.6.x"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        assert_eq!(versions(folder.path()), ["3.10.0", "3.5.35", "3.5.9"]);
        assert!(versions(&folder.path().join("absent")).is_empty());
    }
}
