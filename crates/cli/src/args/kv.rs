//! `put`, `get`, `del`.

use std::ffi::OsString;

use clap::{Args, ValueEnum};

use super::number;

/// Puts a value at a key
///
/// Without VALUE, the value is what standard input holds. What begins with `-` stands behind
/// `--`, as in: etcdex put -- KEY -VALUE
#[derive(Args, Debug)]
pub(crate) struct Put {
    /// The key
    pub(crate) key: OsString,
    /// The value; standard input when it is missing
    pub(crate) value: Option<OsString>,
    /// The lease to tie the key to, in hexadecimal; 0 is none
    #[arg(long, value_name = "ID", default_value = "0", value_parser = number::lease,
        allow_hyphen_values = true)]
    pub(crate) lease: i64,
    /// Prints the pair as it was before
    #[arg(long)]
    pub(crate) prev_kv: bool,
    /// Keeps the key's present value
    #[arg(long)]
    pub(crate) ignore_value: bool,
    /// Keeps the key's present lease
    #[arg(long)]
    pub(crate) ignore_lease: bool,
}

// No documentation of its own: clap would take it for that of the command.
#[derive(Args, Debug)]
pub(crate) struct Range {
    /// The key
    pub(crate) key: OsString,
    /// The first key behind the range
    pub(crate) range_end: Option<OsString>,
    /// All keys that start with KEY; with an empty one, all keys
    #[arg(long)]
    pub(crate) prefix: bool,
    /// All keys from KEY on
    #[arg(long)]
    pub(crate) from_key: bool,
}

/// Gets a key or a range of keys
///
/// With RANGE_END: all keys from KEY up to it, which is not included.
#[derive(Args, Debug)]
pub(crate) struct Get {
    #[command(flatten)]
    pub(crate) keys: Range,
    /// At most so many pairs; 0 is no limit
    #[arg(long, value_name = "NUMBER", default_value = "0", hide_default_value = true,
        value_parser = number::integer, allow_hyphen_values = true)]
    pub(crate) limit: i64,
    /// As it was at this revision; 0 is now
    #[arg(long, value_name = "REVISION", default_value = "0", hide_default_value = true,
        value_parser = number::integer, allow_hyphen_values = true)]
    pub(crate) rev: i64,
    /// The smallest or the largest first
    #[arg(long, ignore_case = true)]
    pub(crate) order: Option<Order>,
    /// What to sort by
    #[arg(long, ignore_case = true, value_name = "TARGET")]
    pub(crate) sort_by: Option<Target>,
    /// What the cluster agrees on (l), or what the one member knows (s)
    #[arg(long, default_value = "l")]
    pub(crate) consistency: Consistency,
    /// Without the values
    #[arg(long)]
    pub(crate) keys_only: bool,
    /// Only how many there are (with --write-out fields)
    #[arg(long)]
    pub(crate) count_only: bool,
    /// Without the keys (with --write-out simple)
    #[arg(long)]
    pub(crate) print_value_only: bool,
    /// Created at this revision or after it
    #[arg(long, value_name = "REVISION", default_value = "0", hide_default_value = true,
        value_parser = number::integer, allow_hyphen_values = true)]
    pub(crate) min_create_rev: i64,
    /// Created at this revision or before it
    #[arg(long, value_name = "REVISION", default_value = "0", hide_default_value = true,
        value_parser = number::integer, allow_hyphen_values = true)]
    pub(crate) max_create_rev: i64,
    /// Last changed at this revision or after it
    #[arg(long, value_name = "REVISION", default_value = "0", hide_default_value = true,
        value_parser = number::integer, allow_hyphen_values = true)]
    pub(crate) min_mod_rev: i64,
    /// Last changed at this revision or before it
    #[arg(long, value_name = "REVISION", default_value = "0", hide_default_value = true,
        value_parser = number::integer, allow_hyphen_values = true)]
    pub(crate) max_mod_rev: i64,
}

/// Deletes a key or a range of keys
///
/// With RANGE_END: all keys from KEY up to it, which is not included. Because that is easily
/// done by mistake, it then waits two seconds, unless --range says that it is meant.
#[derive(Args, Debug)]
pub(crate) struct Del {
    #[command(flatten)]
    pub(crate) keys: Range,
    /// A range is meant: do not wait
    #[arg(long)]
    pub(crate) range: bool,
    /// Prints the pairs that were deleted
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
