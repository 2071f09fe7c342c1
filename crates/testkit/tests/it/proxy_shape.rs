//! The faults of the proxy that count bytes and time, with an echo server.

use std::time::{Duration, Instant};

use etcdex_testkit::{Direction, Fault};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::proxy::{assert_comes, assert_echo, linked};
use crate::soon;

/// Returns all bytes until the link is reset.
async fn until_reset(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let outcome = soon(stream.read_to_end(&mut all)).await;
    let error = outcome.expect_err("the link ends by a reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    all
}

#[tokio::test]
async fn reset_after_counts_from_now_on_present_links_and_from_the_start_on_new_ones() {
    let (proxy, mut stream) = linked().await;
    proxy.reset_after(Direction::ToClient, 37);
    assert_echo(&mut stream, b"twenty bytes of echo").await;
    stream.write_all(&[7; 40]).await.unwrap();
    assert_eq!(until_reset(&mut stream).await, [7; 17]);

    let mut next = TcpStream::connect(proxy.address()).await.unwrap();
    next.write_all(&[8; 40]).await.unwrap();
    assert_eq!(until_reset(&mut next).await, [8; 37]);

    proxy.reset_after(Direction::ToServer, 5);
    let mut next = TcpStream::connect(proxy.address()).await.unwrap();
    let before = proxy.forwarded(Direction::ToServer);
    next.write_all(&[9; 40]).await.unwrap();
    until_reset(&mut next).await;
    assert_eq!(proxy.forwarded(Direction::ToServer) - before, 5);

    proxy.heal();
    let mut next = TcpStream::connect(proxy.address()).await.unwrap();
    assert_echo(&mut next, &[1; 100]).await;
}

#[tokio::test]
async fn heal_removes_pending_resets_of_present_links() {
    let (proxy, mut stream) = linked().await;
    proxy.reset_after(Direction::ToServer, 3);
    stream.write_all(b"ab").await.unwrap();
    assert_comes(&mut stream, b"ab").await;
    proxy.heal();
    assert_echo(&mut stream, b"much more than three").await;
}

#[tokio::test]
async fn throttle_keeps_its_rate() {
    let (proxy, mut stream) = linked().await;
    proxy.throttle(100_000);
    let sent = vec![3; 30_000];
    let started = Instant::now();
    stream.write_all(&sent).await.unwrap();
    assert_comes(&mut stream, &sent).await;
    // The last bytes have waited for all bytes before them, except for those that are delivered at
    // once.
    let took = started.elapsed();
    assert!(took > Duration::from_millis(250), "took {took:?}");

    proxy.throttle(1);
    stream.write_all(&sent).await.unwrap();
    proxy.heal();
    assert_comes(&mut stream, &sent).await;
}

#[tokio::test]
async fn slices_arrive_separately_and_completely() {
    let (proxy, mut stream) = linked().await;
    proxy.slice(1);
    let sent: Vec<u8> = (0..4_000_u32).map(|number| (number % 251) as u8).collect();
    stream.write_all(&sent).await.unwrap();
    let mut back = Vec::new();
    let mut reads = 0;
    while back.len() < sent.len() {
        let count = soon(stream.read_buf(&mut back)).await.unwrap();
        assert!(count > 0);
        reads += 1;
    }
    assert!(back == sent);
    // The kernel joins some slices; without slicing, one or two reads are enough.
    assert!(reads >= 10, "{reads} reads");
}

#[tokio::test]
async fn faults_are_values() {
    let (proxy, mut stream) = linked().await;
    proxy.inflict(&Fault::Stall);
    stream.write_all(b"kept").await.unwrap();
    proxy.heal();
    assert_comes(&mut stream, b"kept").await;
    proxy.inflict(&Fault::Outage);
    until_reset(&mut stream).await;
    let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
    until_reset(&mut refused).await;
}
