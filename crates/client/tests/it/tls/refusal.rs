//! Failures of TLS: each has an error of one line, at once, that differs from the error without a
//! server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use etcdex::{Client, Error, ErrorKind, TlsConfig};
use etcdex_testkit::{Binary, Etcd, Pair};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use super::{DEADLINE, builder, connect, each, fixtures, works};

/// Asserts that connecting fails with these texts, before any time-out.
async fn refused(url: &str, tls: TlsConfig, parts: &[&str]) {
    let start = Instant::now();
    let error = connect(url, tls).await.expect_err("the connect fails");
    assert_told(&error, ErrorKind::Tls, parts);
    assert!(start.elapsed() < DEADLINE / 2, "{:?}", start.elapsed());
}

#[track_caller]
fn assert_told(error: &Error, kind: ErrorKind, parts: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    assert!(!text.contains('\n'), "{text}");
    for part in parts {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}

fn with(pair: &Pair) -> TlsConfig {
    TlsConfig::new()
        .ca(fixtures().authority.pem.clone())
        .client_certificate(pair.certificate.clone(), pair.key.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_trusted() {
    each(|binary| async move {
        let fixtures = fixtures();
        let etcd = fixtures.strict_server(&binary).await;
        let url = etcd.endpoint();
        let not_trusted = ["of an authority that is not trusted", &*url];
        let other = TlsConfig::new().ca(fixtures.other_authority.pem.clone());
        refused(&url, other, &not_trusted).await;
        // Only the authorities of this system, if it has any.
        let system = connect(&url, TlsConfig::new()).await.expect_err("refused");
        let text = system.to_string();
        let none = text.contains("this system has no certificate authorities");
        assert!(none || text.contains(not_trusted[0]), "{text}");

        let by_name = url.replace("127.0.0.1", "localhost");
        let names = ["not for localhost", "127.0.0.1", "etcd.test"];
        refused(&by_name, fixtures.tls(), &names).await;
        let other = fixtures.tls().server_name("elsewhere.test");
        refused(&url, other, &["not for elsewhere.test"]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_expired_or_not_yet_valid() {
    each(|binary| async move {
        let fixtures = fixtures();
        let tls = || TlsConfig::new().ca(fixtures.authority.pem.clone());
        let expired = fixtures.authority.expired_pair(&["127.0.0.1"]);
        let etcd = fixtures
            .server(&binary, &expired)
            .start()
            .await
            .expect("etcd");
        refused(
            &etcd.endpoint(),
            tls(),
            &["server's certificate has expired", "days ago"],
        )
        .await;
        let future = fixtures.authority.pair_of_the_future(&["127.0.0.1"]);
        let etcd = fixtures
            .server(&binary, &future)
            .start()
            .await
            .expect("etcd");
        refused(&etcd.endpoint(), tls(), &["not valid yet", "days"]).await;
    })
    .await;
}

/// Certificates made by openssl, with kinds of keys and signatures that rcgen does not make.
macro_rules! fixture {
    ($name:literal) => {
        Pair {
            certificate: include_str!(concat!("fixtures/", $name, ".pem")).to_owned(),
            certificate_der: Vec::new(),
            key: include_str!(concat!("fixtures/", $name, ".key")).to_owned(),
            key_der: Vec::new(),
        }
    };
}

const FIXTURES: &str = include_str!("fixtures/ca.pem");

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_signatures_that_are_not_supported() {
    each(|binary| async move {
        let fixtures = fixtures();
        let serve = async |pair: &Pair| fixtures.server(&binary, pair).start().await.expect("etcd");
        let tls = || TlsConfig::new().ca(FIXTURES);

        let short = serve(&fixture!("rsa-1024")).await;
        let words = ["an RSA key of 1024 bits", "RSA keys need 2048 bits"];
        refused(&short.endpoint(), tls(), &words).await;

        let forgeable = serve(&fixture!("sha-1")).await;
        let words = ["signed by RSA with SHA-1", "signed anew with SHA-256"];
        refused(&forgeable.endpoint(), tls(), &words).await;

        let authority = serve(&fixtures.authority.authority_as_pair(&["127.0.0.1"])).await;
        let trusting = TlsConfig::new().ca(fixtures.authority.pem.clone());
        let words = ["is one of an authority"];
        refused(&authority.endpoint(), trusting, &words).await;

        // etcd's own --auto-tls makes such keys.
        let p521 = serve(&fixture!("p-521")).await;
        if cfg!(feature = "tls-aws-lc") {
            let client = connect(&p521.endpoint(), tls())
                .await
                .expect("the key is supported");
            works(&client).await;
        } else {
            // With some versions of Go the handshake fails before the certificate.
            let words = ["P-521", "the feature tls-aws-lc knows it"];
            refused(&p521.endpoint(), tls(), &words).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_the_client_certificate() {
    each(not_let_in).await;
}

async fn not_let_in(binary: Binary) {
    let fixtures = fixtures();
    let etcd = fixtures.strict_server(&binary).await;
    let url = etcd.endpoint();
    let none = "the server wants a client certificate, and this client has none";
    // The alert of TLS 1.3 comes after the handshake, in a race with the client's first bytes.
    for _ in 0..20 {
        let tls = TlsConfig::new().ca(fixtures.authority.pem.clone());
        refused(&url, tls, &[none, &url]).await;
    }
    refused(&url, TlsConfig::new().rustls(older()), &[none]).await;
    let foreign = fixtures.other_authority.pair(&["client.test"]);
    refused(&url, with(&foreign), &["client certificate", "authority"]).await;
    let expired = fixtures.authority.expired_pair(&["client.test"]);
    refused(&url, with(&expired), &["client certificate", "valid"]).await;

    // The error of a call has this cause, too.
    let tls = TlsConfig::new().ca(fixtures.authority.pem.clone());
    let client = builder(&url, tls).connect_lazy().expect("options");
    let call = client.put("k", "v").timeout(Duration::from_secs(1)).await;
    assert_told(
        &call.expect_err("refused"),
        ErrorKind::Tls,
        &[none, "not sent"],
    );
}

/// A configuration without a client certificate that speaks TLS 1.2 only.
fn older() -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(fixtures().authority.der.clone()))
        .expect("a certificate");
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .expect("ring has TLS 1.2")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_scheme() {
    each(|binary| async move {
        let fixtures = fixtures();
        let plain = Etcd::start(&binary).await.expect("etcd starts");
        let url = plain.endpoint().replace("http:", "https:");
        let start = Instant::now();
        let error = connect(&url, fixtures.tls())
            .await
            .expect_err("the server has no TLS");
        let text = error.to_string();
        eprintln!("etcd {}: https to http: {text}", binary.version());
        assert!(text.contains("is it http?"), "{text}");
        assert!(start.elapsed() < DEADLINE / 2, "{:?}", start.elapsed());

        let secure = fixtures.strict_server(&binary).await;
        let url = secure.endpoint().replace("https:", "http:");
        let error = Client::connect(&url)
            .await
            .expect_err("the server requires TLS");
        eprintln!("etcd {}: http to https: {error}", binary.version());
        assert_told(&error, ErrorKind::Unavailable, &["https"]);
    })
    .await;
}

#[tokio::test]
async fn the_error_without_a_server_does_not_mention_tls() {
    let error = connect("https://127.0.0.1:1", fixtures().tls()).await;
    let error = error.expect_err("no server listens");
    assert_told(&error, ErrorKind::Unavailable, &["cannot connect"]);
}
