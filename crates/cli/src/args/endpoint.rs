//! `endpoint`.

use clap::{Args, Subcommand};

/// Queries each endpoint separately
#[derive(Args, Debug)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Endpoint {
    #[command(subcommand)]
    pub(crate) verb: EndpointVerb,
}

#[derive(Debug, Subcommand)]
#[command(infer_subcommands = true)]
pub(crate) enum EndpointVerb {
    /// Prints whether each endpoint is healthy: whether it answers a linearizable read
    Health,
}
