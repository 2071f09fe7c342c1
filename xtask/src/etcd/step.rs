//! One step of a recipe: a message, and a command whose error has the end of its output.

use std::io;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Number of lines of a failed command's output in the error.
const ERROR_LINES: usize = 6;

/// Prints a message about a version.
pub(super) fn say(version: &str, message: &str) {
    println!("etcd {version}: {message}");
}

/// Runs a command to its end, and returns its standard output.
pub(super) fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = match command.output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("`{program}` is not installed; install it or add it to PATH")
        }
        outcome => outcome.with_context(|| format!("cannot run `{program}`"))?,
    };
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let source = if stderr.trim().is_empty() {
            &stdout
        } else {
            stderr.as_ref()
        };
        bail!(
            "`{program}` failed ({}):\n{}",
            output.status,
            last_lines(source)
        );
    }
    Ok(stdout)
}

/// Returns the last lines that are not empty, indented.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    let tail = &lines[lines.len().saturating_sub(ERROR_LINES)..];
    tail.iter()
        .map(|line| format!("    {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}
