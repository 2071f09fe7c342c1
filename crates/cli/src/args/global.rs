//! The flags that every verb has. Each can also be set by etcdctl's variable; the flag wins.

use std::time::Duration;

use clap::Args;
use etcdex::{Builder, Client};

use super::number;
use super::security::Security;
use crate::duration;
use crate::failure::Failure;
use crate::output::Format;

/// What is asked when no endpoint is given.
const DEFAULT_ENDPOINT: &str = "127.0.0.1:2379";

/// etcd breaks off connections that ping faster; etcdctl, too, raises smaller values.
const FASTEST_PING: Duration = Duration::from_secs(5);

/// What Go means by a time-out of 0, as far as anybody will wait.
const FOREVER: Duration = Duration::from_secs(24 * 3600);

#[derive(Args, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Where the cluster serves clients, comma-separated or repeated [default: 127.0.0.1:2379]
    #[arg(
        long,
        global = true,
        env = "ETCDCTL_ENDPOINTS",
        hide_env_values = true,
        value_delimiter = ',',
        value_name = "URL"
    )]
    pub(crate) endpoints: Vec<String>,

    /// How the reply is written
    #[arg(
        short,
        long,
        global = true,
        env = "ETCDCTL_WRITE_OUT",
        hide_env_values = true,
        value_name = "FORMAT",
        default_value = "simple"
    )]
    pub(crate) write_out: Format,

    /// Writes keys and values (simple) or IDs (fields) in hexadecimal
    #[arg(long, global = true, env = "ETCDCTL_HEX", hide_env_values = true,
        value_parser = number::truth)]
    pub(crate) hex: bool,

    /// How long a request may take once there is a connection
    #[arg(long, global = true, env = "ETCDCTL_COMMAND_TIMEOUT", hide_env_values = true,
        value_name = "DURATION", default_value = "5s", value_parser = duration::parse)]
    pub(crate) command_timeout: Duration,

    /// How long connecting to an endpoint may take; 0 is no limit
    #[arg(long, global = true, env = "ETCDCTL_DIAL_TIMEOUT", hide_env_values = true,
        value_name = "DURATION", default_value = "2s", value_parser = duration::parse)]
    dial_timeout: Duration,

    /// How long a connection may be silent before it is pinged; 5s at least, 0 is never
    #[arg(long, global = true, env = "ETCDCTL_KEEPALIVE_TIME", hide_env_values = true,
        value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    keepalive_time: Duration,

    /// How long a ping may stay unanswered; 0 is for ever
    #[arg(long, global = true, env = "ETCDCTL_KEEPALIVE_TIMEOUT", hide_env_values = true,
        value_name = "DURATION", default_value = "6s", value_parser = duration::parse)]
    keepalive_timeout: Duration,

    /// The largest request that is sent, in bytes; 0 is 2 MiB
    #[arg(long, global = true, env = "ETCDCTL_MAX_REQUEST_BYTES", hide_env_values = true,
        value_name = "BYTES", default_value = "0", value_parser = number::size)]
    max_request_bytes: usize,

    /// The largest reply that is taken, in bytes; 0 is 2 GiB
    #[arg(long, global = true, env = "ETCDCTL_MAX_RECV_BYTES", hide_env_values = true,
        value_name = "BYTES", default_value = "0", value_parser = number::size)]
    max_recv_bytes: usize,

    #[command(flatten)]
    pub(crate) security: Security,
}

impl Global {
    /// The endpoints as they were given, or the default one.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        if self.endpoints.is_empty() {
            return vec![self.security.endpoint(DEFAULT_ENDPOINT)];
        }
        let endpoints = self.endpoints.iter();
        endpoints.map(|one| self.security.endpoint(one)).collect()
    }

    /// A client of these endpoints, with all that the flags say.
    pub(crate) fn builder<U: AsRef<str>>(&self, endpoints: impl IntoIterator<Item = U>) -> Builder {
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
                Duration::ZERO => FOREVER,
                limit => limit,
            });
        builder = match self.keepalive_time {
            Duration::ZERO => builder.no_keep_alive_interval(),
            interval => builder.keep_alive_interval(interval.max(FASTEST_PING)),
        };
        builder = match self.keepalive_timeout {
            Duration::ZERO => builder.no_keep_alive_timeout(),
            timeout => builder.keep_alive_timeout(timeout),
        };
        self.security.apply(builder, secure)
    }

    /// A client that is connected: where nobody answers, this says so at once.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        Ok(self.builder(self.endpoints()).connect().await?)
    }
}
