//! The releases of etcd with a recipe: the folders below `xtask/etcd/`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// A release and its recipe.
pub(super) struct Release {
    /// Version, for example `3.5.35`.
    pub(super) version: String,
    /// Folder of the recipe.
    pub(super) folder: PathBuf,
    pub(super) recipe: Recipe,
}

/// How to get a release. The file in the recipe's folder decides.
#[derive(Clone, Copy)]
pub(super) enum Recipe {
    /// Debian packages to unpack (`packages.txt`).
    Debian,
    /// A Python wheel to unpack (`requirements.txt`).
    Wheel,
    /// Go tools to build (`go.mod`).
    Go,
}

/// Every release with a recipe, in ascending order.
pub(super) fn all() -> Result<Vec<Release>> {
    let recipes = crate::workspace().join("xtask").join("etcd");
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

/// The sort key of a version: 3.5.9 comes before 3.5.35.
fn numbers(version: &str) -> Vec<u32> {
    version
        .split('.')
        .map(|part| part.parse().unwrap_or(0))
        .collect()
}
