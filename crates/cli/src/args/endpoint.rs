//! `endpoint`.

use clap::{Args, Subcommand};

/// Asks each endpoint by itself
#[derive(Args, Debug)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Endpoint {
    #[command(subcommand)]
    pub(crate) verb: EndpointVerb,
}

#[derive(Debug, Subcommand)]
#[command(infer_subcommands = true)]
pub(crate) enum EndpointVerb {
    /// Says of each endpoint whether it is healthy: whether it answers a read that the whole
    /// cluster has to agree on
    Health,
}
