//! The releases of etcd that there is a recipe for: the folders below `xtask/etcd/`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// One release and how to get it.
pub(super) struct Release {
    /// As in `3.5.35`.
    pub(super) version: String,
    /// The folder with the recipe's pins.
    pub(super) folder: PathBuf,
    pub(super) recipe: Recipe,
}

/// How a release is got; told by the file that its folder has.
#[derive(Clone, Copy)]
pub(super) enum Recipe {
    /// Debian packages to unpack (`packages.txt`).
    Debian,
    /// A Python wheel to unpack (`requirements.txt`).
    Wheel,
    /// Go tools to build (`go.mod`).
    Go,
}

/// The root of the workspace.
pub(super) fn workspace() -> PathBuf {
    // `cargo run` says where the package is now; it may have moved since it was compiled.
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or(package.clone(), Path::to_path_buf)
}

/// Every release with a recipe, in ascending order.
pub(super) fn all() -> Result<Vec<Release>> {
    let recipes = workspace().join("xtask").join("etcd");
    let entries = fs::read_dir(&recipes)
        .with_context(|| format!("cannot read the recipes in {}", recipes.display()))?;
    let mut releases = Vec::new();
    for entry in entries {
        let folder = entry?.path();
        if folder.is_dir() {
            releases.push(read(folder)?);
        }
    }
    releases.sort_by_key(|release| numbers(&release.version));
    Ok(releases)
}

fn read(folder: PathBuf) -> Result<Release> {
    let recipe = if folder.join("go.mod").exists() {
        Recipe::Go
    } else if folder.join("requirements.txt").exists() {
        Recipe::Wheel
    } else if folder.join("packages.txt").exists() {
        Recipe::Debian
    } else {
        bail!(
            "{} has no go.mod, requirements.txt or packages.txt; add one or remove the folder",
            folder.display()
        );
    };
    let version = folder
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    Ok(Release {
        version,
        folder,
        recipe,
    })
}

/// What orders versions: 3.5.9 is before 3.5.35.
fn numbers(version: &str) -> Vec<u32> {
    version
        .split('.')
        .map(|part| part.parse().unwrap_or(0))
        .collect()
}
