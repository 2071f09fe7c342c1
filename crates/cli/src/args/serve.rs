//! `serve`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use super::number;
use crate::duration;

/// Starts a server for tests and small things on one machine: one node of etcd, in memory
///
/// It answers as etcd 3.7 does, on the loopback unless --listen-client-urls names another address.
/// All keys are gone when it ends. For keys that stay, and for more than one member, run etcd.
///
/// It prints a line with its URL when it serves, and ends on Ctrl-C or SIGTERM. The flags have
/// etcd's names; --max-request-bytes is one of the global options.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// URL to listen on: http://, an IP address and a port; port 0 has the system choose one
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:2379", value_parser = address)]
    pub(crate) listen_client_urls: SocketAddr,

    /// URL that clients are told of [default: the one that the server listens on]
    #[arg(long, value_name = "URL")]
    pub(crate) advertise_client_urls: Option<String>,

    /// Name of the member
    #[arg(long, default_value = "default")]
    pub(crate) name: String,

    /// Most operations of a transaction
    #[arg(long, value_name = "NUMBER", default_value = "128", value_parser = number::size)]
    pub(crate) max_txn_ops: usize,

    /// Size from which on the server takes no more data; 0 is 2 GiB
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = number::size)]
    pub(crate) quota_backend_bytes: usize,

    /// Seconds for which a token is valid after its last use
    #[arg(long, value_name = "SECONDS", default_value = "300")]
    pub(crate) auth_token_ttl: u32,

    /// Shortest time-to-live of a lease
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration::parse)]
    pub(crate) min_lease_ttl: Duration,

    /// Interval at which idle watches are told of progress
    #[arg(long, alias = "experimental-watch-progress-notify-interval",
        value_name = "DURATION", default_value = "10m", value_parser = duration::parse)]
    pub(crate) watch_progress_notify_interval: Duration,

    #[command(flatten)]
    refused: Refused,
}

impl Serve {
    /// Returns why the command refuses a flag of etcd that was given.
    pub(crate) fn refusal(&self) -> Option<String> {
        self.refused.refusal()
    }
}

macro_rules! refused {
    ($($reason:literal: $($flag:ident $name:literal),+;)+) => {
        /// The flags of etcd that the server cannot have.
        #[derive(Args, Debug)]
        struct Refused {
            $($(#[arg(long, hide = true, num_args = 0..=1, default_missing_value = "")]
            $flag: Option<String>,)+)+
        }

        impl Refused {
            fn refusal(&self) -> Option<String> {
                $($(if self.$flag.is_some() {
                    return Some(format!("--{}: {}", $name, $reason));
                })+)+
                None
            }
        }
    };
}

refused! {
    "the server keeps its keys in memory; run etcd for keys that outlive it":
        data_dir "data-dir", wal_dir "wal-dir", snapshot_count "snapshot-count",
        force_new_cluster "force-new-cluster";
    "the server is one node; run etcd for a cluster":
        listen_peer_urls "listen-peer-urls",
        initial_advertise_peer_urls "initial-advertise-peer-urls",
        initial_cluster "initial-cluster", initial_cluster_state "initial-cluster-state",
        initial_cluster_token "initial-cluster-token", discovery "discovery",
        peer_cert_file "peer-cert-file", peer_key_file "peer-key-file",
        peer_trusted_ca_file "peer-trusted-ca-file";
    "the server has no TLS yet; run etcd, or listen on the loopback":
        cert_file "cert-file", key_file "key-file", trusted_ca_file "trusted-ca-file",
        client_cert_auth "client-cert-auth", auto_tls "auto-tls";
    "the server does not compact by itself yet; use the call Compact":
        auto_compaction_mode "auto-compaction-mode",
        auto_compaction_retention "auto-compaction-retention";
}

/// Parses the URL of a server without TLS.
fn address(text: &str) -> Result<SocketAddr, String> {
    if text.contains(',') {
        return Err("the server listens on one address".to_owned());
    }
    let Some(address) = text.strip_prefix("http://") else {
        return Err("expected http://, an IP address and a port".to_owned());
    };
    let address = address.trim_end_matches('/');
    let address = match address.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => address.to_owned(),
    };
    address
        .parse()
        .map_err(|_| "expected http://, an IP address and a port".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_that_of_one_url_without_tls() {
        let loopback = ([127, 0, 0, 1], 2379).into();
        for text in ["http://127.0.0.1:2379", "http://localhost:2379/"] {
            assert_eq!(address(text), Ok(loopback), "{text}");
        }
        assert!(address("http://[::1]:0").is_ok());
        for text in [
            "",
            "127.0.0.1:1",
            "https://127.0.0.1:1",
            "http://host:1",
            "http://127.0.0.1",
        ] {
            assert!(address(text).is_err(), "{text}");
        }
        assert!(address("http://127.0.0.1:1,http://127.0.0.1:2").is_err());
    }
}
