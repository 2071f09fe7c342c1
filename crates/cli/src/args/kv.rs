//! `put`, `get`, `del`.

use std::ffi::OsString;

use clap::{Args, ValueEnum};

use super::number;

/// Puts a value at a key
///
/// Without VALUE, standard input is the value. A key or value that begins with `-` goes after
/// `--`, as in: etcdex put -- KEY -VALUE
#[derive(Args, Debug)]
pub(crate) struct Put {
    /// The key
    pub(crate) key: OsString,
    /// The value; standard input if it is missing
    pub(crate) value: Option<OsString>,
    /// Lease to attach the key to, in hexadecimal; 0 is none
    #[arg(long, value_name = "ID", default_value = "0", value_parser = number::lease,
        allow_hyphen_values = true)]
    pub(crate) lease: i64,
    /// Prints the previous key and value
    #[arg(long)]
    pub(crate) prev_kv: bool,
    /// Keeps the current value of the key
    #[arg(long)]
    pub(crate) ignore_value: bool,
    /// Keeps the current lease of the key
    #[arg(long)]
    pub(crate) ignore_lease: bool,
}

// Not a doc comment: clap would print it as the help of the command.
// The keys of `get` and `del`.
#[derive(Args, Debug)]
pub(crate) struct Range {
    /// The key
    pub(crate) key: OsString,
    /// End of the range, exclusive
    pub(crate) range_end: Option<OsString>,
    /// All keys that begin with KEY; all keys if KEY is empty
    #[arg(long)]
    pub(crate) prefix: bool,
    /// All keys that are greater than or equal to KEY
    #[arg(long)]
    pub(crate) from_key: bool,
}

/// Gets a key or a range of keys
///
/// With RANGE_END: all keys from KEY up to RANGE_END, which is not included.
#[derive(Args, Debug)]
pub(crate) struct Get {
    #[command(flatten)]
    pub(crate) keys: Range,
    /// Maximum number of keys; 0 is no limit
    #[arg(long, value_name = "NUMBER", default_value = "0", hide_default_value = true,
        value_parser = number::integer, allow_hyphen_values = true)]
    pub(crate) limit: i64,
    /// Reads at this revision; 0 is the current one
    #[arg(long, value_name = "REVISION", default_value = "0", hide_default_value = true,
        value_parser = number::integer, allow_hyphen_values = true)]
    pub(crate) rev: i64,
    /// Sort order
    #[arg(long, ignore_case = true)]
    pub(crate) order: Option<Order>,
    /// Sort target
    #[arg(long, ignore_case = true, value_name = "TARGET")]
    pub(crate) sort_by: Option<Target>,
    /// Linearizable (l), or serializable, which one member answers alone (s)
    #[arg(long, default_value = "l")]
    pub(crate) consistency: Consistency,
    /// Returns keys without values
    #[arg(long)]
    pub(crate) keys_only: bool,
    /// Returns only the number of keys (with --write-out fields)
    #[arg(long)]
    pub(crate) count_only: bool,
    /// Prints values without keys (with --write-out simple)
    #[arg(long)]
    pub(crate) print_value_only: bool,
    /// Only keys that were created at this revision or later; 0 is no limit
    #[arg(long, value_name = "REVISION", default_value = "0", hide_default_value = true,
        value_parser = number::integer, allow_hyphen_values = true)]
    pub(crate) min_create_rev: i64,
    /// Only keys that were created at this revision or earlier; 0 is no limit
    #[arg(long, value_name = "REVISION", default_value = "0", hide_default_value = true,
        value_parser = number::integer, allow_hyphen_values = true)]
    pub(crate) max_create_rev: i64,
    /// Only keys that were last changed at this revision or later; 0 is no limit
    #[arg(long, value_name = "REVISION", default_value = "0", hide_default_value = true,
        value_parser = number::integer, allow_hyphen_values = true)]
    pub(crate) min_mod_rev: i64,
    /// Only keys that were last changed at this revision or earlier; 0 is no limit
    #[arg(long, value_name = "REVISION", default_value = "0", hide_default_value = true,
        value_parser = number::integer, allow_hyphen_values = true)]
    pub(crate) max_mod_rev: i64,
}

/// Deletes a key or a range of keys
///
/// With RANGE_END: all keys from KEY up to RANGE_END, which is not included. Two keys in place of
/// a range are an easy mistake, so the command waits two seconds before it deletes a range. --range
/// skips the wait.
#[derive(Args, Debug)]
pub(crate) struct Del {
    #[command(flatten)]
    pub(crate) keys: Range,
    /// Deletes a range without the wait
    #[arg(long)]
    pub(crate) range: bool,
    /// Prints the deleted keys and values
    #[arg(long)]
    pub(crate) prev_kv: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Order {
    Ascend,
    Descend,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Target {
    Create,
    Key,
    Modify,
    Value,
    Version,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub(crate) enum Consistency {
    #[value(name = "l")]
    Linearizable,
    #[value(name = "s")]
    Serializable,
}
