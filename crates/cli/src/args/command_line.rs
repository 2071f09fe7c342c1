//! From the words of the command line to [`Arguments`], in etcdctl's ways.

use std::collections::HashSet;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Command, CommandFactory as _, FromArgMatches as _};

use super::{Arguments, number};
use crate::failure::{Failure, say};

/// Variables that etcdctl knows, and that mean nothing to the verbs there are.
const WITHOUT_MEANING: &[&str] = &[
    "ETCDCTL_API",
    "ETCDCTL_WATCH_KEY",
    "ETCDCTL_WATCH_RANGE_END",
];

/// Reads the command line. Where it asks for help or the version, this has printed it, and
/// there is nothing left to do.
pub(crate) fn parse(
    words: impl IntoIterator<Item = OsString>,
) -> Result<Option<Arguments>, Failure> {
    let command = Arguments::command();
    warn_of_variables(&command);
    // A variable that is set to nothing is not set.
    let command = command.mut_args(|argument| {
        let empty = argument
            .get_env()
            .and_then(std::env::var_os)
            .is_some_and(|value| value.is_empty());
        if empty { argument.env(None) } else { argument }
    });
    let words = settle_flags(words, &switches(&command));
    let parsed = command
        .clone()
        .try_get_matches_from(&words)
        .and_then(|matches| Arguments::from_arg_matches(&matches));
    match parsed {
        Ok(arguments) => Ok(Some(arguments)),
        Err(error) if !error.use_stderr() || is_for_help(&error) => {
            let styled = error.render();
            crate::output::page(&styled)?;
            Ok(None)
        }
        Err(error) => Err(failure(&error, &command, &words)),
    }
}

fn is_for_help(error: &clap::Error) -> bool {
    // As etcdctl: a group without a verb shows what there is.
    error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
}

/// A variable that etcdctl would obey and this command does not have must not pass unnoticed:
/// it may be the one with the certificates.
fn warn_of_variables(command: &Command) {
    for (name, _) in std::env::vars_os() {
        let known = command
            .get_arguments()
            .any(|argument| argument.get_env() == Some(&name));
        let name = name.to_string_lossy();
        if name.starts_with("ETCDCTL_") && !known && !WITHOUT_MEANING.contains(&&*name) {
            say(
                "Warning",
                &format!("{name} is set, and this version of etcdex does not know it"),
            );
        }
    }
}

/// The long names of all flags without a value, of all verbs.
fn switches(command: &Command) -> HashSet<String> {
    let own = command
        .get_arguments()
        .filter(|argument| matches!(argument.get_action(), ArgAction::SetTrue))
        .filter_map(|argument| argument.get_long().map(str::to_owned));
    let below = command.get_subcommands().flat_map(switches);
    own.chain(below).collect()
}

/// Go's flags take `--prefix=true` and `--prefix=false`; clap's do not.
fn settle_flags(
    words: impl IntoIterator<Item = OsString>,
    switches: &HashSet<String>,
) -> Vec<OsString> {
    let mut flags_are_over = false;
    let settle = |word: OsString| {
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
    words.into_iter().filter_map(settle).collect()
}

/// clap's page of text in one line, with etcdctl's exit codes.
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
    if is_unheard_of(error) {
        Failure::Unsupported(text)
    } else {
        Failure::Usage(text)
    }
}

/// Whether it is about a format, order or consistency that does not exist.
fn is_unheard_of(error: &clap::Error) -> bool {
    let has_choices = matches!(error.get(ContextKind::ValidValue),
        Some(ContextValue::Strings(choices)) if !choices.is_empty());
    let is_given = matches!(error.get(ContextKind::InvalidValue),
        Some(ContextValue::String(value)) if !value.is_empty());
    error.kind() == ErrorKind::InvalidValue && has_choices && is_given
}

/// The variable that a wrong value comes from, when it does not come from a flag.
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

    fn settled(words: &[&str]) -> Vec<OsString> {
        let switches = switches(&Arguments::command());
        settle_flags(words.iter().map(OsString::from), &switches)
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn flags_take_a_truth_value_as_in_go() {
        assert_eq!(
            settled(&["get", "a", "--prefix=true"]),
            ["get", "a", "--prefix"]
        );
        assert_eq!(settled(&["get", "a", "--prefix=F"]), ["get", "a"]);
        let untouched = ["get", "a", "--prefix=x", "--limit=1", "--", "--prefix=true"];
        assert_eq!(settled(&untouched), untouched);
    }
}
