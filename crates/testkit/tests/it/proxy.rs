//! The faults of the proxy that end links, with an echo server.

use std::io;
use std::net::SocketAddr;

use etcdex_testkit::{Binaries, Direction, Etcd, Proxy, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::soon;

/// Starts an echo server.
pub(crate) async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    address
}

/// Starts a proxy before an echo server, and opens a working link through it.
pub(crate) async fn linked() -> (Proxy, TcpStream) {
    let proxy = Proxy::start(echo().await).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    assert_echo(&mut stream, b"hello").await;
    (proxy, stream)
}

/// Sends bytes and waits for their echo.
pub(crate) async fn assert_echo(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
    assert_comes(stream, bytes).await;
}

/// Waits for these bytes.
pub(crate) async fn assert_comes(stream: &mut TcpStream, bytes: &[u8]) {
    let mut back = vec![0; bytes.len()];
    soon(stream.read_exact(&mut back)).await.unwrap();
    assert!(back == bytes, "the echo equals the sent bytes");
}

/// Reads once, at the end of a link.
async fn end(stream: &mut TcpStream) -> io::Result<usize> {
    soon(stream.read(&mut [0; 16])).await
}

fn is_reset(outcome: &io::Result<usize>) -> bool {
    matches!(outcome, Err(error) if error.kind() == io::ErrorKind::ConnectionReset)
}

#[tokio::test]
async fn a_proxy_forwards_and_counts() {
    let (proxy, mut first) = linked().await;
    let mut second = TcpStream::connect(proxy.address()).await.unwrap();
    assert_echo(&mut second, b"again").await;
    assert_eq!((proxy.connections(), proxy.open()), (2, 2));
    assert_eq!(proxy.forwarded(Direction::ToServer), 10);
    assert_eq!(proxy.forwarded(Direction::ToClient), 10);
    first.shutdown().await.unwrap();
    assert_eq!(
        end(&mut first).await.unwrap(),
        0,
        "the end is echoed as well"
    );
    until("one link is left", || proxy.open() == 1).await;
    assert_eq!(proxy.connections(), 2);
}

#[tokio::test]
async fn megabytes_are_forwarded_unchanged() {
    let (_proxy, stream) = linked().await;
    let sent: Vec<u8> = (0..4_000_000_u32)
        .map(|number| (number % 251) as u8)
        .collect();
    let (mut from, mut to) = stream.into_split();
    let expected = sent.clone();
    let sender = tokio::spawn(async move {
        to.write_all(&sent).await.unwrap();
        to.shutdown().await.unwrap();
    });
    let mut back = Vec::new();
    soon(from.read_to_end(&mut back)).await.unwrap();
    assert!(back == expected);
    sender.await.unwrap();
}

#[tokio::test]
async fn cut_closes_present_links() {
    let (proxy, mut stream) = linked().await;
    proxy.cut();
    assert_eq!(end(&mut stream).await.unwrap(), 0, "a FIN and no RST");
    until("no link is open", || proxy.open() == 0).await;
    let mut next = TcpStream::connect(proxy.address()).await.unwrap();
    assert_echo(&mut next, b"new links are as before").await;
}

#[tokio::test]
async fn reset_resets_present_links() {
    let (proxy, mut stream) = linked().await;
    proxy.reset();
    assert!(is_reset(&end(&mut stream).await));
    until("no link is open", || proxy.open() == 0).await;
    let mut next = TcpStream::connect(proxy.address()).await.unwrap();
    assert_echo(&mut next, b"new links are as before").await;
}

#[tokio::test]
async fn half_close_to_the_client_ends_only_that_direction() {
    let (proxy, mut stream) = linked().await;
    proxy.half_close(Direction::ToClient);
    assert_eq!(end(&mut stream).await.unwrap(), 0);
    let before = proxy.forwarded(Direction::ToServer);
    stream.write_all(b"still heard").await.unwrap();
    until("the server gets it", || {
        proxy.forwarded(Direction::ToServer) == before + 11
    })
    .await;
    assert_eq!(proxy.open(), 1);
    assert_eq!(proxy.forwarded(Direction::ToClient), 5, "no echo");
    drop(stream);
    until("the link ends with the client", || proxy.open() == 0).await;
}

#[tokio::test]
async fn half_close_to_the_server_looks_like_the_end_of_the_client() {
    let (proxy, mut stream) = linked().await;
    proxy.half_close(Direction::ToServer);
    // The echo server ends its output after its input, and that end is forwarded.
    assert_eq!(end(&mut stream).await.unwrap(), 0);
}

#[tokio::test]
async fn refuse_resets_new_links_and_keeps_present_ones() {
    let (proxy, mut stream) = linked().await;
    proxy.refuse();
    let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(is_reset(&end(&mut refused).await));
    assert_echo(&mut stream, b"still there").await;
    assert_eq!((proxy.connections(), proxy.open()), (2, 1));
    proxy.heal();
    let mut next = TcpStream::connect(proxy.address()).await.unwrap();
    assert_echo(&mut next, b"welcome").await;
}

#[tokio::test]
async fn without_a_server_clients_are_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let proxy = Proxy::start(address).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(is_reset(&end(&mut stream).await));
}

#[tokio::test]
async fn dropping_the_proxy_closes_the_listener_and_all_links() {
    let (proxy, mut stream) = linked().await;
    let address = proxy.address();
    drop(proxy);
    assert_eq!(end(&mut stream).await.unwrap(), 0);
    let refused = async { while TcpStream::connect(address).await.is_ok() {} };
    soon(refused).await;
}

#[tokio::test]
async fn a_proxy_works_with_etcd() {
    for binary in Binaries::for_tests().all() {
        let etcd = Etcd::start(binary).await.unwrap();
        let proxy = Proxy::start(etcd.client_address()).await.unwrap();
        let Some(_) = binary.etcdctl() else { continue };
        let through = format!("--endpoints={}", proxy.endpoint());
        etcd.etcdctl(["put", "fruit", "lime", &through])
            .await
            .unwrap();
        assert!(proxy.forwarded(Direction::ToServer) > 0);
    }
}
