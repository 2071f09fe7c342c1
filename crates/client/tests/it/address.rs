//! Addresses with and without a server.

use std::error::Error as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use etcdex::{Client, ErrorKind, Outcome};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use crate::stage::each;

/// An address without a listener.
async fn unused_address() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn an_address_without_a_listener() {
    let address = unused_address().await;
    let begun = Instant::now();
    let error = Client::connect(&address).await.unwrap_err();
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "the error comes at once"
    );
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.outcome(), Outcome::NotSent);
    assert!(error.to_string().contains(&address), "{error}");
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    let mut causes = causes.filter_map(|cause| cause.downcast_ref::<io::Error>());
    let cause = causes.next().map(io::Error::kind);
    assert_eq!(cause, Some(io::ErrorKind::ConnectionRefused), "{error:?}");

    let lazy = Client::builder().endpoint(&address).connect_lazy().unwrap();
    let error = lazy.put("k", "v").timeout(Duration::from_millis(300));
    let error = error.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.outcome(), Outcome::NotSent);
    assert_eq!((error.attempts(), error.code()), (0, None));
    assert!(error.to_string().contains(&address), "{error}");
}

/// The port for other members. Before 3.6 it serves clients, too.
#[tokio::test]
async fn the_port_of_the_peers() {
    each(|stage| async move {
        if stage.etcd.server().is_some() {
            // It has no peers.
            return;
        }
        let address = stage.etcd.peer_url();
        let begun = Instant::now();
        let client = Client::connect(&address).await;
        assert!(
            begun.elapsed() < Duration::from_secs(2),
            "the error comes at once"
        );
        if stage.etcd.version().is_at_least(3, 6) {
            let error = client.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert_eq!(error.outcome(), Outcome::NotSent);
            assert!(error.to_string().contains(&address), "{error}");
        } else {
            client.unwrap().get(stage.key("k")).await.unwrap();
        }
    })
    .await;
}

/// One working endpoint is enough.
#[tokio::test]
async fn the_first_of_two_is_down() {
    each(|stage| async move {
        let client = Client::builder()
            .endpoint(unused_address().await)
            .endpoint(stage.etcd.endpoint())
            .namespace(stage.prefix.as_str())
            .connect()
            .await
            .unwrap();
        for _ in 0..10 {
            client.put("k", "v").await.unwrap();
        }
        let kv = client.get("k").await.unwrap().into_kv().unwrap();
        assert_eq!(kv.version, 10);
    })
    .await;
}

/// Forwards one byte stream after the other to the server.
async fn forward(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    to: SocketAddr,
) {
    let mut server = TcpStream::connect(to).await.unwrap();
    // The result of a link does not matter.
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
}

#[tokio::test]
async fn a_unix_socket() {
    each(|stage| async move {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("etcd.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let to = stage.etcd.client_address();
        let forwarder = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            forward(stream, to).await;
        });
        let client = Client::connect(format!("unix://{}", path.display()));
        let client = client.await.unwrap().namespace(stage.prefix.as_str());
        client.put("k", "by socket").await.unwrap();
        let get = stage.inside().get("k").string().await.unwrap();
        assert_eq!(get.as_deref(), Some("by socket"));
        forwarder.abort();

        let missing = format!("unix://{}", folder.path().join("none").display());
        let error = Client::connect(&missing).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains(&missing), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_bind_address() {
    each(|stage| async move {
        // Linux has the whole of 127.0.0.0/8 on the loopback.
        let last = if cfg!(target_os = "linux") { 2 } else { 1 };
        let own = IpAddr::from([127, 0, 0, last]);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let to = stage.etcd.client_address();
        let forwarder = tokio::spawn(async move {
            let (stream, from) = listener.accept().await.unwrap();
            assert_eq!(from.ip(), own);
            forward(stream, to).await;
        });
        let client = Client::builder()
            .endpoint(format!("http://{address}"))
            .bind_address(own)
            .connect()
            .await
            .unwrap();
        client.put(stage.key("k"), "v").await.unwrap();
        drop(client);
        // The link ends with the client.
        forwarder.await.unwrap();
    })
    .await;
}
