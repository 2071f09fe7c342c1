//! The words of comments and the names of types.

use std::collections::BTreeMap;

use super::{CLIENT, Sources, Violation, is_test};

/// Words at the beginning of a sentence that names no actor.
const BARE: &[&str] = &["Who", "Whose", "Whoever", "What", "Those", "Nobody"];

/// Maximum number of such sentences. A change may only lower it.
const MOST_BARE: usize = 0;

/// The beginning of a comment above a type that says why another type has the same name.
const REASON: &str = "// Same name as";

/// Maximum number of names with a second definition and no such comment. A change may only lower it.
const MOST_TWICE: usize = 0;

/// Returns the violations of each rule with more of them than its maximum, and a line for each rule
/// with its count.
pub(super) fn violations(sources: &Sources) -> (Vec<Violation>, Vec<String>) {
    let (mut found, mut counts) = (Vec::new(), Vec::new());
    for (rule, of, most) in [
        ("bare pronouns", bare(sources), MOST_BARE),
        ("names twice", twice(sources), MOST_TWICE),
    ] {
        counts.push(format!("{rule}: {} (at most {most})", of.len()));
        if of.len() > most {
            found.extend(of);
        }
    }
    (found, counts)
}

/// Sentences of comments that begin with a bare pronoun.
fn bare(sources: &Sources) -> Vec<Violation> {
    sources
        .iter()
        .filter(|(path, _)| path.ends_with(".rs") && !path.contains("/gen/"))
        .flat_map(|(path, text)| {
            let lines = (1..).zip(text.lines());
            lines.filter_map(|(line, text)| {
                let word = bare_word(text)?;
                Some(Violation {
                    path: path.clone(),
                    line,
                    text: format!("a sentence begins with a bare '{word}'; name the actor"),
                })
            })
        })
        .collect()
}

/// Returns the bare pronoun that a sentence in this line's comment begins with.
fn bare_word(line: &str) -> Option<&'static str> {
    let comment = line.trim_start().strip_prefix("//")?;
    let comment = comment.trim_start_matches(['/', '!']).trim_start();
    let begins = |sentence: &str| {
        BARE.iter().copied().find(|word| {
            let rest = sentence.strip_prefix(word);
            rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
        })
    };
    comment.split(". ").find_map(begins)
}

/// Types of the client with the name of another type, and no comment that says why.
fn twice(sources: &Sources) -> Vec<Violation> {
    let mut places: BTreeMap<&str, Vec<(&String, usize, bool)>> = BTreeMap::new();
    for (path, text) in sources {
        if !path.starts_with(CLIENT) || is_test(path) {
            continue;
        }
        let lines: Vec<&str> = text.lines().collect();
        let lines = lines.as_slice();
        for (index, line) in lines.iter().enumerate() {
            // The rest of the file is its tests.
            if line.trim() == "#[cfg(test)]"
                && lines
                    .get(index + 1)
                    .is_some_and(|next| next.starts_with("mod tests {"))
            {
                break;
            }
            if let Some(name) = defined(line) {
                let above = lines[..index].iter().rev();
                let mut notes = above.take_while(|line| is_note(line));
                let reason = notes.any(|line| line.trim_start().starts_with(REASON));
                places
                    .entry(name)
                    .or_default()
                    .push((path, index + 1, reason));
            }
        }
    }
    places
        .into_iter()
        .filter(|(_, places)| places.len() > 1)
        .flat_map(|(name, places)| {
            let unexplained = places.into_iter().filter(|(_, _, reason)| !reason);
            unexplained.skip(1).map(move |(path, line, _)| Violation {
                path: path.clone(),
                line,
                text: format!(
                    "{name} is defined elsewhere too; rename it, or say why in '{REASON} ..'"
                ),
            })
        })
        .collect()
}

/// Returns the name of the type that a line defines.
fn defined(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')')?.1.trim_start(),
        Some(rest) => rest.trim_start(),
        None => line,
    };
    let rest = ["struct ", "enum ", "trait "]
        .iter()
        .find_map(|kind| line.strip_prefix(kind))?;
    let end = rest
        .find(|c: char| !c.is_alphanumeric())
        .unwrap_or(rest.len());
    Some(&rest[..end]).filter(|name| name.starts_with(|c: char| c.is_uppercase()))
}

fn is_note(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("//") || line.starts_with("#[")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_pronouns_are_found_at_the_beginning_of_a_sentence() {
        for line in [
            "// Who waits is told.",
            "    /// What comes next",
            "//! All is well. Those that wait go on.",
            "//! Nobody, really.",
        ] {
            assert!(bare_word(line).is_some(), "{line}");
        }
        for line in [
            "// Whole messages come first.",
            "// The driver knows what to do.",
            "/// Whatever happens, it ends.",
            "let what = 1;",
            "/// # What it promises",
        ] {
            assert!(bare_word(line).is_none(), "{line}");
        }
    }

    #[test]
    fn a_second_definition_of_a_name_needs_a_reason() {
        let sources = |note: &str| {
            let text = format!("{note}#[derive(Debug)]\nenum Stage {{}}\n");
            Sources::from([
                (
                    format!("{CLIENT}a.rs"),
                    "pub(crate) struct Stage;\n".to_owned(),
                ),
                (format!("{CLIENT}b.rs"), text),
                (format!("{CLIENT}c/tests.rs"), "struct Stage;\n".to_owned()),
            ])
        };
        let found = twice(&sources(""));
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].path.as_str(), found[0].line),
            ("crates/client/src/b.rs", 2)
        );
        assert!(twice(&sources("// Same name as in a.rs: both are etcd's.\n")).is_empty());
    }

    #[test]
    fn definitions_of_types_are_recognized() {
        assert_eq!(defined("pub struct Put {"), Some("Put"));
        assert_eq!(defined("    trait Wire<T>: Send {"), Some("Wire"));
        assert_eq!(defined("let structure = 1;"), None);
    }
}
