//! Valid configurations.

use std::sync::Arc;

use etcdex::connector::ByteStream;
use etcdex::connector::ConnectFuture;
use etcdex::{Connector, Endpoint, TlsConfig};
use etcdex_testkit::Binary;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio::task::JoinSet;

use super::{builder, connect, each, fixtures, works};

#[tokio::test(flavor = "multi_thread")]
async fn calls_work_over_mutual_tls_in_every_form() {
    each(every_form).await;
}

async fn every_form(binary: Binary) {
    let fixtures = fixtures();
    let (client, authority) = (&fixtures.client, &fixtures.authority);
    let etcd = fixtures.strict_server(&binary).await;
    let certificate = fixtures.file(&client.certificate);
    let key = fixtures.file(&client.key);
    let files = TlsConfig::new()
        .ca_file(fixtures.file(&fixtures.authority.pem))
        .client_certificate_files(certificate, key);
    let der = TlsConfig::new()
        .ca(authority.der.clone())
        .client_certificate(client.certificate_der.clone(), client.key_der.clone());
    // The authority of the server is not the first in the file.
    let two = format!("{}\n{}", fixtures.other_authority.pem, authority.pem);
    let joined = format!("{}{}", client.key, client.certificate);
    let one_file = TlsConfig::new()
        .ca(two)
        .client_certificate(joined.clone(), joined);
    for tls in [
        fixtures.tls(),
        files,
        der,
        one_file,
        TlsConfig::new().rustls(own()),
    ] {
        let client = connect(&etcd.endpoint(), tls)
            .await
            .expect("the client connects");
        works(&client).await;
    }
}

/// A complete `rustls::ClientConfig` of the user, without ALPN.
fn own() -> ClientConfig {
    let fixtures = fixtures();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(fixtures.authority.der.clone()))
        .expect("a certificate");
    let chain = vec![CertificateDer::from(
        fixtures.client.certificate_der.clone(),
    )];
    let key = PrivateKeyDer::try_from(fixtures.client.key_der.clone()).expect("a key");
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .expect("ring has TLS 1.2")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .expect("a pair")
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_gets_at_once_work() {
    each(|binary| async move {
        let fixtures = fixtures();
        let etcd = fixtures.strict_server(&binary).await;
        let client = connect(&etcd.endpoint(), fixtures.tls()).await;
        let client = client.expect("the client connects");
        client.put("k", "v".repeat(10_000)).await.expect("the put");
        let mut gets = JoinSet::new();
        for _ in 0..500 {
            gets.spawn(client.get("k").bytes());
        }
        while let Some(got) = gets.join_next().await {
            let value = got.expect("no panic").expect("the get");
            assert_eq!(value.map(|value| value.len()), Some(10_000));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_name_stands_for_the_host() {
    each(|binary| async move {
        let fixtures = fixtures();
        let pair = fixtures.authority.pair(&["etcd.test"]);
        let etcd = fixtures.server(&binary, &pair).start().await.expect("etcd");
        let tls = || TlsConfig::new().ca(fixtures.authority.pem.clone());
        let error = connect(&etcd.endpoint(), tls()).await;
        let error = error
            .expect_err("the certificate does not have the address")
            .to_string();
        assert!(
            error.contains("not for 127.0.0.1 but for etcd.test"),
            "{error}"
        );
        let named = connect(&etcd.endpoint(), tls().server_name("etcd.test")).await;
        works(&named.expect("the client connects")).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn danger_accept_invalid_certificates_accepts_every_certificate() {
    each(|binary| async move {
        let fixtures = fixtures();
        let pair = fixtures.other_authority.expired_pair(&["elsewhere.test"]);
        let etcd = fixtures.server(&binary, &pair).start().await.expect("etcd");
        let tls = TlsConfig::new().danger_accept_invalid_certificates();
        works(
            &connect(&etcd.endpoint(), tls)
                .await
                .expect("the client connects"),
        )
        .await;
    })
    .await;
}

/// Connects to one address for every endpoint, like a tunnel.
struct Tunnel(std::net::SocketAddr);

impl Connector for Tunnel {
    fn connect(&self, _endpoint: &Endpoint) -> ConnectFuture {
        let address = self.0;
        Box::pin(async move {
            let stream = tokio::net::TcpStream::connect(address).await?;
            Ok(Box::new(stream) as Box<dyn ByteStream>)
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_wraps_the_stream_of_the_users_connector() {
    each(|binary| async move {
        let fixtures = fixtures();
        let etcd = fixtures.strict_server(&binary).await;
        let client = builder("https://etcd.test:1", fixtures.tls())
            .connector(Tunnel(etcd.client_address()))
            .connect()
            .await;
        works(&client.expect("the client connects")).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_with_tls_and_a_password_runs() {
    each(|binary| async move {
        let fixtures = fixtures();
        let etcd = fixtures
            .server(&binary, &fixtures.server)
            .start()
            .await
            .expect("etcd");
        let client = connect(&etcd.endpoint(), fixtures.tls())
            .await
            .expect("a client");
        let auth = client.auth();
        // Some versions have the role from the start.
        let _ = auth.add_role("root").await;
        auth.add_user("root", "hush-root").await.expect("a user");
        auth.grant_role("root", "root").await.expect("a role");
        auth.enable().await.expect("authentication is enabled");
        let ca = fixtures.file(&fixtures.authority.pem);
        let ca = ca.to_str().expect("the folder's name is text");
        let url = etcd.endpoint();
        crate::examples::cluster_with_tls::run(&url, ca, "root", "hush-root")
            .await
            .expect("the example runs");
    })
    .await;
}
