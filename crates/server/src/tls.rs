//! TLS of the connections of clients, and the users that certificates name.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::oid::db::rfc4519::COMMON_NAME;
use x509_cert::ext::pkix::name::DirectoryString;
use x509_cert::name::RelativeDistinguishedName;

/// How long a client may take for its part of the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// The certificate of a server, and the certificates that it wants of clients; the argument of
/// [`ServerBuilder::tls`](crate::ServerBuilder::tls).
///
/// Certificates and keys are PEM. The server reads them once, at its start.
///
/// `Debug` shows neither keys nor certificates.
#[derive(Clone)]
#[must_use]
pub struct TlsConfig {
    certificate: Bytes,
    key: Bytes,
    client_ca: Option<Bytes>,
    names_users: bool,
}

impl TlsConfig {
    /// Shows this certificate to clients, with this key (PKCS#8, PKCS#1 or SEC1). The certificates of
    /// intermediate authorities may follow the certificate.
    pub fn new(certificate: impl Into<Bytes>, key: impl Into<Bytes>) -> Self {
        Self {
            certificate: certificate.into(),
            key: key.into(),
            client_ca: None,
            names_users: false,
        }
    }

    /// Refuses clients without a certificate that one of these authorities has signed: etcd's
    /// `--trusted-ca-file`. By default a client needs no certificate.
    pub fn client_ca(mut self, certificates: impl Into<Bytes>) -> Self {
        self.client_ca = Some(certificates.into());
        self
    }

    /// Takes the common name in the certificate of a client as its user, if the client has no token:
    /// etcd's `--client-cert-auth`. This needs [`client_ca`](Self::client_ca).
    pub fn client_cert_auth(mut self) -> Self {
        self.names_users = true;
        self
    }

    /// Returns what accepts the handshakes of clients.
    ///
    /// # Errors
    /// A part cannot be read or used. The error is of the kind `InvalidInput`.
    pub(crate) fn acceptor(&self) -> io::Result<Acceptor> {
        let config = self.config().map_err(|text| {
            let text = format!("TLS: {text}");
            io::Error::new(io::ErrorKind::InvalidInput, text)
        })?;
        Ok(Acceptor {
            inner: TlsAcceptor::from(Arc::new(config)),
            names_users: self.names_users,
        })
    }

    fn config(&self) -> Result<ServerConfig, String> {
        let provider = Arc::new(provider());
        let chain = certificates(&self.certificate, "the certificate of the server")?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| format!("the key of the server: {error}"))?;
        let verifier = self.verifier(&provider)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|error| format!("the certificate of the server and its key: {error}"))?;
        config.alpn_protocols = vec![H2.to_vec(), HTTP1.to_vec()];
        Ok(config)
    }

    fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, String> {
        let Some(authorities) = &self.client_ca else {
            return match self.names_users {
                true => Err("client_cert_auth needs the authorities of the clients".to_owned()),
                false => Ok(WebPkiClientVerifier::no_client_auth()),
            };
        };
        let subject = "the authorities of the clients";
        let mut roots = RootCertStore::empty();
        for authority in certificates(authorities, subject)? {
            roots
                .add(authority)
                .map_err(|error| format!("{subject}: {error}"))?;
        }
        WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(provider))
            .build()
            .map_err(|error| format!("{subject}: {error}"))
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig")
            .field("client_ca", &self.client_ca.is_some())
            .field("client_cert_auth", &self.names_users)
            .finish_non_exhaustive()
    }
}

/// Returns the provider of the feature. The process-wide default of rustls is not used: it exists only
/// if the application has installed one.
fn provider() -> CryptoProvider {
    #[cfg(feature = "tls-aws-lc")]
    return rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(all(feature = "tls", not(feature = "tls-aws-lc")))]
    return rustls::crypto::ring::default_provider();
}

fn certificates(pem: &[u8], subject: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| format!("{subject}: {error}"))?;
    if certificates.is_empty() {
        return Err(format!("{subject}: there is no certificate in PEM format"));
    }
    Ok(certificates)
}

/// Accepts the handshakes of clients.
#[derive(Clone)]
pub(crate) struct Acceptor {
    inner: TlsAcceptor,
    names_users: bool,
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

/// A connection after its handshake.
pub(crate) struct Accepted<S> {
    pub(crate) stream: TlsStream<S>,
    /// Whether the client has chosen HTTP/2.
    pub(crate) is_http2: bool,
    /// The user that the certificate of the client names.
    pub(crate) user: Option<Arc<str>>,
}

impl Acceptor {
    /// # Errors
    /// The handshake has failed, or has taken too long.
    pub(crate) async fn accept<S>(&self, stream: S) -> io::Result<Accepted<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let handshake = self.inner.accept(stream);
        let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await??;
        let session = stream.get_ref().1;
        let certificates = session.peer_certificates().unwrap_or_default();
        let user = match certificates.first() {
            Some(certificate) if self.names_users => Some(common_name(certificate).into()),
            _ => None,
        };
        Ok(Accepted {
            is_http2: session.alpn_protocol() == Some(H2),
            user,
            stream,
        })
    }
}

/// Returns the common name of a certificate, or an empty string. If there are several, it is the last, as
/// in Go.
///
/// Source: Go, `crypto/x509/pkix/pkix.go` (`FillFromRDNSequence`).
fn common_name(certificate: &CertificateDer<'_>) -> String {
    let Ok(certificate) = Certificate::from_der(certificate) else {
        return String::new();
    };
    let subject = certificate.tbs_certificate().subject();
    let attributes = subject
        .as_ref()
        .iter()
        .flat_map(RelativeDistinguishedName::iter);
    let names = attributes.filter(|attribute| attribute.oid == COMMON_NAME);
    let name = names
        .last()
        .map(|name| DirectoryString::try_from(&name.value));
    name.and_then(Result::ok)
        .map_or_else(String::new, String::from)
}
