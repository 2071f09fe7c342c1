//! Certificates that are made on the spot.

use std::fmt;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};

/// An authority that signs certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, in PEM.
    pub pem: String,
    /// Its own certificate, in DER.
    pub der: Vec<u8>,
}

/// A certificate and its key.
///
/// `Debug` shows neither.
pub struct Pair {
    /// The certificate, in PEM.
    pub certificate: String,
    /// The certificate, in DER.
    pub certificate_der: Vec<u8>,
    /// The key, in PEM.
    pub key: String,
    /// The key, in DER.
    pub key_der: Vec<u8>,
}

impl Authority {
    /// Returns a new authority of this name.
    ///
    /// # Panics
    /// The name cannot be in a certificate.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let key = new_key();
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let own = params.self_signed(&key).expect("the certificate is signed");
        Self {
            pem: own.pem(),
            der: own.der().to_vec(),
            issuer: Issuer::new(params, key),
        }
    }

    /// Returns a certificate for these names and addresses.
    #[must_use]
    pub fn pair(&self, names: &[&str]) -> Pair {
        self.pair_with(names, |_| {})
    }

    /// Returns a certificate of a client, with this common name.
    #[must_use]
    pub fn user_pair(&self, name: &str) -> Pair {
        self.pair_with(&[], |params| {
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
        })
    }

    /// Returns a certificate of an authority, used as a server's certificate.
    #[must_use]
    pub fn authority_as_pair(&self, names: &[&str]) -> Pair {
        self.pair_with(names, |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        })
    }

    /// Returns a certificate that is valid no more.
    #[must_use]
    pub fn expired_pair(&self, names: &[&str]) -> Pair {
        self.pair_with(names, |params| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        })
    }

    /// Returns a certificate that is not valid yet.
    #[must_use]
    pub fn pair_of_the_future(&self, names: &[&str]) -> Pair {
        self.pair_with(names, |params| {
            params.not_before = rcgen::date_time_ymd(2999, 1, 1);
            params.not_after = rcgen::date_time_ymd(3000, 1, 1);
        })
    }

    fn pair_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("the names are valid");
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            // The JSON gateway of an etcd server is a client of that server.
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let key = new_key();
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("the certificate is signed");
        Pair {
            certificate: certificate.pem(),
            certificate_der: certificate.der().to_vec(),
            key: key.serialize_pem(),
            key_der: key.serialize_der(),
        }
    }
}

fn new_key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key")
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").finish_non_exhaustive()
    }
}
