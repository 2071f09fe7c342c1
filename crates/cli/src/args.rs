//! The command line, in the syntax of `etcdctl`.

mod command_line;
mod endpoint;
mod global;
mod kv;
mod number;
mod security;
#[cfg(feature = "server")]
mod serve;
mod tour;

use clap::{Parser, Subcommand};

#[cfg(fuzzing)]
pub(crate) use self::command_line::fuzz;
pub(crate) use self::command_line::parse;
pub(crate) use self::endpoint::{Endpoint, EndpointVerb};
pub(crate) use self::global::Global;
pub(crate) use self::kv::{Consistency, Del, Get, Order, Put, Range, Target};
#[cfg(feature = "server")]
pub(crate) use self::serve::{LogLevel, Serve, Tls as ServeTls};
pub(crate) use self::tour::Tour;
use crate::failure::EXIT_CODES;

/// A command line client for etcd, compatible with etcdctl.
#[derive(Debug, Parser)]
#[command(
    name = "etcdex",
    version,
    infer_subcommands = true,
    args_override_self = true,
    after_help = EXIT_CODES
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Put(Put),
    Get(Get),
    Del(Del),
    Endpoint(Endpoint),
    Tour(Tour),
    #[cfg(feature = "server")]
    Serve(Box<Serve>),
    /// Prints the version of this command and of the etcd API
    Version,
}
