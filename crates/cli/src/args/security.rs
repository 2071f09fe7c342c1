//! The flags of TLS and authentication.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use etcdex::{ClientBuilder, TlsConfig};

use super::number;

#[derive(Args, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Security {
    /// Verifies servers by the CA certificates in this file instead of the system's
    #[arg(long, global = true, env = "ETCDCTL_CACERT", value_name = "FILE")]
    cacert: Option<PathBuf>,

    /// Client certificate for servers that ask for one; needs --key
    #[arg(long, global = true, env = "ETCDCTL_CERT", value_name = "FILE")]
    cert: Option<PathBuf>,

    /// Private key of the client certificate; needs --cert
    // The ID differs because the verbs have an argument `key`.
    #[arg(
        id = "tls-key",
        long = "key",
        global = true,
        env = "ETCDCTL_KEY",
        value_name = "FILE"
    )]
    key: Option<PathBuf>,

    /// Accepts any certificate of a server: an attacker in between can read and change everything
    #[arg(long, global = true, env = "ETCDCTL_INSECURE_SKIP_TLS_VERIFY",
        value_parser = number::truth)]
    insecure_skip_tls_verify: bool,

    /// User name, or NAME:PASSWORD
    #[arg(long, global = true, env = "ETCDCTL_USER", value_name = "NAME")]
    user: Option<Secret>,

    /// Password of --user; prefer the variable, because other users of the machine can read the
    /// arguments of a process
    #[arg(long, global = true, env = "ETCDCTL_PASSWORD", value_name = "PASSWORD")]
    password: Option<Secret>,
}

/// Text that may hold a password. `Debug` does not print it.
#[derive(Clone)]
struct Secret(String);

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Security {
    /// Adds `https://` to an endpoint without a scheme if a TLS file is given, as etcdctl does.
    pub(crate) fn endpoint(&self, given: &str) -> String {
        let files = self.cacert.is_some() || self.cert.is_some() || self.key.is_some();
        if files && !given.is_empty() && !given.contains("://") {
            format!("https://{given}")
        } else {
            given.to_owned()
        }
    }

    /// Returns why the flags contradict one another; `None` if they do not.
    pub(crate) fn conflict(&self) -> Option<&'static str> {
        if self.cert.is_some() != self.key.is_some() {
            return Some("--cert and --key need each other");
        }
        match (&self.user, &self.password) {
            (None, Some(_)) => Some("--password needs --user"),
            (Some(user), None) if !user.0.contains(':') => {
                Some("the password is missing: give --user NAME:PASSWORD, or --password")
            }
            _ => None,
        }
    }

    /// Configures a client's builder. `secure` is whether an endpoint is https.
    pub(crate) fn apply(&self, mut builder: ClientBuilder, secure: bool) -> ClientBuilder {
        // Without an https endpoint the TLS flags have no effect, as in etcdctl.
        if let Some(tls) = self.tls().filter(|_| secure) {
            builder = builder.tls(tls);
        }
        match (&self.user, &self.password) {
            (Some(user), Some(password)) => {
                builder.credentials(user.0.as_str(), password.0.as_str())
            }
            (Some(user), None) => match user.0.split_once(':') {
                Some((name, password)) => builder.credentials(name, password),
                None => builder,
            },
            (None, _) => builder,
        }
    }

    fn tls(&self) -> Option<TlsConfig> {
        let mut tls = None;
        if let Some(file) = &self.cacert {
            tls = Some(tls.unwrap_or_else(TlsConfig::new).ca_file(file));
        }
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            tls = Some(
                tls.unwrap_or_else(TlsConfig::new)
                    .client_certificate_files(cert, key),
            );
        }
        if self.insecure_skip_tls_verify {
            tls = Some(
                tls.unwrap_or_else(TlsConfig::new)
                    .danger_accept_invalid_certificates(),
            );
        }
        tls
    }
}
