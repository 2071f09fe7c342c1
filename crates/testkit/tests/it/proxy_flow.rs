//! The faults of the proxy that change the flow of bytes, with an echo server.

use std::io;
use std::time::{Duration, Instant};

use etcdex_testkit::{Direction, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::proxy::{assert_comes, assert_echo, linked};
use crate::soon;

/// Long enough for unexpected bytes to arrive.
const WHILE: Duration = Duration::from_millis(100);

async fn assert_silent(stream: &mut TcpStream) {
    timeout(WHILE, stream.read(&mut [0; 16]))
        .await
        .expect_err("nothing comes");
}

#[tokio::test]
async fn stall_keeps_bytes_and_heal_delivers_them() {
    let (proxy, mut stream) = linked().await;
    proxy.stall();
    let mut next = TcpStream::connect(proxy.address()).await.unwrap();
    next.write_all(b"from a new link").await.unwrap();
    stream.write_all(b"from a present link").await.unwrap();
    assert_silent(&mut stream).await;
    assert_silent(&mut next).await;
    assert_eq!(proxy.forwarded(Direction::ToServer), 5, "only the hello");
    proxy.heal();
    assert_comes(&mut stream, b"from a present link").await;
    assert_comes(&mut next, b"from a new link").await;
}

#[tokio::test]
async fn stall_keeps_the_end_as_well() {
    let (proxy, mut stream) = linked().await;
    proxy.stall();
    stream.write_all(b"last words").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_silent(&mut stream).await;
    proxy.heal();
    let mut back = Vec::new();
    soon(stream.read_to_end(&mut back)).await.unwrap();
    assert_eq!(back, b"last words");
}

#[tokio::test]
async fn black_hole_accepts_links_and_reads_bytes_and_forwards_nothing() {
    let (proxy, mut stream) = linked().await;
    let mut quiet = TcpStream::connect(proxy.address()).await.unwrap();
    assert_echo(&mut quiet, b"hello").await;
    proxy.black_hole();
    let mut next = TcpStream::connect(proxy.address()).await.unwrap();
    until("the new link is accepted", || proxy.open() == 3).await;
    next.write_all(b"lost").await.unwrap();
    stream.write_all(b"lost").await.unwrap();
    assert_silent(&mut next).await;
    assert_silent(&mut stream).await;

    proxy.heal();
    for mut lossy in [stream, next] {
        let outcome = soon(lossy.read(&mut [0; 16])).await;
        let error = outcome.expect_err("a stream with a gap ends");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
    assert_echo(&mut quiet, b"nothing of it was lost").await;
    assert_eq!(proxy.open(), 1);
}

#[tokio::test]
async fn black_hole_drops_what_was_stalled_before() {
    let (proxy, mut stream) = linked().await;
    proxy.stall();
    stream.write_all(b"kept, then lost").await.unwrap();
    assert_silent(&mut stream).await;
    proxy.black_hole();
    assert_silent(&mut stream).await;
    proxy.heal();
    let error = soon(stream.read(&mut [0; 16])).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn delay_holds_bytes_each_way() {
    let (proxy, mut stream) = linked().await;
    let delay = Duration::from_millis(80);
    proxy.delay(delay);
    let started = Instant::now();
    assert_echo(&mut stream, b"slow").await;
    let took = started.elapsed();
    assert!(took >= 2 * delay, "both directions: {took:?}");

    proxy.delay(Duration::from_secs(3600));
    stream.write_all(b"an hour").await.unwrap();
    assert_silent(&mut stream).await;
    proxy.heal();
    assert_comes(&mut stream, b"an hour").await;
}

#[tokio::test]
async fn faults_follow_each_other_at_once() {
    let (proxy, mut stream) = linked().await;
    proxy.stall();
    proxy.reset();
    let outcome = soon(stream.read(&mut [0; 16])).await;
    assert_eq!(
        outcome.unwrap_err().kind(),
        io::ErrorKind::ConnectionReset,
        "a stalled link can be reset"
    );
    let mut next = TcpStream::connect(proxy.address()).await.unwrap();
    next.write_all(b"kept").await.unwrap();
    proxy.delay(Duration::from_millis(1));
    assert_silent(&mut next).await;
    proxy.heal();
    assert_comes(&mut next, b"kept").await;
}

#[tokio::test]
async fn a_slow_reader_slows_the_sender() {
    let (proxy, mut stream) = linked().await;
    // The echo is not read, so at some point the proxy reads no more.
    let much = vec![7; 64 << 20];
    timeout(Duration::from_millis(500), stream.write_all(&much))
        .await
        .expect_err("the proxy does not read everything");
    assert!(proxy.forwarded(Direction::ToServer) < 60 << 20);
}
