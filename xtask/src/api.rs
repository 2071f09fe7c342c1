//! `cargo xtask api`: the public API of the library as text, so that a review sees it change.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

const USAGE: &str = "\
Writes crates/client/public-api.txt: every public item of the library, one a line.

Usage: cargo xtask api [--check]

With --check nothing is written; a difference from the file is a failure, and is shown.
";

/// Everything that a user can switch on, but for `tls-aws-lc`, which adds no item.
const FEATURES: &str = "serde,tls,snapshot,srv,metrics";

/// The file, from the root of the workspace.
const SNAPSHOT: &str = "crates/client/public-api.txt";

/// How many lines of a difference are shown.
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
    let root = root();
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
        "the public API is not the one in {SNAPSHOT}; if the change is meant, run \
         `cargo xtask api`, commit the file, and name the change in CHANGELOG.md"
    );
}

fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

/// The lines that only one of the two has.
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

/// What rustdoc tells of the library.
fn api(root: &Path) -> Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(root)
        // rustdoc's JSON is not stable yet, and this opens it on a stable toolchain.
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
            "rustdoc's JSON cannot be read; a newer toolchain wants a newer `public-api` in \
             xtask/Cargo.toml",
        )?;
    Ok(format!("{api}"))
}

/// A folder of its own: `RUSTC_BOOTSTRAP` would have everything built anew in the usual one.
fn target(root: &Path) -> PathBuf {
    let usual = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    usual.unwrap_or_else(|| root.join("target")).join("api")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_difference_names_what_came_and_what_went() {
        let changes = super::changes("a\nb\n", "b\nc\n");
        assert_eq!(changes, ["- a", "+ c"]);
    }
}
