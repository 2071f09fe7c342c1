//! From options and files to a configuration of rustls.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::verifier::Verifier;
use crate::tls::{ClientIdentity, Source, TlsConfig};

#[cfg(not(any(feature = "tls", feature = "tls-aws-lc")))]
compile_error!("the feature `_tls` is no feature by itself: use `tls` or `tls-aws-lc`");

/// The options, with the parts of them that are read only once.
pub(super) struct Material {
    options: TlsConfig,
    provider: Arc<CryptoProvider>,
    /// The system's authorities, if they are used.
    system: Option<Arc<RootCertStore>>,
}

/// Times of change and lengths of files. `None` for a file that does not exist.
pub(super) type Stamps = Vec<Option<(SystemTime, u64)>>;

/// Returns the provider of the feature. The process-wide default of rustls is not used: it exists only
/// if the application has installed one.
fn provider() -> CryptoProvider {
    #[cfg(feature = "tls-aws-lc")]
    return rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(all(feature = "tls", not(feature = "tls-aws-lc")))]
    return rustls::crypto::ring::default_provider();
}

impl Material {
    /// Refuses options that exclude each other, and reads the system's authorities if they are
    /// needed.
    pub(super) fn new(options: TlsConfig) -> Result<Self, String> {
        let own = options.rustls.is_some();
        if own && (options.identity.is_some() || !options.authorities.is_empty()) {
            let text = "a rustls::ClientConfig takes no certificates besides; put them into it";
            return Err(text.into());
        }
        if own && options.accepts_invalid {
            return Err("a rustls::ClientConfig has a verifier of its own".into());
        }
        let by_system = !own && !options.accepts_invalid && options.authorities.is_empty();
        let system = by_system.then(system_authorities).transpose()?;
        Ok(Self {
            options,
            provider: Arc::new(provider()),
            system: system.map(Arc::new),
        })
    }

    pub(super) fn has_identity(&self) -> bool {
        match &self.options.rustls {
            Some(own) => own.client_auth_cert_resolver.has_certs(),
            None => self.options.identity.is_some(),
        }
    }

    pub(super) fn has_files(&self) -> bool {
        self.files().next().is_some()
    }

    pub(super) fn stamps(&self) -> Stamps {
        let stamp = |path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        self.files().map(stamp).collect()
    }

    fn files(&self) -> impl Iterator<Item = &Path> {
        let identity = self.options.identity.iter();
        let sources = identity.flat_map(|identity| [&identity.chain, &identity.key]);
        let sources = sources.chain(&self.options.authorities);
        sources.filter_map(|source| match source {
            Source::File(path) => Some(path.as_path()),
            Source::Bytes(_) => None,
        })
    }

    /// Reads the files and makes a configuration; the error is a line that says why that failed.
    pub(super) fn load(&self) -> Result<Arc<ClientConfig>, String> {
        let mut config = match &self.options.rustls {
            Some(own) => ClientConfig::clone(own),
            None => self.build()?,
        };
        config.alpn_protocols = vec![super::H2.to_vec()];
        Ok(Arc::new(config))
    }

    fn build(&self) -> Result<ClientConfig, String> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier()?);
        let Some(identity) = &self.options.identity else {
            return Ok(builder.with_no_client_auth());
        };
        let chain = certificates(&identity.chain, "the client certificate")?;
        builder
            .with_client_auth_cert(chain, key(&identity.key)?)
            .map_err(|error| no_pair(identity, &error))
    }

    fn verifier(&self) -> Result<Arc<dyn ServerCertVerifier>, String> {
        if self.options.accepts_invalid {
            return Ok(Arc::new(AcceptAny(Arc::clone(&self.provider))));
        }
        let roots = match &self.system {
            Some(system) => Arc::clone(system),
            None => Arc::new(authorities(&self.options.authorities)?),
        };
        let verifier = Verifier::new(roots, Arc::clone(&self.provider))?;
        Ok(Arc::new(verifier))
    }
}

fn system_authorities() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Every system has some certificates that no parser accepts; the others can be used.
    roots.add_parsable_certificates(found.certs);
    if !roots.is_empty() {
        return Ok(roots);
    }
    let why = found.errors.first();
    let why = why.map_or_else(String::new, |error| format!(" ({error})"));
    Err(format!(
        "this system has no certificate authorities{why}; name the one of the servers by ca_file"
    ))
}

fn authorities(sources: &[Source]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for source in sources {
        for certificate in certificates(source, "the CA")? {
            roots.add(certificate).map_err(|error| {
                format!(
                    "{}: a certificate cannot be read: {error}",
                    named(source, "the CA")
                )
            })?;
        }
    }
    Ok(roots)
}

fn certificates(source: &Source, what: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read(source, what)?;
    if bytes.is_empty() {
        return Err(format!("{} is empty", named(source, what)));
    }
    if !is_pem(&bytes) {
        // A text is not a certificate, and the error of webpki for it would be "BadEncoding".
        if bytes[0] != DER_SEQUENCE {
            return Err(format!("{} holds no certificate", named(source, what)));
        }
        return Ok(vec![CertificateDer::from(bytes.to_vec())]);
    }
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|_| format!("{} is broken PEM", named(source, what)))?;
    if certificates.is_empty() {
        return Err(format!("{} holds no certificate", named(source, what)));
    }
    Ok(certificates)
}

/// Reads the client's key. The errors quote nothing of the file, which may be the key.
fn key(source: &Source) -> Result<PrivateKeyDer<'static>, String> {
    let what = "the client key";
    let bytes = read(source, what)?;
    let no_key = |_| {
        format!(
            "{} holds no private key that can be used",
            named(source, what)
        )
    };
    if is_pem(&bytes) {
        PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| no_key(error.to_string()))
    } else {
        PrivateKeyDer::try_from(bytes.to_vec()).map_err(|error| no_key(error.to_owned()))
    }
}

fn no_pair(identity: &ClientIdentity, error: &Error) -> String {
    let chain = named(&identity.chain, "the client certificate");
    let key = named(&identity.key, "the client key");
    match error {
        Error::InconsistentKeys(_) => format!("{key} does not belong to {chain}"),
        Error::InvalidCertificate(_) => format!("{chain} holds no certificate"),
        _ => format!("{key} holds no private key that can be used"),
    }
}

const DER_SEQUENCE: u8 = 0x30;

fn is_pem(bytes: &[u8]) -> bool {
    const BEGIN: &[u8] = b"-----BEGIN ";
    bytes.windows(BEGIN.len()).any(|window| window == BEGIN)
}

fn read(source: &Source, what: &str) -> Result<Bytes, String> {
    match source {
        Source::Bytes(bytes) => Ok(bytes.clone()),
        Source::File(path) => fs::read(path)
            .map(Bytes::from)
            .map_err(|error| format!("{} cannot be read: {error}", named(source, what))),
    }
}

fn named(source: &Source, what: &str) -> String {
    match source {
        Source::File(path) => format!("{what} {}", path.display()),
        Source::Bytes(_) => what.to_owned(),
    }
}

/// Accepts every certificate. Signatures are still checked, so the server must have the key.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
