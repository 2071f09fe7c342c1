//! TLS, and users of client certificates, beside real etcd.

use std::path::PathBuf;
use std::sync::Arc;

use etcdex::auth::Permission;
use etcdex::{Client, Error};
use etcdex_server::{Server, ServerBuilder, TlsConfig};
use etcdex_testkit::{Authority, Binaries, Etcd, Pair, left_out};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::real::assert_same;

/// The certificates of a server and its clients.
struct Fixtures {
    authority: Authority,
    server: Pair,
    other: Authority,
}

impl Fixtures {
    fn new() -> Self {
        let authority = Authority::new("the authority");
        Self {
            server: authority.pair(&["127.0.0.1"]),
            authority,
            other: Authority::new("another authority"),
        }
    }

    fn server(&self) -> ServerBuilder {
        let tls = self.tls().client_ca(self.authority.pem.clone());
        Server::builder().tls(tls.client_cert_auth())
    }

    fn tls(&self) -> TlsConfig {
        TlsConfig::new(self.server.certificate.clone(), self.server.key.clone())
    }

    /// Connects with a certificate.
    async fn connect(&self, url: &str, pair: Option<&Pair>) -> Result<Client, Error> {
        let mut tls = etcdex::TlsConfig::new().ca(self.authority.pem.clone());
        if let Some(pair) = pair {
            tls = tls.client_certificate(pair.certificate.clone(), pair.key.clone());
        }
        Client::builder().endpoint(url).tls(tls).connect().await
    }

    async fn as_user(&self, url: &str, name: &str) -> Client {
        let pair = self.authority.user_pair(name);
        self.connect(url, Some(&pair)).await.unwrap()
    }
}

fn end<T>(end: Result<T, Error>) -> String {
    match end {
        Ok(_) => "good".to_owned(),
        Err(error) => format!("{:?}: {}", error.kind(), error.message()),
    }
}

/// Returns what a server that takes users from certificates answers.
async fn transcript(fixtures: &Fixtures, url: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let foreign = fixtures.other.user_pair("root");
    for pair in [None, Some(&foreign)] {
        let refused = fixtures.connect(url, pair).await.unwrap_err();
        lines.push(format!("{:?}", refused.kind()));
    }
    let root = fixtures.as_user(url, "root").await;
    lines.push(end(root.put("a", "1").await));
    let auth = root.auth();
    auth.add_user("root", "secret").await.unwrap();
    auth.add_role("root").await.unwrap();
    auth.grant_role("root", "root").await.unwrap();
    auth.add_user("alice", "secret").await.unwrap();
    auth.add_role("a").await.unwrap();
    let permission = Permission::read_write("a");
    auth.grant_permission("a", permission).await.unwrap();
    auth.grant_role("alice", "a").await.unwrap();
    auth.enable().await.unwrap();
    for name in ["root", "alice", "nobody", ""] {
        let client = fixtures.as_user(url, name).await;
        for key in ["a", "b"] {
            lines.push(format!("{name} {key}: {}", end(client.put(key, "2").await)));
            lines.push(format!("{name} {key}: {}", end(client.get(key).await)));
        }
        lines.push(format!("{name}: {}", end(client.auth().list_users().await)));
        lines.push(format!(
            "{name}: {}",
            end(client.auth().get_user("alice").await)
        ));
    }
    // A token counts more than the certificate.
    let pair = fixtures.authority.user_pair("alice");
    let tls = etcdex::TlsConfig::new()
        .ca(fixtures.authority.pem.clone())
        .client_certificate(pair.certificate, pair.key);
    let both = Client::builder().endpoint(url).tls(tls);
    let both = both.credentials("root", "secret").connect().await.unwrap();
    lines.push(format!("both: {}", end(both.put("b", "3").await)));
    lines
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_of_certificates_may_do_what_they_may_do_in_real_etcd() {
    let fixtures = Fixtures::new();
    let server = fixtures.server().start().await.unwrap();
    assert!(server.client_url().starts_with("https://127.0.0.1:"));
    let found = transcript(&fixtures, &server.client_url()).await;
    assert_eq!(found[2], "good");
    let binaries = Binaries::for_tests();
    let Some(binary) = binaries.newest() else {
        return left_out("its end needs real etcd");
    };
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let etcd = Etcd::builder()
        .binary(binary)
        .tls(
            &file("server.pem", &fixtures.server.certificate),
            &file("server-key.pem", &fixtures.server.key),
        )
        .client_authority(&file("ca.pem", &fixtures.authority.pem));
    let etcd = etcd.start().await.unwrap();
    assert_same(&found, &transcript(&fixtures, &etcd.endpoint()).await);

    // Go's TLS, which has rules of its own.
    let alice = fixtures.authority.user_pair("alice");
    let (certificate, key) = (
        file("alice.pem", &alice.certificate),
        file("alice-key.pem", &alice.key),
    );
    for binary in binaries.all() {
        let Some(etcdctl) = binary.etcdctl() else {
            continue;
        };
        let put = |key_name: &'static str| {
            let mut command = tokio::process::Command::new(&etcdctl);
            command
                .env("ETCDCTL_API", "3")
                .arg("--endpoints")
                .arg(server.client_url())
                .arg("--cacert")
                .arg(folder.path().join("ca.pem"))
                .arg("--cert")
                .arg(&certificate)
                .arg("--key")
                .arg(&key)
                .args(["put", key_name, "3"])
                .kill_on_drop(true)
                .output()
        };
        let good = put("a").await.unwrap();
        assert_eq!(good.stdout, b"OK\n", "{}: {good:?}", binary.version());
        let refused = put("b").await.unwrap();
        let text = String::from_utf8_lossy(&refused.stderr);
        assert!(text.contains("permission denied"), "{text}");
    }
}

#[tokio::test]
async fn http1_is_served_over_tls_and_nothing_without_it() {
    let fixtures = Fixtures::new();
    let server = Server::builder().tls(fixtures.tls()).start().await.unwrap();
    let url = server.client_url();
    let client = fixtures.connect(&url, None).await.unwrap();
    client.put("k", "v").await.unwrap();

    let address = url.strip_prefix("https://").unwrap();
    let request = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut roots = rustls::RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(fixtures.authority.pem.as_bytes()).unwrap();
    roots.add(authority).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut text = String::new();
    // The server does not say that TLS has ended.
    let _ = stream.read_to_string(&mut text).await;
    assert!(
        text.ends_with("{\"health\":\"true\",\"reason\":\"\"}"),
        "{text}"
    );

    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    assert!(!bytes.starts_with(b"HTTP"), "{bytes:?}");
    client.get("k").await.unwrap();
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_refused_at_the_start() {
    let fixtures = Fixtures::new();
    let server = &fixtures.server;
    let other_key = fixtures.authority.user_pair("x").key;
    let cases = [
        (
            TlsConfig::new("", server.key.clone()),
            "the certificate of the server: there is no certificate in PEM format",
        ),
        (
            TlsConfig::new(server.certificate.clone(), "nonsense"),
            "the key of the server",
        ),
        (
            TlsConfig::new(server.certificate.clone(), other_key),
            "the certificate of the server and its key",
        ),
        (
            fixtures.tls().client_ca("nonsense"),
            "the authorities of the clients: there is no certificate in PEM format",
        ),
        (
            fixtures.tls().client_cert_auth(),
            "client_cert_auth needs the authorities of the clients",
        ),
    ];
    for (tls, expected) in cases {
        let error = Server::builder().tls(tls).start().await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!error.to_string().contains("nonsense"), "{error}");
    }
    assert!(!format!("{:?}", fixtures.server()).contains("BEGIN"));
}
