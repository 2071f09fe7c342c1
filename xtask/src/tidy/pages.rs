//! The files that the pages about the source tree name.

use std::collections::BTreeMap;

use super::{Sources, Violation};

/// The pages, from the workspace's root.
pub(super) const PAGES: &[&str] = &["ARCHITECTURE.md", "docs/invariants.md"];

/// Returns the names of files and folders in a page that are not in the tree.
///
/// A name is a span of code that ends in `.rs` or `/`. It may leave out the beginning of its path.
pub(super) fn violations(pages: &BTreeMap<String, String>, sources: &Sources) -> Vec<Violation> {
    let mut found = Vec::new();
    for (page, text) in pages {
        for (line, text) in (1..).zip(text.lines()) {
            for name in names(text).filter(|name| !exists(name, sources)) {
                found.push(Violation {
                    path: page.clone(),
                    line,
                    text: format!("there is no `{name}`"),
                });
            }
        }
    }
    found
}

fn names(line: &str) -> impl Iterator<Item = &str> {
    let spans = line.split('`').skip(1).step_by(2);
    spans.filter(|span| {
        let is_path = span
            .chars()
            .all(|c| c.is_alphanumeric() || "_-./".contains(c));
        is_path && !span.starts_with('/') && (span.ends_with(".rs") || span.ends_with('/'))
    })
}

fn exists(name: &str, sources: &Sources) -> bool {
    let name = format!("/{name}");
    let mut paths = sources.keys().map(|path| format!("/{path}"));
    match name.strip_suffix('/') {
        Some(_) => paths.any(|path| path.contains(&name)),
        None => paths.any(|path| path.ends_with(&name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_files_and_folders_that_exist() {
        let sources = ["crates/client/src/call/retry.rs", "xtask/src/main.rs"];
        let sources = sources.map(|path| (path.to_owned(), String::new())).into();
        let found = |text: &str| {
            let pages = [("page.md".to_owned(), text.to_owned())].into();
            let found = violations(&pages, &sources);
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let good =
            "`retry.rs`, `call/retry.rs`, `call/`, `xtask/src/`, `first_answer_limit`, a/b.rs";
        assert_eq!(found(good), Vec::<String>::new());
        let stale = "a line\nthe rule: `call/retry.rs`, `verdict`; `all/retry.rs`; `calls/`";
        let expected = [
            "page.md:2: there is no `all/retry.rs`",
            "page.md:2: there is no `calls/`",
        ];
        assert_eq!(found(stale), expected);
    }
}
