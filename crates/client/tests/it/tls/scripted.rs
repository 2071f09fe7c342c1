//! In-process servers that behave unlike etcd.

use std::sync::Arc;

use etcdex::{Error, ErrorKind, TlsConfig};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{connect, fixtures};

/// Returns the error of a connect to a TLS server with these protocols.
async fn against(protocols: &[&str]) -> Error {
    let fixtures = fixtures();
    let chain = vec![CertificateDer::from(
        fixtures.server.certificate_der.clone(),
    )];
    let key = PrivateKeyDer::try_from(fixtures.server.key_der.clone()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has these versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a pair");
    config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            // Waits until the client closes the connection.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    let tls = TlsConfig::new().ca(fixtures.authority.pem.clone());
    let error = connect(&format!("https://127.0.0.1:{port}"), tls).await;
    server.abort();
    error.expect_err("the server is no etcd")
}

#[tokio::test]
async fn a_server_without_http2() {
    for protocols in [&["http/1.1"][..], &[]] {
        let error = against(protocols).await;
        assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
        assert!(error.to_string().contains("ALPN h2"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_speaks_http1_in_plain_text() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    let error = connect(&format!("https://127.0.0.1:{port}"), fixtures().tls()).await;
    server.abort();
    let error = error.expect_err("the server has no TLS");
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    assert!(
        error.to_string().contains("is not TLS (is it http?)"),
        "{error}"
    );
}
