//! The flags of every verb. Each can also be set by a variable of etcdctl; the flag wins.

use std::time::Duration;

use clap::Args;
use etcdex::{Client, ClientBuilder};

use super::number;
use super::security::Security;
use crate::duration;
use crate::failure::Failure;
use crate::output::Format;

/// The endpoint when none is given.
const DEFAULT_ENDPOINT: &str = "127.0.0.1:2379";

/// etcd closes connections that ping more often. etcdctl raises smaller values too.
const MIN_PING_INTERVAL: Duration = Duration::from_secs(5);

/// Stands for `--dial-timeout 0`, which means no limit.
const NO_DIAL_LIMIT: Duration = Duration::from_secs(24 * 3600);

#[derive(Args, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Client URLs of the cluster, comma-separated or repeated [default: 127.0.0.1:2379]
    #[arg(
        long,
        global = true,
        env = "ETCDCTL_ENDPOINTS",
        value_delimiter = ',',
        value_name = "URL"
    )]
    pub(crate) endpoints: Vec<String>,

    /// Output format
    #[arg(
        short,
        long,
        global = true,
        env = "ETCDCTL_WRITE_OUT",
        value_name = "FORMAT",
        default_value = "simple"
    )]
    pub(crate) write_out: Format,

    /// Writes keys and values (simple) or IDs (fields) in hexadecimal
    #[arg(long, global = true, env = "ETCDCTL_HEX",
        value_parser = number::truth)]
    pub(crate) hex: bool,

    /// Time limit of a request once there is a connection
    #[arg(long, global = true, env = "ETCDCTL_COMMAND_TIMEOUT",
        value_name = "DURATION", default_value = "5s", value_parser = duration::parse)]
    pub(crate) command_timeout: Duration,

    /// Time limit of connecting to an endpoint; 0 is no limit
    #[arg(long, global = true, env = "ETCDCTL_DIAL_TIMEOUT",
        value_name = "DURATION", default_value = "2s", value_parser = duration::parse)]
    dial_timeout: Duration,

    /// Time without traffic after which a connection is pinged; at least 5s, 0 is never
    #[arg(long, global = true, env = "ETCDCTL_KEEPALIVE_TIME",
        value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    keepalive_time: Duration,

    /// Time limit of the answer to a ping; 0 is no limit
    #[arg(long, global = true, env = "ETCDCTL_KEEPALIVE_TIMEOUT",
        value_name = "DURATION", default_value = "6s", value_parser = duration::parse)]
    keepalive_timeout: Duration,

    /// Largest request, in bytes; 0 is 2 MiB
    #[arg(long, global = true, env = "ETCDCTL_MAX_REQUEST_BYTES",
        value_name = "BYTES", default_value = "0", value_parser = number::size)]
    pub(crate) max_request_bytes: usize,

    /// Largest reply, in bytes; 0 is 2 GiB
    #[arg(long, global = true, env = "ETCDCTL_MAX_RECV_BYTES",
        value_name = "BYTES", default_value = "0", value_parser = number::size)]
    max_recv_bytes: usize,

    #[command(flatten)]
    pub(crate) security: Security,
}

impl Global {
    /// The given endpoints, or the default one, each with its scheme if the flags imply one.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        if self.endpoints.is_empty() {
            return vec![self.security.endpoint(DEFAULT_ENDPOINT)];
        }
        let endpoints = self.endpoints.iter();
        endpoints.map(|one| self.security.endpoint(one)).collect()
    }

    /// Returns a builder for a client of these endpoints, configured by the flags.
    pub(crate) fn builder<U: AsRef<str>>(
        &self,
        endpoints: impl IntoIterator<Item = U>,
    ) -> ClientBuilder {
        let endpoints: Vec<U> = endpoints.into_iter().collect();
        let secure = endpoints
            .iter()
            .any(|one| one.as_ref().starts_with("https://"));
        let or = |bytes: usize, default: usize| if bytes == 0 { default } else { bytes };
        let mut builder = Client::builder()
            .endpoints(endpoints)
            .timeout(self.command_timeout)
            .max_send_size(or(self.max_request_bytes, 2 << 20))
            .max_receive_size(or(self.max_recv_bytes, (1 << 31) - 1))
            .connect_timeout(match self.dial_timeout {
                Duration::ZERO => NO_DIAL_LIMIT,
                limit => limit,
            });
        builder = match self.keepalive_time {
            Duration::ZERO => builder.no_keep_alive_interval(),
            interval => builder.keep_alive_interval(interval.max(MIN_PING_INTERVAL)),
        };
        builder = match self.keepalive_timeout {
            Duration::ZERO => builder.no_keep_alive_timeout(),
            timeout => builder.keep_alive_timeout(timeout),
        };
        self.security.apply(builder, secure)
    }

    /// Returns a connected client.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        Ok(self.builder(self.endpoints()).connect().await?)
    }
}
