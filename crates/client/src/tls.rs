//! The options of TLS, as plain data.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::debug::debug_fields;

/// The options of TLS with `https` endpoints; the argument of
/// [`ClientBuilder::tls`](crate::ClientBuilder::tls).
///
/// Without any option, an `https` endpoint needs a certificate for its host that is signed by an
/// authority of this system, and the client sends no certificate. The TLS version is 1.3 or 1.2.
/// Certificates and keys can be PEM or DER; the client recognizes the format.
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
/// The client reads the files when it is built, and checks them for each new connection: it reads a
/// file again when its length or modification time has changed. Existing connections stay. If the
/// new files cannot be used (one is half written, or a key does not belong to its certificate), the
/// client keeps the old ones, reports the reason in a `tracing` event of level debug, and checks
/// again for the next connection.
///
/// `Debug` shows neither keys nor the bytes of certificates.
#[derive(Clone, Default)]
#[must_use]
pub struct TlsConfig {
    /// Certificate authorities; if there are none, the system's are used.
    pub(crate) authorities: Vec<Source>,
    pub(crate) identity: Option<ClientIdentity>,
    pub(crate) server_name: Option<String>,
    pub(crate) accepts_invalid: bool,
    pub(crate) rustls: Option<Arc<rustls::ClientConfig>>,
}

/// The source of certificates or of a key.
#[derive(Clone)]
pub(crate) enum Source {
    File(PathBuf),
    Bytes(Bytes),
}

/// The client's own certificate, for servers that request one.
#[derive(Clone)]
pub(crate) struct ClientIdentity {
    pub(crate) chain: Source,
    pub(crate) key: Source,
}

impl TlsConfig {
    /// Returns the defaults: the system's authorities, no client certificate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the authorities in this file, *instead of* the system's. If several files are given,
    /// all of their authorities are trusted.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.authorities.push(Source::File(path.into()));
        self
    }

    /// Trusts these authorities (PEM: any number; DER: one), *instead of* the system's. If several
    /// are given, all are trusted.
    pub fn ca(mut self, certificates: impl Into<Bytes>) -> Self {
        self.authorities.push(Source::Bytes(certificates.into()));
        self
    }

    /// Sends the certificate in one file to servers, with the key in the other. Default: none.
    ///
    /// The certificates of intermediate authorities may follow the certificate in a PEM file. Both
    /// paths may name the same PEM file.
    pub fn client_certificate_files(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.identity = Some(ClientIdentity {
            chain: Source::File(certificate.into()),
            key: Source::File(key.into()),
        });
        self
    }

    /// Sends this certificate to servers, with this key (PKCS#8, PKCS#1 or SEC1). Default: none.
    ///
    /// The certificates of intermediate authorities may follow the certificate in PEM.
    pub fn client_certificate(
        mut self,
        certificate: impl Into<Bytes>,
        key: impl Into<Bytes>,
    ) -> Self {
        self.identity = Some(ClientIdentity {
            chain: Source::Bytes(certificate.into()),
            key: Source::Bytes(key.into()),
        });
        self
    }

    /// Sets the name that the certificates of servers must have, a DNS name or an IP address.
    /// Default: the host of the endpoint.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// DANGER: accepts every certificate, of any issuer and for any name. The options for
    /// authorities and for the server name then have no effect.
    ///
    /// Anyone between the client and the server can then read and change all traffic, including
    /// passwords. Use this option only with a throw-away server.
    pub fn danger_accept_invalid_certificates(mut self) -> Self {
        self.accepts_invalid = true;
        self
    }

    /// Uses a whole configuration of rustls (0.23), with its own verifiers, cryptography or keys in
    /// hardware.
    ///
    /// Of the other options, only [`server_name`](Self::server_name) can be combined with it. The
    /// client replaces the configuration's ALPN protocols by `h2`, the only protocol of etcd's API.
    pub fn rustls(mut self, config: impl Into<Arc<rustls::ClientConfig>>) -> Self {
        self.rustls = Some(config.into());
        self
    }
}

debug_fields! { TlsConfig |tls| {
    authorities: tls.authorities, client_certificate: tls.identity.as_ref().map(|one| &one.chain),
    server_name: tls.server_name, accepts_invalid: tls.accepts_invalid,
    rustls: tls.rustls.is_some(),
} }

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            // The bytes may be a key.
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
