//! Generated certificates.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};

/// An authority that signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
    pub(crate) der: Vec<u8>,
}

/// A certificate and its key.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) certificate_der: Vec<u8>,
    pub(crate) key: String,
    pub(crate) key_der: Vec<u8>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
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

    /// A certificate for these names and addresses.
    pub(crate) fn pair(&self, names: &[&str]) -> Pair {
        self.pair_with(names, |_| {})
    }

    /// A certificate of an authority, used as a server's certificate.
    pub(crate) fn authority_as_pair(&self, names: &[&str]) -> Pair {
        self.pair_with(names, |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        })
    }

    pub(crate) fn expired_pair(&self, names: &[&str]) -> Pair {
        self.pair_with(names, |params| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        })
    }

    pub(crate) fn pair_of_the_future(&self, names: &[&str]) -> Pair {
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
