//! `serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use etcdex_server::AutoCompaction;

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
    /// URL to listen on: http:// or https://, an IP address and a port; port 0 has the system
    /// choose one
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:2379", value_parser = listen_url)]
    pub(crate) listen_client_urls: ListenUrl,

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

    /// Most open calls and streams of a connection
    #[arg(long, value_name = "NUMBER", default_value = "16384")]
    pub(crate) max_concurrent_streams: u32,

    /// Unit of --auto-compaction-retention
    #[arg(long, value_name = "MODE", default_value = "periodic")]
    pub(crate) auto_compaction_mode: CompactionMode,

    /// History that is kept: a time (a number without a unit is hours) or a number of revisions;
    /// 0 keeps all
    #[arg(long, value_name = "RETENTION", default_value = "0")]
    auto_compaction_retention: String,

    /// Events that are told on standard error
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: LogLevel,

    #[command(flatten)]
    pub(crate) tls: Tls,

    #[command(flatten)]
    refused: Refused,
}

/// The URL that the server listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListenUrl {
    pub(crate) is_secure: bool,
    pub(crate) address: SocketAddr,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CompactionMode {
    Periodic,
    Revision,
}

/// The levels of etcd. The server has no events above `error`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
    Panic,
    Fatal,
}

/// The certificates of the server.
#[derive(Args, Debug)]
pub(crate) struct Tls {
    /// Certificate that the server shows, in PEM; needs an https:// URL
    #[arg(long, value_name = "FILE", requires = "key_file")]
    pub(crate) cert_file: Option<PathBuf>,

    /// Key of the certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    pub(crate) key_file: Option<PathBuf>,

    /// Authorities, in PEM: clients need a certificate that one of them has signed
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    pub(crate) trusted_ca_file: Option<PathBuf>,

    /// Take the common name of a client's certificate as its user
    #[arg(long, requires = "trusted_ca_file", num_args = 0..=1, require_equals = true,
        default_value = "false", default_missing_value = "true", value_parser = number::truth,
        action = clap::ArgAction::Set)]
    pub(crate) client_cert_auth: bool,
}

impl Serve {
    /// Returns why the command refuses the flags that were given.
    pub(crate) fn refusal(&self) -> Option<String> {
        if let Some(refusal) = self.refused.refusal() {
            return Some(refusal);
        }
        let text = match (
            self.listen_client_urls.is_secure,
            self.tls.cert_file.is_some(),
        ) {
            (true, false) => "--listen-client-urls: https:// needs --cert-file and --key-file",
            (false, true) => "--cert-file: --listen-client-urls has to begin with https://",
            _ => return None,
        };
        Some(text.to_owned())
    }

    /// Returns the history that the server keeps.
    ///
    /// # Errors
    /// It has another unit.
    pub(crate) fn auto_compaction(&self) -> Result<AutoCompaction, String> {
        let text = self.auto_compaction_retention.as_str();
        let number = text.parse::<u32>().ok();
        let kept = match (self.auto_compaction_mode, number) {
            (CompactionMode::Revision, Some(number)) => Ok(AutoCompaction::Revision(number.into())),
            (CompactionMode::Revision, None) => Err("expected a number of revisions".to_owned()),
            (CompactionMode::Periodic, Some(hours)) => {
                let period = Duration::from_secs(u64::from(hours) * 3_600);
                Ok(AutoCompaction::Periodic(period))
            }
            (CompactionMode::Periodic, None) => duration::parse(text).map(AutoCompaction::Periodic),
        };
        kept.map_err(|reason| format!("--auto-compaction-retention '{text}': {reason}"))
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
    "the server makes no certificates; give it one by --cert-file and --key-file":
        auto_tls "auto-tls";
}

/// Parses the URL of a server.
fn listen_url(text: &str) -> Result<ListenUrl, String> {
    let refusal = || "expected http:// or https://, an IP address and a port".to_owned();
    if text.contains(',') {
        return Err("the server listens on one address".to_owned());
    }
    let (scheme, address) = text.split_once("://").ok_or_else(refusal)?;
    let is_secure = match scheme {
        "http" => false,
        "https" => true,
        _ => return Err(refusal()),
    };
    let address = address.trim_end_matches('/');
    let address = match address.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => address.to_owned(),
    };
    let address = address.parse().map_err(|_| refusal())?;
    Ok(ListenUrl { is_secure, address })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_scheme_an_address_and_a_port() {
        for (text, is_secure) in [
            ("http://127.0.0.1:2379", false),
            ("http://localhost:2379/", false),
            ("https://localhost:2379", true),
        ] {
            let address = ([127, 0, 0, 1], 2379).into();
            let expected = ListenUrl { is_secure, address };
            assert_eq!(listen_url(text), Ok(expected), "{text}");
        }
        assert!(listen_url("http://[::1]:0").is_ok());
        for text in [
            "",
            "127.0.0.1:1",
            "ftp://127.0.0.1:1",
            "http://host:1",
            "http://127.0.0.1",
        ] {
            assert!(listen_url(text).is_err(), "{text}");
        }
        assert!(listen_url("http://127.0.0.1:1,http://127.0.0.1:2").is_err());
    }
}
