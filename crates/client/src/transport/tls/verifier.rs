//! Checks a server's certificate as rustls does, and names the key that the client cannot check.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

use super::algorithm::Key;

/// A key that the client's cryptography cannot check signatures with.
///
/// For webpki, every signature by such a key is wrong ("bad signature").
#[derive(Debug)]
pub(super) struct UnknownKey(pub(super) Key);

impl fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the client cannot check signatures by {}", self.0)
    }
}

impl std::error::Error for UnknownKey {}

/// The verifier of rustls. Its verdict is kept in every case; only the error may be another one.
#[derive(Debug)]
pub(super) struct Verifier {
    verdict: Arc<WebPkiServerVerifier>,
    roots: Arc<RootCertStore>,
}

impl Verifier {
    pub(super) fn new(
        roots: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let verdict = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), provider)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { verdict, roots })
    }

    /// Returns the error, or the key that explains it.
    fn explain(&self, error: Error, keys: impl Iterator<Item = Key>) -> Error {
        if error != Error::InvalidCertificate(CertificateError::BadSignature) {
            return error;
        }
        let aws_lc = cfg!(feature = "tls-aws-lc");
        match { keys }.find(|key| !key.is_known(aws_lc)) {
            Some(key) => CertificateError::Other(OtherError(Arc::new(UnknownKey(key)))).into(),
            None => error,
        }
    }
}

fn key_of(certificate: &CertificateDer<'_>) -> Option<Key> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    Some(Key::of(&parsed.subject_public_key_info()))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.verdict.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        verdict.map_err(|error| {
            // The signature on the server's certificate is by one of these.
            let anchors = self.roots.roots.iter();
            let anchors = anchors.map(|anchor| Key::of(&anchor.subject_public_key_info));
            self.explain(
                error,
                intermediates.iter().filter_map(key_of).chain(anchors),
            )
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verdict = self.verdict.verify_tls12_signature(message, cert, dss);
        verdict.map_err(|error| self.explain(error, key_of(cert).into_iter()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verdict = self.verdict.verify_tls13_signature(message, cert, dss);
        verdict.map_err(|error| self.explain(error, key_of(cert).into_iter()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verdict.supported_verify_schemes()
    }
}
