//! Errors of TLS as texts that say what to do about them.

use std::io;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

use super::super::connect_error::{ConnectError, is_end};
use super::algorithm::{Key, signature};
use super::verifier::UnknownKey;

/// Describes errors of TLS.
#[derive(Clone, Copy, Debug)]
pub(super) struct TlsErrors {
    /// Whether the client has a certificate to show.
    pub(super) has_identity: bool,
}

impl TlsErrors {
    /// Returns the error for a handshake that failed.
    pub(super) fn handshake(self, error: io::Error) -> ConnectError {
        if let Some(text) = tls(&error).map(|cause| self.describe(cause)) {
            return ConnectError::tls(text, Some(error));
        }
        if is_end(&error) {
            let what = "it closed the connection in the middle of the TLS handshake (is it \
                        http? or a proxy without a server behind it?)";
            return ConnectError::with(what, error);
        }
        ConnectError::with("the TLS handshake broke off", error)
    }

    /// Returns why the server has ended a session, if the error is an alert of the server.
    pub(super) fn alert(self, error: &io::Error) -> Option<ConnectError> {
        let cause = tls(error)?;
        let copy = io::Error::new(error.kind(), cause.clone());
        Some(ConnectError::tls(self.describe(cause), Some(copy)))
    }

    pub(super) fn no_h2(self) -> ConnectError {
        ConnectError::tls(NO_H2.to_owned(), None)
    }

    fn describe(self, error: &Error) -> String {
        match error {
            Error::InvalidCertificate(error) => certificate(error),
            Error::AlertReceived(alert) => self.describe_alert(*alert),
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                "what it answers is not TLS (is it http?)".into()
            }
            Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13) => {
                "the server has neither TLS 1.3 nor 1.2".into()
            }
            Error::NoApplicationProtocol => NO_H2.into(),
            other => format!("the TLS session failed: {other}"),
        }
    }

    /// Describes an alert. A Go server sends `bad_certificate` for several reasons; whether the client
    /// has shown a certificate tells which. Source: Go's `crypto/tls`, `processCertsFromClient`.
    fn describe_alert(self, alert: AlertDescription) -> String {
        use AlertDescription as A;
        let text = match alert {
            A::CertificateRequired => NO_CERTIFICATE,
            A::BadCertificate | A::NoCertificate if !self.has_identity => NO_CERTIFICATE,
            // Go sends this alert when the client has offered no algorithm for the key of the server's
            // certificate; openssl also sends it when it misses a client certificate.
            A::HandshakeFailure if !self.has_identity => NOTHING_IN_COMMON_OR_NO_CERTIFICATE,
            A::HandshakeFailure => NOTHING_IN_COMMON,
            A::UnknownCA => "the server does not know the authority of the client certificate",
            A::CertificateExpired => {
                "to the server, the client certificate has expired or is not valid yet"
            }
            A::CertificateRevoked => "the client certificate was revoked",
            A::BadCertificate | A::UnsupportedCertificate | A::CertificateUnknown => {
                "the server refuses the client certificate (is it of the authority that the \
                 server trusts, still valid, and meant for clients?)"
            }
            A::AccessDenied => "the server gives the client certificate no access",
            A::NoApplicationProtocol => NO_H2,
            A::UnrecognisedName => "the server does not know the name it was called by",
            A::ProtocolVersion => "the server wants another version of TLS than 1.3 or 1.2",
            other => return format!("the server broke off the TLS session ({other:?})"),
        };
        text.to_owned()
    }
}

const NO_H2: &str = "the server offers no HTTP/2 over TLS (ALPN h2): it is not etcd, or behind a \
                     proxy that speaks HTTP/1 only";
/// The part of a text about keys that ring does not know.
#[cfg(not(feature = "tls-aws-lc"))]
macro_rules! unknown_keys {
    () => {
        "the key of the server's certificate may be on P-521, as etcd's --auto-tls makes it: the \
         feature tls-aws-lc knows it"
    };
}
#[cfg(feature = "tls-aws-lc")]
macro_rules! unknown_keys {
    () => {
        "the key of the server's certificate may be of a kind that this client does not know"
    };
}
const NOTHING_IN_COMMON: &str = concat!(
    "the server and this client have no TLS algorithm in common (",
    unknown_keys!(),
    ")"
);
const NOTHING_IN_COMMON_OR_NO_CERTIFICATE: &str = concat!(
    "the server and this client have no TLS algorithm in common (",
    unknown_keys!(),
    "), or the server wants a client certificate, and this client has none"
);
const NO_CERTIFICATE: &str =
    "the server wants a client certificate, and this client has none (client_certificate)";

