//! A pure file decides and does nothing else, so that a test can drive it without a clock.
//!
//! A file is pure when its first line begins with [`MARK`], or when it lies in the folder of a
//! pure module. Files of tests are never pure.

use std::collections::BTreeSet;

use super::paths::{self, Reference};
use super::{Sources, module};

/// The beginning of a pure file.
const MARK: &str = "//! PURE:";

/// Paths that a pure file may not begin a reference with.
const IMPURE: &[&[&str]] = &[
    &["tokio"],
    &["h2"],
    &["http"],
    &["tracing"],
    &["std", "net"],
    &["std", "io"],
];

/// Paths that a pure file may not name anywhere in a reference.
const IMPURE_ANYWHERE: &[&[&str]] = &[&["Instant", "now"], &["SystemTime"]];

/// The paths of all pure modules, without `.rs` or `/mod.rs`.
pub(super) type PureModules = BTreeSet<String>;

/// Collects the modules whose file has the mark.
pub(super) fn pure_modules(sources: &Sources) -> PureModules {
    sources
        .iter()
        .filter(|(_, text)| text.starts_with(MARK))
        .map(|(path, _)| stem(path).to_owned())
        .collect()
}

/// The impure references of a pure file, and marks that are not in the first line.
pub(super) fn check(path: &str, text: &str, pure: &PureModules) -> Vec<(usize, String)> {
    let lines = (1..).zip(text.lines());
    let mut found: Vec<(usize, String)> = lines
        .skip(1)
        .filter(|(_, line)| line.starts_with(MARK))
        .map(|(line, _)| (line, format!("'{MARK}' counts only in the first line")))
        .collect();
    if !text.starts_with(MARK) && !is_within(path, pure) {
        return found;
    }
    let (_, file) = path.split_once("/src/").unwrap_or_default();
    let name = file.rsplit('/').next().unwrap_or(file);
    let references = paths::references(&module(file), text);
    found.extend(references.iter().filter(|reference| impure(reference)).map(|reference| {
        let path = reference.segments.join("::");
        let text = format!("{name} is pure and names {path}; take the time or the outcome as an argument and act in the caller");
        (reference.line, text)
    }));
    found
}

/// Whether the file lies in the folder of a pure module.
fn is_within(path: &str, pure: &PureModules) -> bool {
    let mut folder = stem(path);
    while let Some((above, _)) = folder.rsplit_once('/') {
        if pure.contains(above) {
            return true;
        }
        folder = above;
    }
    false
}

/// The path that a module has in the names of its submodules' files.
fn stem(path: &str) -> &str {
    let path = path.trim_end_matches(".rs");
    path.strip_suffix("/mod").unwrap_or(path)
}

fn impure(reference: &Reference) -> bool {
    let segments: Vec<&str> = reference.segments.iter().map(String::as_str).collect();
    let begins = IMPURE.iter().any(|path| segments.starts_with(path));
    let within = IMPURE_ANYWHERE
        .iter()
        .any(|path| segments.windows(path.len()).any(|window| window == *path));
    (reference.may_begin_with_a_crate() && begins) || within
}
