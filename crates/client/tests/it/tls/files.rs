//! Certificate files: errors of invalid files, and files that change.

use std::path::Path;
use std::time::Duration;

use etcdex::{Client, ClientBuilder, ErrorKind, TlsConfig};
use etcdex_testkit::Pair;

use super::{builder, each, fixtures, works};

const URL: &str = "https://127.0.0.1:1";

#[track_caller]
fn refused(builder: ClientBuilder, parts: &[&str]) {
    let error = builder.connect_lazy().expect_err("the builder refuses");
    let text = format!("{error} {error:?}");
    assert_eq!(error.kind(), ErrorKind::Config, "{text}");
    for part in parts {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    assert!(!text.contains("BEGIN") && !text.contains("MI"), "{text}");
}

#[tokio::test]
async fn the_error_of_an_invalid_file_has_its_name() {
    let fixtures = fixtures();
    let (client, nonsense) = (&fixtures.client, fixtures.file("nonsense"));
    let name = |path: &Path| path.display().to_string();
    let ca = |path: &Path| builder(URL, TlsConfig::new().ca_file(path));
    refused(
        ca(Path::new("/nowhere/ca.pem")),
        &["/nowhere/ca.pem", "cannot be read"],
    );
    refused(ca(&nonsense), &[&name(&nonsense), "holds no certificate"]);
    let empty = fixtures.file("");
    refused(ca(&empty), &[&name(&empty), "is empty"]);
    let key = fixtures.file(&client.key);
    refused(ca(&key), &[&name(&key), "holds no certificate"]);
    let cut = fixtures.file(&fixtures.authority.pem[..200]);
    refused(ca(&cut), &[&name(&cut), "broken PEM"]);

    let tls = || TlsConfig::new().ca(fixtures.authority.pem.clone());
    let certificate = fixtures.file(&client.certificate);
    let files = |certificate: &Path, key: &Path| {
        builder(URL, tls().client_certificate_files(certificate, key))
    };
    assert!(files(&certificate, &key).connect_lazy().is_ok());
    refused(
        files(&certificate, &nonsense),
        &[&name(&nonsense), "no private key"],
    );
    refused(
        files(&certificate, Path::new("/nowhere/key")),
        &["/nowhere/key"],
    );
    refused(files(&key, &key), &[&name(&key), "no certificate"]);
    let other = fixtures.file(&fixtures.server.key);
    refused(
        files(&certificate, &other),
        &[&name(&other), "does not belong to"],
    );
    let bytes = tls().client_certificate(client.certificate.clone(), fixtures.server.key.clone());
    refused(builder(URL, bytes), &["the client key does not belong"]);
}

#[tokio::test]
async fn invalid_options() {
    let fixtures = fixtures();
    let http = builder("http://127.0.0.1:1", fixtures.tls());
    refused(http, &["no endpoint is https"]);
    refused(
        builder(URL, fixtures.tls().server_name("a b")),
        &["server_name"],
    );
    // With TLS, the default endpoint is https.
    let client = Client::builder().tls(fixtures.tls()).connect_lazy();
    let client = client.expect("the options are valid");
    let urls: Vec<_> = client
        .endpoints()
        .iter()
        .map(|one| one.url().to_owned())
        .collect();
    assert_eq!(urls, ["https://127.0.0.1:2379"]);
}

/// Replaces a file in one step, as a rotation of certificates should.
fn replace(path: &Path, text: &str) {
    std::fs::rename(fixtures().file(text), path).expect("the file is replaced");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_connection_shows_the_new_certificate() {
    each(|binary| async move {
        let fixtures = fixtures();
        let etcd = fixtures.strict_server(&binary).await;
        let foreign: Pair = fixtures.other_authority.pair(&["client.test"]);
        let certificate = fixtures.file(&foreign.certificate);
        let key = fixtures.file(&foreign.key);
        let tls = TlsConfig::new()
            .ca(fixtures.authority.pem.clone())
            .client_certificate_files(&certificate, &key);
        let client = builder(&etcd.endpoint(), tls).connect_lazy();
        let client = client.expect("the files are valid");
        let get = || client.get("k").timeout(Duration::from_secs(1));
        let error = get().await.expect_err("of the wrong authority");
        assert_eq!(error.kind(), ErrorKind::Tls, "{error}");

        // Only half of the pair is new: the client keeps the old pair, and the server refuses it as
        // before.
        replace(&certificate, &fixtures.client.certificate);
        let error = get().await.expect_err("still of the wrong authority");
        assert!(error.to_string().contains("client certificate"), "{error}");

        replace(&key, &fixtures.client.key);
        works(&client).await;

        // Half of a pair again, now with a valid old pair.
        replace(&certificate, &foreign.certificate);
        etcd.restart().await.expect("etcd starts again");
        works(&client).await;
        // The other half.
        replace(&key, &foreign.key);
        etcd.restart().await.expect("etcd starts again");
        let error = get().await.expect_err("of the wrong authority");
        assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_connection_trusts_the_new_authority() {
    each(|binary| async move {
        let fixtures = fixtures();
        let etcd = fixtures.strict_server(&binary).await;
        let ca = fixtures.file(&fixtures.other_authority.pem);
        let client = &fixtures.client;
        let tls = TlsConfig::new()
            .ca_file(&ca)
            .client_certificate(client.certificate.clone(), client.key.clone());
        let client = builder(&etcd.endpoint(), tls).connect_lazy();
        let client = client.expect("the files are valid");
        let get = client.get("k").timeout(Duration::from_secs(1)).await;
        let error = get.expect_err("of the wrong authority");
        assert!(error.to_string().contains("not trusted"), "{error}");
        // The file is missing for a moment, as if it was deleted and written again.
        std::fs::remove_file(&ca).expect("the file exists");
        let get = client.get("k").timeout(Duration::from_secs(1)).await;
        assert!(get.is_err());
        std::fs::write(&ca, &fixtures.authority.pem).expect("the file is written");
        works(&client).await;
    })
    .await;
}