fn tls(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn certificate(error: &CertificateError) -> String {
    use CertificateError as C;
    match error {
        C::UnknownIssuer => {
            "the server's certificate is of an authority that is not trusted here (is ca_file \
             the right one?)"
                .into()
        }
        C::NotValidForName => "the server's certificate is for other names".into(),
        C::NotValidForNameContext {
            expected,
            presented,
        } => wrong_name(expected, presented),
        C::Expired => "the server's certificate has expired".into(),
        C::ExpiredContext { time, not_after } => format!(
            "the server's certificate has expired {} ago, by this machine's clock",
            rough(time.as_secs().saturating_sub(not_after.as_secs()))
        ),
        C::NotValidYet => "the server's certificate is not valid yet".into(),
        C::NotValidYetContext { time, not_before } => format!(
            "the server's certificate is not valid yet, but in {}, by this machine's clock",
            rough(not_before.as_secs().saturating_sub(time.as_secs()))
        ),
        C::Revoked => "the server's certificate was revoked".into(),
        C::InvalidPurpose | C::InvalidPurposeContext { .. } => {
            "the server's certificate is not meant for servers (extended key usage)".into()
        }
        C::BadSignature => "the server's certificate is signed by another key than that of its \
                            authority (is ca_file an older or newer one of the same name?)"
            .into(),
        C::UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id: signed,
            public_key_algorithm_id: key,
        } => match Key::of_curve(key) {
            // In TLS 1.2, a server signs with such a key by an algorithm that is known.
            Some(key) if !key.is_known(cfg!(feature = "tls-aws-lc")) => unknown_key(key),
            _ => format!(
                "the server's certificate is signed by {}, which its authority's key cannot do",
                signature(signed)
            ),
        },
        C::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id: id,
            ..
        } => format!(
            "the server's certificate is signed by {}, which this client does not take{}",
            signature(id),
            remedy(signature(id))
        ),
        C::Other(other) => match other.0.downcast_ref::<UnknownKey>() {
            Some(key) => unknown_key(key.0),
            // webpki's error is in no public type of rustls.
            None if format!("{other:?}").contains("CaUsedAsEndEntity") => {
                "the server's certificate is one of an authority (basicConstraints CA:TRUE), and \
                 none for a server: give the server a certificate of its own"
                    .into()
            }
            None => format!("the server's certificate is not valid: {other}"),
        },
        other => format!("the server's certificate is not valid: {other}"),
    }
}

fn unknown_key(key: Key) -> String {
    format!(
        "the server's certificate or its authority has {key}, which this client cannot check: {}",
        key.remedy()
    )
}

/// Returns the advice for a signature algorithm that the client does not accept.
fn remedy(signature: &str) -> &'static str {
    match signature {
        "RSA with SHA-1" | "ECDSA with SHA-1" | "RSA with MD5" => {
            " because it can be forged: have it signed anew with SHA-256"
        }
        "ECDSA with SHA-512" if !cfg!(feature = "tls-aws-lc") => {
            " (the feature tls-aws-lc knows it)"
        }
        _ => "",
    }
}

fn wrong_name(expected: &ServerName<'_>, presented: &[String]) -> String {
    let expected = expected.to_str();
    if presented.is_empty() {
        return format!(
            "the server's certificate is not for {expected}: it is for no name at all \
             (subjectAltName)"
        );
    }
    // A certificate can have hundreds of names.
    let mut names: Vec<String> = presented.iter().take(8).map(|name| plain(name)).collect();
    if presented.len() > names.len() {
        names.push(format!("{} more", presented.len() - names.len()));
    }
    format!(
        "the server's certificate is not for {expected} but for {} (a server_name says which \
         to expect)",
        names.join(", ")
    )
}

/// `DnsName("etcd.test")` and `IpAddress(127.0.0.1)` without the wrapping.
fn plain(name: &str) -> String {
    let inner = name
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"').to_owned()
}

/// A duration in rounded units: `3 days`.
fn rough(seconds: u64) -> String {
    let duration = Duration::from_secs(seconds).as_secs();
    let units = [(86_400, "days"), (3_600, "hours"), (60, "minutes")];
    let fit = units.iter().find(|(length, _)| duration >= 2 * length);
    match fit {
        Some((length, unit)) => format!("{} {unit}", duration / length),
        None => format!("{duration} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_rounded_units() {
        assert_eq!(rough(59), "59 s");
        assert_eq!(rough(3_600), "60 minutes");
        assert_eq!(rough(47 * 3_600), "47 hours");
        assert_eq!(rough(3 * 86_400 + 5), "3 days");
    }

    #[test]
    fn what_an_alert_means_depends_on_what_was_shown() {
        let said = |has_identity| {
            let errors = TlsErrors { has_identity };
            errors.describe(&Error::AlertReceived(AlertDescription::BadCertificate))
        };
        assert!(said(false).contains("wants a client certificate"));
        assert!(said(true).contains("refuses the client certificate"));
    }
}
