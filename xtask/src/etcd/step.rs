//! One step of a recipe: a command, told in a line, with its last words in the error.

use std::io;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// How much of a failed command's output goes into the error.
const LAST_WORDS: usize = 6;

/// Says what is going on with a version.
pub(super) fn say(version: &str, what: &str) {
    println!("etcd {version}: {what}");
}

/// Runs a command to its end and gives what it wrote to its standard output.
pub(super) fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = match command.output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("`{program}` is not there; install it or add it to PATH")
        }
        outcome => outcome.with_context(|| format!("cannot run `{program}`"))?,
    };
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        let source = if complaint.trim().is_empty() {
            &told
        } else {
            complaint.as_ref()
        };
        bail!(
            "`{program}` failed ({}):\n{}",
            output.status,
            last_words(source)
        );
    }
    Ok(told)
}

/// The last lines, indented to stand below the error.
fn last_words(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    let tail = &lines[lines.len().saturating_sub(LAST_WORDS)..];
    tail.iter()
        .map(|line| format!("    {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}
