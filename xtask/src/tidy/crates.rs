//! Each crate depends only on the crates that the table allows.

use super::{Sources, Violation};

/// A folder below `crates/`, and the workspace's crates it may depend on outside of tests.
const CRATES: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("client", &["etcdex-proto"]),
    ("testkit", &["etcdex", "etcdex-proto", "etcdex-server"]),
    ("cli", &["etcdex", "etcdex-server"]),
    ("server", &["etcdex-proto"]),
    ("bench", &["etcdex", "etcdex-proto", "etcdex-testkit"]),
];

/// The rows of the table without a crate in the tree.
pub(super) fn stale(sources: &Sources) -> Vec<Violation> {
    CRATES
        .iter()
        .filter(|(name, _)| !sources.contains_key(&format!("crates/{name}/Cargo.toml")))
        .map(|(name, _)| super::stale("crates.rs", "CRATES", &format!("the folder crates/{name}")))
        .collect()
}

/// The dependencies of a manifest that the table does not allow, with their lines.
pub(super) fn check(path: &str, text: &str) -> Vec<(usize, String)> {
    let directory = path
        .trim_start_matches("crates/")
        .trim_end_matches("/Cargo.toml");
    let Some((_, allowed)) = CRATES.iter().find(|(name, _)| *name == directory) else {
        let text = format!(
            "crates/{directory} is in no table; add it to CRATES in xtask/src/tidy/crates.rs"
        );
        return vec![(1, text)];
    };
    dependencies(text)
        .into_iter()
        .filter(|(_, name)| *name == "xtask" || *name == "etcdex" || name.starts_with("etcdex-"))
        .filter(|(_, name)| !allowed.contains(&name.as_str()))
        .map(|(line, name)| {
            let text = format!(
                "{directory} may not depend on {name}; drop the dependency, or move the shared code to a crate below both"
            );
            (line, text)
        })
        .collect()
}

/// The normal dependencies of a manifest, by package name, with their lines.
fn dependencies(text: &str) -> Vec<(usize, String)> {
    let mut dependencies = Vec::new();
    let mut section = "";
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
            if let Some(name) = section.strip_prefix("dependencies.") {
                dependencies.push((index + 1, name.to_owned()));
            }
        } else if let Some((key, value)) = line.split_once('=') {
            let listed = section == "dependencies"
                || (section.starts_with("target.") && section.ends_with(".dependencies"));
            let table = section.starts_with("dependencies.");
            if listed && !line.starts_with('#') {
                let key = key.trim().split('.').next().unwrap_or_default();
                let name = package(value).unwrap_or(key).trim_matches('"');
                dependencies.push((index + 1, name.to_owned()));
            } else if table && key.trim() == "package" {
                dependencies.push((index + 1, value.trim().trim_matches('"').to_owned()));
            }
        }
    }
    dependencies
}

/// The name in `{ package = "name", .. }`.
fn package(value: &str) -> Option<&str> {
    let (_, after) = value.split_once("package")?;
    after.split('"').nth(1)
}
