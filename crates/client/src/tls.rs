//! How `https` endpoints are spoken to: the public options, which are plain data.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

/// How `https` endpoints are spoken to; given to [`ClientBuilder::tls`](crate::ClientBuilder::tls).
///
/// Without any of it, an `https` endpoint has to show a certificate for its host that one of
/// the authorities of this system has signed, and the client shows none. TLS is 1.3 or 1.2.
/// Certificates and keys are PEM or DER: whichever the bytes are.
///
/// ```no_run
/// # async fn example() -> Result<(), etcdex::Error> {
/// use etcdex::{Client, TlsConfig};
///
/// let tls = TlsConfig::new()
///     .ca_file("/etc/etcd/ca.pem")
///     .client_certificate_files("/etc/etcd/client.pem", "/etc/etcd/client-key.pem");
/// let client = Client::builder()
///     .endpoint("https://etcd-1.example:2379")
///     .tls(tls)
///     .connect()
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// # Files that change
/// Files are read when the client is built, and looked at again for each new connection: when
/// their length or time of change differs, they are read anew. Connections that are up stay. If
/// the new files are of no use (half written, or a key that does not belong to its
/// certificate), the old ones are kept, a `tracing` event of level debug says why, and the next
/// connection looks again.
///
/// It never prints a key, nor the bytes of a certificate.
#[derive(Clone, Default)]
#[must_use]
pub struct TlsConfig {
    /// None: the system's.
    pub(crate) authorities: Vec<Source>,
    pub(crate) identity: Option<Identity>,
    pub(crate) server_name: Option<String>,
    pub(crate) accepts_invalid: bool,
    pub(crate) rustls: Option<Arc<rustls::ClientConfig>>,
}

/// Where certificates or a key are from.
#[derive(Clone)]
pub(crate) enum Source {
    File(PathBuf),
    Bytes(Bytes),
}

/// What the client shows a server that asks who it is.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) chain: Source,
    pub(crate) key: Source,
}

impl TlsConfig {
    /// The defaults: the system's authorities, no client certificate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the authorities in this file, *instead of* the system's. Given several times, it
    /// trusts all of them.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.authorities.push(Source::File(path.into()));
        self
    }

    /// Trusts these authorities (PEM: any number; DER: one), *instead of* the system's. Given
    /// several times, it trusts all of them.
    pub fn ca(mut self, certificates: impl Into<Bytes>) -> Self {
        self.authorities.push(Source::Bytes(certificates.into()));
        self
    }

    /// Shows servers the certificate in this file (PEM: with those of intermediate
    /// authorities after it), with the key in the other one. Default: none.
    ///
    /// Both may be the same PEM file.
    pub fn client_certificate_files(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.identity = Some(Identity {
            chain: Source::File(certificate.into()),
            key: Source::File(key.into()),
        });
        self
    }

    /// Shows servers this certificate (PEM: with those of intermediate authorities after it),
    /// with this key (PKCS#8, PKCS#1 or SEC1). Default: none.
    pub fn client_certificate(
        mut self,
        certificate: impl Into<Bytes>,
        key: impl Into<Bytes>,
    ) -> Self {
        self.identity = Some(Identity {
            chain: Source::Bytes(certificate.into()),
            key: Source::Bytes(key.into()),
        });
        self
    }

    /// The name that servers' certificates have to be for, a DNS name or an IP address.
    /// Default: the host of the endpoint.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// DANGER: takes every certificate for good, whoever made it, for whatever name. An own CA
    /// and a server name then count for nothing.
    ///
    /// Whoever sits between client and server can then read and change everything, passwords
    /// included. It has its place in front of a throw-away server and nowhere else.
    pub fn danger_accept_invalid_certificates(mut self) -> Self {
        self.accepts_invalid = true;
        self
    }

    /// Uses a whole configuration of rustls (0.23): own verifiers, another cryptography, keys
    /// in hardware.
    ///
    /// Of the other options only [`server_name`](Self::server_name) goes with it. Its ALPN
    /// protocols are replaced by `h2`, the only one that etcd's API is spoken over.
    pub fn rustls(mut self, config: impl Into<Arc<rustls::ClientConfig>>) -> Self {
        self.rustls = Some(config.into());
        self
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig")
            .field("authorities", &self.authorities)
            .field(
                "client_certificate",
                &self.identity.as_ref().map(|i| &i.chain),
            )
            .field("server_name", &self.server_name)
            .field("accepts_invalid", &self.accepts_invalid)
            .field("rustls", &self.rustls.is_some())
            .finish()
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            // It may be a key.
            Self::Bytes(_) => f.write_str("bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_never_printed() {
        let tls = TlsConfig::new()
            .ca("the authority")
            .client_certificate("the certificate", "the key")
            .server_name("etcd.test");
        let text = format!("{tls:?}");
        assert!(text.contains("etcd.test"), "{text}");
        assert!(!text.contains("the "), "{text}");
        let files = TlsConfig::new().client_certificate_files("/client.pem", "/key.pem");
        assert!(format!("{files:?}").contains("/client.pem"));
    }
}
