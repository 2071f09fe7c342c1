//! `cargo xtask tidy`: the rules of the source tree that the compiler does not check.
//!
//! Each rule is a file with its table at the top: [`crates`], [`layers`], [`wire`], [`purity`],
//! [`words`], [`pages`]. This file reads the tree and prints what the rules find.

mod crates;
mod layers;
mod pages;
mod paths;
mod purity;
#[cfg(test)]
mod tests;
mod wire;
mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;

/// Source folder of the client, from the workspace's root.
const CLIENT: &str = "crates/client/src/";

/// Number of files in the list of the longest.
const LONGEST: usize = 10;

/// A file of the tree: its path from the workspace's root, with `/`, and its text.
type Sources = BTreeMap<String, String>;

/// Runs the chore.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    anyhow::ensure!(arguments.is_empty(), "tidy takes no arguments");
    let sources = sources(&crate::workspace())?;
    let mut violations = violations(&sources);
    let (words, counts) = words::violations(&sources);
    violations.extend(words);
    violations.extend(pages::violations(
        &read_pages(&crate::workspace())?,
        &sources,
    ));
    // A closed standard output is an error, not a panic: the output is long enough for `head`.
    let mut out = io::stdout().lock();
    for line in counts {
        writeln!(out, "{line}")?;
    }
    for violation in &violations {
        writeln!(out, "{violation}")?;
    }
    writeln!(out, "the longest files:")?;
    for (lines, path) in longest(&sources) {
        writeln!(out, "{lines:>6} {path}")?;
    }
    anyhow::ensure!(violations.is_empty(), "{} violations", violations.len());
    Ok(())
}

/// A place that breaks a rule.
#[derive(Debug)]
struct Violation {
    path: String,
    line: usize,
    text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.text)
    }
}

/// Reads the manifests of the crates, and every Rust file of the crates and of xtask.
fn sources(root: &Path) -> anyhow::Result<Sources> {
    let mut sources = Sources::new();
    for (name, path) in entries(&root.join("crates"))? {
        let manifest = path.join("Cargo.toml");
        if !manifest.exists() {
            continue;
        }
        let text = fs::read_to_string(&manifest)
            .with_context(|| format!("cannot read {}", manifest.display()))?;
        sources.insert(format!("crates/{name}/Cargo.toml"), text);
        for folder in ["src", "tests"] {
            let path = path.join(folder);
            if path.exists() {
                read_rust(&path, &format!("crates/{name}/{folder}"), &mut sources)?;
            }
        }
    }
    read_rust(&root.join("xtask/src"), "xtask/src", &mut sources)?;
    Ok(sources)
}

fn read_pages(root: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let read = |page: &&str| {
        let text = fs::read_to_string(root.join(page));
        Ok((
            (*page).to_owned(),
            text.with_context(|| format!("cannot read {page}"))?,
        ))
    };
    pages::PAGES.iter().map(read).collect()
}

fn entries(directory: &Path) -> anyhow::Result<Vec<(String, std::path::PathBuf)>> {
    let mut entries = Vec::new();
    let listing =
        fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    for entry in listing {
        let entry = entry?;
        entries.push((
            entry.file_name().to_string_lossy().into_owned(),
            entry.path(),
        ));
    }
    Ok(entries)
}

fn read_rust(directory: &Path, name: &str, sources: &mut Sources) -> anyhow::Result<()> {
    for (entry, path) in entries(directory)? {
        let name = format!("{name}/{entry}");
        if path.is_dir() {
            read_rust(&path, &name, sources)?;
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
            sources.insert(name, text);
        }
    }
    Ok(())
}

/// The violations of every rule but [`words`].
fn violations(sources: &Sources) -> Vec<Violation> {
    let tree = Tree::of(sources);
    let mut found = crates::stale(sources);
    found.extend(layers::stale(sources));
    found.extend(wire::stale(sources));
    found.extend(
        sources
            .iter()
            .flat_map(|(path, text)| check(path, text, &tree)),
    );
    found
}

/// Facts about the whole tree that the check of one file needs.
#[derive(Default)]
struct Tree {
    reexports: layers::Reexports,
    pure: purity::PureModules,
}

impl Tree {
    fn of(sources: &Sources) -> Self {
        let root = sources.get(&format!("{CLIENT}lib.rs"));
        Self {
            reexports: root.map(|text| layers::reexports(text)).unwrap_or_default(),
            pure: purity::pure_modules(sources),
        }
    }
}

/// The violations in one file.
fn check(path: &str, text: &str, tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    if path.ends_with("/Cargo.toml") {
        found.extend(crates::check(path, text));
    } else if !is_test(path) {
        let client = path.strip_prefix(CLIENT);
        if let Some(file) = client {
            let module = module(file);
            let references = paths::references(&module, text);
            found.extend(layers::check(&module, &references, &tree.reexports));
            found.extend(wire::check(&module, &references));
        }
        found.extend(purity::check(path, text, &tree.pure));
    }
    let mut violations: Vec<Violation> = found
        .into_iter()
        .map(|(line, text)| Violation {
            path: path.to_owned(),
            line,
            text,
        })
        .collect();
    violations.sort_by_key(|violation| violation.line);
    violations
}

/// A violation of a table of this chore, which names something that is not in the tree.
fn stale(file: &str, table: &str, name: &str) -> Violation {
    Violation {
        path: format!("xtask/src/tidy/{file}"),
        line: 1,
        text: format!("{table} names {name}, which does not exist; remove or rename it there"),
    }
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// The module path of a file below a crate's `src/`; empty for the crate's root.
fn module(file: &str) -> Vec<&str> {
    let mut module: Vec<&str> = file.trim_end_matches(".rs").split('/').collect();
    if module.last() == Some(&"mod") || module == ["lib"] {
        module.pop();
    }
    module
}

/// Whether the client has this module at its root.
fn is_module(sources: &Sources, name: &str) -> bool {
    ["", "/mod"]
        .iter()
        .any(|end| sources.contains_key(&format!("{CLIENT}{name}{end}.rs")))
}

/// The longest files with their numbers of lines, without tests and generated code.
fn longest(sources: &Sources) -> Vec<(usize, &str)> {
    let mut files: Vec<(usize, &str)> = sources
        .iter()
        .filter(|(path, _)| path.ends_with(".rs") && !is_test(path) && !path.contains("/src/gen/"))
        .map(|(path, text)| (text.lines().count(), path.as_str()))
        .collect();
    files.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(other.1)));
    files.truncate(LONGEST);
    files
}
