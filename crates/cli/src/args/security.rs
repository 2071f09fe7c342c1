//! The flags of TLS and of logging in.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use etcdex::{Builder, TlsConfig};

use super::number;

#[derive(Args, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Security {
    /// Verifies servers by the authorities in this file instead of the system's
    #[arg(
        long,
        global = true,
        env = "ETCDCTL_CACERT",
        hide_env_values = true,
        value_name = "FILE"
    )]
    cacert: Option<PathBuf>,

    /// Shows servers this certificate; needs --key
    #[arg(
        long,
        global = true,
        env = "ETCDCTL_CERT",
        hide_env_values = true,
        value_name = "FILE"
    )]
    cert: Option<PathBuf>,

    /// The key of the certificate; needs --cert
    // The verbs have an argument of that name.
    #[arg(
        id = "tls-key",
        long = "key",
        global = true,
        env = "ETCDCTL_KEY",
        hide_env_values = true,
        value_name = "FILE"
    )]
    key: Option<PathBuf>,

    /// Takes any certificate of a server: whoever is in between can read and change everything
    #[arg(long, global = true, env = "ETCDCTL_INSECURE_SKIP_TLS_VERIFY", hide_env_values = true,
        value_parser = number::truth)]
    insecure_skip_tls_verify: bool,

    /// The user to log in as, or NAME:PASSWORD
    #[arg(
        long,
        global = true,
        env = "ETCDCTL_USER",
        hide_env_values = true,
        value_name = "NAME"
    )]
    user: Option<Secret>,

    /// The password of --user; other users of the machine may see it among the processes, so the
    /// variable is the better place
    #[arg(
        long,
        global = true,
        env = "ETCDCTL_PASSWORD",
        hide_env_values = true,
        value_name = "PASSWORD"
    )]
    password: Option<Secret>,
}

/// Text that may hold a password: never printed.
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
    /// An endpoint as it is to be understood: with a file of TLS, one without a scheme is https,
    /// as etcdctl has it.
    pub(crate) fn endpoint(&self, given: &str) -> String {
        let files = self.cacert.is_some() || self.cert.is_some() || self.key.is_some();
        if files && !given.is_empty() && !given.contains("://") {
            format!("https://{given}")
        } else {
            given.to_owned()
        }
    }

    /// What makes no sense in these flags, if anything does.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        if self.cert.is_some() != self.key.is_some() {
            return Some("--cert and --key are of use only together");
        }
        match (&self.user, &self.password) {
            (None, Some(_)) => Some("--password is given without --user"),
            (Some(user), None) if !user.0.contains(':') => {
                Some("the password is missing: give --user NAME:PASSWORD, or --password")
            }
            _ => None,
        }
    }

    pub(crate) fn apply(&self, mut builder: Builder, secure: bool) -> Builder {
        // Without an https endpoint these flags have nothing to do, as in etcdctl.
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
