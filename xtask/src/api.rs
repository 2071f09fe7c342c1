//! `cargo xtask api`: the public API of the library as text, so that a review shows each change.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

const USAGE: &str = "\
Writes crates/client/public-api.txt: every public item of the library, one per line.

Usage: cargo xtask api [--check]

With --check it writes nothing, prints the difference from the file, and fails if there is one.
";

/// All features of the library but `tls-aws-lc`, which adds no item.
const FEATURES: &str = "serde,tls,snapshot,srv,metrics";

/// Path of the file from the workspace's root.
const SNAPSHOT: &str = "crates/client/public-api.txt";

/// Maximum number of printed lines of a difference.
const SHOWN: usize = 40;

/// Runs the chore.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let check = match arguments {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => {
            print!("{USAGE}");
            return Ok(());
        }
    };
    let root = crate::workspace();
    let present = api(&root)?;
    let path = root.join(SNAPSHOT);
    if !check {
        std::fs::write(&path, &present).with_context(|| format!("writing {SNAPSHOT}"))?;
        println!("{SNAPSHOT}: {} items", present.lines().count());
        return Ok(());
    }
    let recorded = std::fs::read_to_string(&path)
        .with_context(|| format!("{SNAPSHOT} cannot be read; `cargo xtask api` writes it"))?;
    if recorded == present {
        println!(
            "the public API is as recorded ({} items)",
            present.lines().count()
        );
        return Ok(());
    }
    let changes = changes(&recorded, &present);
    for line in changes.iter().take(SHOWN) {
        eprintln!("{line}");
    }
    if changes.len() > SHOWN {
        eprintln!("... and {} more", changes.len() - SHOWN);
    }
    bail!(
        "the public API differs from {SNAPSHOT}; if the change is intended, run \
         `cargo xtask api`, commit the file, and name the change in CHANGELOG.md"
    );
}

/// Returns the lines that only one of the two texts has, with a sign.
fn changes(recorded: &str, present: &str) -> Vec<String> {
    let missing = |from: &str, sign: char, other: &str| -> Vec<String> {
        let other: std::collections::HashSet<&str> = other.lines().collect();
        from.lines()
            .filter(|line| !other.contains(line))
            .map(|line| format!("{sign} {line}"))
            .collect()
    };
    let mut changes = missing(recorded, '-', present);
    changes.extend(missing(present, '+', recorded));
    changes
}

/// Generates the public API from rustdoc's JSON.
fn api(root: &Path) -> Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(root)
        // rustdoc's JSON is unstable; this variable enables it on a stable toolchain.
        .env("RUSTC_BOOTSTRAP", "1")
        .args(["rustdoc", "--quiet", "--package", "etcdex", "--lib"])
        .args(["--features", FEATURES, "--target-dir"])
        .arg(target(root))
        .args(["--", "-Zunstable-options", "--output-format", "json"])
        .status()
        .context("cargo cannot be started")?;
    if !status.success() {
        bail!("cargo rustdoc failed");
    }
    let json = target(root).join("doc/etcdex.json");
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()
        .context(
            "rustdoc's JSON cannot be read; a newer toolchain needs a newer `public-api` in \
             xtask/Cargo.toml",
        )?;
    Ok(format!("{api}"))
}

/// A separate target folder, because `RUSTC_BOOTSTRAP` would cause a full rebuild in the usual one.
fn target(root: &Path) -> PathBuf {
    let usual = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    usual.unwrap_or_else(|| root.join("target")).join("api")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_difference_has_the_added_and_the_removed_lines() {
        let changes = super::changes("a\nb\n", "b\nc\n");
        assert_eq!(changes, ["- a", "+ c"]);
    }
}
