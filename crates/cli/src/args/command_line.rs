//! Parses the command line into [`Arguments`], with the conventions of etcdctl.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

use std::collections::HashSet;
use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Command, CommandFactory as _, FromArgMatches as _};

use super::{Arguments, number};
use crate::failure::{Failure, say};

/// Variables of etcdctl that have no effect on the verbs of this command.
const IGNORED_VARIABLES: &[&str] = &[
    "ETCDCTL_API",
    "ETCDCTL_WATCH_KEY",
    "ETCDCTL_WATCH_RANGE_END",
];

/// A command line that is valid.
enum Parsed {
    Arguments(Box<Arguments>),
    /// The help or the version is to be printed.
    Page(StyledStr),
}

/// Parses the command line. Returns `None` after it has printed the help or the version.
pub(crate) fn parse(
    words: impl IntoIterator<Item = OsString>,
) -> Result<Option<Arguments>, Failure> {
    let command = Arguments::command();
    warn_of_variables(&command);
    match parse_words(command, words)? {
        Parsed::Arguments(arguments) => Ok(Some(*arguments)),
        Parsed::Page(page) => {
            crate::output::page(&page)?;
            Ok(None)
        }
    }
}

fn parse_words(
    command: Command,
    words: impl IntoIterator<Item = OsString>,
) -> Result<Parsed, Failure> {
    let command = command.mut_args(|argument| {
        // The help must not print the value of a variable: one is a password.
        let argument = argument.hide_env_values(true);
        // A variable with an empty value counts as unset.
        let empty = argument
            .get_env()
            .and_then(std::env::var_os)
            .is_some_and(|value| value.is_empty());
        if empty { argument.env(None) } else { argument }
    });
    let words = resolve_switches(words, &switches(&command));
    let parsed = command
        .clone()
        .try_get_matches_from(&words)
        .and_then(|matches| Arguments::from_arg_matches(&matches));
    match parsed {
        Ok(arguments) => Ok(Parsed::Arguments(Box::new(arguments))),
        Err(error) if !error.use_stderr() || is_for_help(&error) => {
            Ok(Parsed::Page(error.render()))
        }
        Err(error) => Err(failure(&error, &command, &words)),
    }
}

fn is_for_help(error: &clap::Error) -> bool {
    // As in etcdctl, a group without a verb prints the list of its verbs.
    error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
}

/// Warns of variables of etcdctl that this command does not know. One of them may configure the
/// security of the connection.
fn warn_of_variables(command: &Command) {
    for (name, _) in std::env::vars_os() {
        let known = command
            .get_arguments()
            .any(|argument| argument.get_env() == Some(&name));
        let name = name.to_string_lossy();
        if name.starts_with("ETCDCTL_") && !known && !IGNORED_VARIABLES.contains(&&*name) {
            say(
                "Warning",
                &format!("{name} is set, but this version of etcdex does not support it"),
            );
        }
    }
}

/// The long names of the flags without a value, of all verbs.
fn switches(command: &Command) -> HashSet<String> {
    let own = command
        .get_arguments()
        .filter(|argument| matches!(argument.get_action(), ArgAction::SetTrue))
        .filter_map(|argument| argument.get_long().map(str::to_owned));
    let below = command.get_subcommands().flat_map(switches);
    own.chain(below).collect()
}

/// Replaces `--prefix=true` by `--prefix`, and removes `--prefix=false`. Go's flags accept these
/// forms; clap's do not.
fn resolve_switches(
    words: impl IntoIterator<Item = OsString>,
    switches: &HashSet<String>,
) -> Vec<OsString> {
    let mut flags_are_over = false;
    let resolve = |word: OsString| {
        flags_are_over |= word == "--";
        let switch = word
            .to_str()
            .filter(|_| !flags_are_over)
            .and_then(|text| text.strip_prefix("--")?.split_once('='))
            .filter(|(name, _)| switches.contains(*name))
            .and_then(|(name, value)| Some((name, number::truth(value).ok()?)));
        match switch {
            Some((name, true)) => Some(format!("--{name}").into()),
            Some((_, false)) => None,
            None => Some(word),
        }
    };
    words.into_iter().filter_map(resolve).collect()
}

/// Converts an error of clap: its text in one line, with the exit code of etcdctl.
fn failure(error: &clap::Error, command: &Command, words: &[OsString]) -> Failure {
    let page = error.render().to_string();
    let mut paragraphs = page.split("\n\n");
    let first = paragraphs.next().unwrap_or_default();
    let mut text = first.strip_prefix("error: ").unwrap_or(first).to_owned();
    if let Some(variable) = variable_at_fault(error, command, words) {
        text.push_str(&format!(" (from {variable})"));
    }
    for line in page.lines().map(str::trim) {
        if let Some(tip) = line.strip_prefix("tip: ") {
            text.push_str(&format!("; {tip}"));
        } else if let Some(usage) = line.strip_prefix("Usage: ") {
            let verb: Vec<&str> = usage
                .split(' ')
                .take_while(|word| !word.starts_with(['[', '<', '-']))
                .collect();
            text.push_str(&format!("; see {} --help", verb.join(" ")));
        }
    }
    if is_unsupported_value(error) {
        Failure::Unsupported(text)
    } else {
        Failure::Usage(text)
    }
}

/// Whether the value of a flag is not one of the flag's choices.
fn is_unsupported_value(error: &clap::Error) -> bool {
    let has_choices = matches!(error.get(ContextKind::ValidValue),
        Some(ContextValue::Strings(choices)) if !choices.is_empty());
    let is_given = matches!(error.get(ContextKind::InvalidValue),
        Some(ContextValue::String(value)) if !value.is_empty());
    error.kind() == ErrorKind::InvalidValue && has_choices && is_given
}

/// The variable that an invalid value comes from; `None` if the value comes from a flag.
fn variable_at_fault(error: &clap::Error, command: &Command, words: &[OsString]) -> Option<String> {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let name = flag.split(' ').next()?;
    let argument = command
        .get_arguments()
        .find(|argument| argument.get_long() == name.strip_prefix("--"))?;
    let short = argument.get_short().map(|short| format!("-{short}"));
    let is_given = words.iter().any(|word| {
        let word = word.to_string_lossy();
        word.starts_with(name) || short.as_ref().is_some_and(|short| word.starts_with(short))
    });
    let variable = argument.get_env().filter(|_| !is_given)?;
    std::env::var_os(variable)?;
    Some(variable.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(words: &[&str]) -> Vec<OsString> {
        let switches = switches(&Arguments::command());
        resolve_switches(words.iter().map(OsString::from), &switches)
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn flags_accept_a_truth_value_as_in_go() {
        assert_eq!(
            resolved(&["get", "a", "--prefix=true"]),
            ["get", "a", "--prefix"]
        );
        assert_eq!(resolved(&["get", "a", "--prefix=F"]), ["get", "a"]);
        let untouched = ["get", "a", "--prefix=x", "--limit=1", "--", "--prefix=true"];
        assert_eq!(resolved(&untouched), untouched);
    }
}
