//! PURE: the names of keys and signature algorithms in certificates.
//!
//! rustls passes them on as numbers (object identifiers in DER) or not at all. A person who has
//! to replace a certificate needs the name.

use std::fmt;

/// The shortest RSA key that ring and aws-lc-rs verify signatures with, in bits.
const SHORTEST_RSA: usize = 2048;

/// The key of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// RSA, with the length of its modulus in bits.
    Rsa(usize),
    /// ECDSA or EdDSA, by the name of its curve.
    Curve(&'static str),
    /// Neither.
    Other,
}

impl Key {
    /// Reads the SubjectPublicKeyInfo of a certificate, with or without its outer header.
    pub(super) fn of(info: &[u8]) -> Self {
        let Some((tag, content, rest)) = element(info) else {
            return Self::Other;
        };
        // The content of the outer SEQUENCE begins with another one: the algorithm.
        let info = match element(content) {
            Some((SEQUENCE, ..)) if tag == SEQUENCE && rest.is_empty() => content,
            _ => info,
        };
        Self::of_content(info).unwrap_or(Self::Other)
    }

    fn of_content(info: &[u8]) -> Option<Self> {
        let (_, algorithm, rest) = element(info)?;
        match element(algorithm)? {
            (_, RSA, _) => Some(Self::Rsa(modulus_bits(rest)?)),
            _ => Self::of_curve(algorithm),
        }
    }

    /// The key with this AlgorithmIdentifier (its content in DER), where that says all of it.
    pub(super) fn of_curve(identifier: &[u8]) -> Option<Self> {
        let curve = match element(identifier)? {
            (_, EC, parameters) => name(CURVES, element(parameters)?.1),
            (_, id, _) => name(EDWARDS, id),
        };
        curve.map(Self::Curve)
    }

    /// Whether a client whose cryptography is ring, or aws-lc-rs, can check a signature that was
    /// made with it.
    pub(super) fn is_known(self, aws_lc: bool) -> bool {
        match self {
            Self::Rsa(bits) => bits >= SHORTEST_RSA,
            Self::Curve("P-256" | "P-384" | "Ed25519") => true,
            Self::Curve("P-521") => aws_lc,
            Self::Curve(_) | Self::Other => false,
        }
    }

    /// Returns the advice for a key that the client does not know.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::Rsa(_) => "RSA keys need 2048 bits",
            Self::Curve("P-521") => "the feature tls-aws-lc knows it",
            Self::Curve(_) | Self::Other => "keys on P-256 are known everywhere",
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "an RSA key of {bits} bits"),
            Self::Curve(curve) => write!(f, "a key on {curve}"),
            Self::Other => f.write_str("a key of a kind that etcdex has no name for"),
        }
    }
}

/// The name of the signature algorithm with this AlgorithmIdentifier (its content in DER).
pub(super) fn signature(identifier: &[u8]) -> &'static str {
    let id = element(identifier).map(|(_, id, _)| id);
    id.and_then(|id| name(SIGNATURES, id))
        .unwrap_or("an algorithm that etcdex has no name for")
}

const SEQUENCE: u8 = 0x30;

type Names = &'static [(&'static [u8], &'static str)];

const RSA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 1];
const EC: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 2, 1];

/// Source: RFC 5480, section 2.1.1.1.
const CURVES: Names = &[
    (&[0x2A, 0x86, 0x48, 0xCE, 0x3D, 3, 1, 7], "P-256"),
    (&[0x2B, 0x81, 4, 0, 0x21], "P-224"),
    (&[0x2B, 0x81, 4, 0, 0x22], "P-384"),
    (&[0x2B, 0x81, 4, 0, 0x23], "P-521"),
    (&[0x2B, 0x81, 4, 0, 0x0A], "secp256k1"),
];

/// Source: RFC 8410, section 3.
const EDWARDS: Names = &[
    (&[0x2B, 0x65, 0x70], "Ed25519"),
    (&[0x2B, 0x65, 0x71], "Ed448"),
];

/// Source: RFC 4055, RFC 5758.
const SIGNATURES: Names = &[
    (
        &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 4],
        "RSA with MD5",
    ),
    (
        &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 5],
        "RSA with SHA-1",
    ),
    (&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 10], "RSA-PSS"),
    (
        &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 11],
        "RSA with SHA-256",
    ),
    (
        &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 12],
        "RSA with SHA-384",
    ),
    (
        &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 13],
        "RSA with SHA-512",
    ),
    (&[0x2A, 0x86, 0x48, 0xCE, 0x3D, 4, 1], "ECDSA with SHA-1"),
    (
        &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 4, 3, 2],
        "ECDSA with SHA-256",
    ),
    (
        &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 4, 3, 3],
        "ECDSA with SHA-384",
    ),
    (
        &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 4, 3, 4],
        "ECDSA with SHA-512",
    ),
    (&[0x2B, 0x65, 0x70], "Ed25519"),
    (&[0x2B, 0x65, 0x71], "Ed448"),
];

fn name(names: Names, id: &[u8]) -> Option<&'static str> {
    names
        .iter()
        .find(|(known, _)| *known == id)
        .map(|(_, name)| *name)
}

/// Splits a DER element off: its tag, its content, and what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7F => (usize::from(first), rest),
        0x81 => {
            let (&length, rest) = rest.split_first()?;
            (usize::from(length), rest)
        }
        0x82 => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        // No key is longer than 64 KiB.
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// The length of the modulus in the BIT STRING of an RSA key.
fn modulus_bits(bit_string: &[u8]) -> Option<usize> {
    let (_, content, _) = element(bit_string)?;
    let (_unused_bits, key) = content.split_first()?;
    let (_, numbers, _) = element(key)?;
    let (_, modulus, _) = element(numbers)?;
    let significant = modulus.iter().position(|&byte| byte != 0)?;
    let leading = modulus[significant].leading_zeros() as usize;
    Some((modulus.len() - significant) * 8 - leading)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    fn key_of(pem: &str) -> Key {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
        let parsed = rustls::server::ParsedCertificate::try_from(&certificate).expect("it parses");
        Key::of(&parsed.subject_public_key_info())
    }

    /// The certificates were made by openssl, which prints the same keys.
    #[test]
    fn keys_of_certificates() {
        let rsa = key_of(include_str!("../../../tests/it/tls/fixtures/rsa-1024.pem"));
        assert_eq!(rsa, Key::Rsa(1024));
        assert_eq!(rsa.to_string(), "an RSA key of 1024 bits");
        assert!(!rsa.is_known(true));
        let authority = key_of(include_str!("../../../tests/it/tls/fixtures/ca.pem"));
        assert_eq!(authority, Key::Rsa(2048));
        assert!(authority.is_known(false));
        let p521 = key_of(include_str!("../../../tests/it/tls/fixtures/p-521.pem"));
        assert_eq!(p521, Key::Curve("P-521"));
        assert!(p521.is_known(true) && !p521.is_known(false));
        let p256 = key_of(include_str!("../../../tests/it/tls/fixtures/sha-1.pem"));
        assert_eq!(p256, Key::Curve("P-256"));
    }

    #[test]
    fn a_trust_anchor_keeps_its_key_without_the_outer_header() {
        let text = include_str!("../../../tests/it/tls/fixtures/ca.pem");
        let certificate = CertificateDer::from_pem_slice(text.as_bytes()).expect("a certificate");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate).expect("it is taken");
        let info = &roots.roots[0].subject_public_key_info;
        assert_eq!(Key::of(info), Key::Rsa(2048));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Key::of(&bytes).to_string();
            let _ = signature(&bytes);
        }
    }
}
