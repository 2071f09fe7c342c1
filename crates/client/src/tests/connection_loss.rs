//! A server that dies, or does not listen: the error of each call, and when it comes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::peer::{Asked, Peers, handshake, read, serve, serve_well};
use crate::connector::ByteStream;
use crate::connector::ConnectFuture;
use crate::{Client, Connector, Endpoint, ErrorKind, Outcome};

/// Reads this number of requests, answers none, and breaks the connection.
async fn break_after(requests: usize, stream: tokio::io::DuplexStream) {
    let mut connection = handshake(stream).await;
    let mut held = Vec::new();
    while let Some(Ok(request)) = connection.accept().await {
        held.push(request);
        if held.len() == requests {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_request_in_flight_is_answered_before_any_timer_fires() {
    const EACH: usize = 500;
    let peers = Peers::one(|_, stream| break_after(2 * EACH, stream));
    let client = peers.client_with_retries(0).await;
    let start = Instant::now();
    let puts: Vec<_> = (0..EACH)
        .map(|_| tokio::spawn(client.put("k", "v")))
        .collect();
    let gets: Vec<_> = (0..EACH).map(|_| tokio::spawn(client.get("k"))).collect();
    for put in puts {
        let error = put.await.expect("no panic").expect_err("the server died");
        assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert_eq!(
            error.endpoint().map(crate::Endpoint::url),
            Some("http://one:1")
        );
        assert_eq!(error.attempts(), 1);
    }
    for get in gets {
        let error = get.await.expect("no panic").expect_err("the server died");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    // Virtual time moves only when nothing but timers is left to wait for.
    assert_eq!(start.elapsed().as_nanos(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_read_survives_the_death_of_its_connection() {
    let peers = Peers::one(|number, stream| async move {
        if number == 0 {
            break_after(1, stream).await;
        } else {
            serve_well(stream).await;
        }
    });
    let client = peers.client().await;
    client
        .get("k")
        .await
        .expect("the second connection answers");
    assert_eq!(peers.connections("http://one:1"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_client_reconnects_without_a_request() {
    let back = Arc::new(Notify::new());
    let told = Arc::clone(&back);
    let peers = Peers::one(move |number, stream| {
        let told = Arc::clone(&told);
        async move {
            let mut connection = handshake(stream).await;
            if number == 0 {
                // Answers the ping of the handshake, and breaks the connection.
                let accept = connection.accept();
                let _ = tokio::time::timeout(std::time::Duration::from_secs(1), accept).await;
                return;
            }
            told.notify_one();
            while let Some(Ok((request, reply))) = connection.accept().await {
                tokio::spawn(async move {
                    if let Some(asked) = read(request, reply).await {
                        asked.answer_well();
                    }
                });
            }
        }
    });
    let client = peers.client().await;
    back.notified().await;
    client.get("k").await.expect("an answer");
}

#[tokio::test(start_paused = true)]
async fn connects_to_a_server_that_resets_them_back_off() {
    let peers = Peers::one(|_, stream| async { drop(stream) });
    let client = peers
        .builder()
        .connect_lazy()
        .expect("the options are valid");
    let error = client.get("k").await.expect_err("there is no server");
    assert_eq!(error.outcome(), Outcome::NotSent);
    // Pauses of 10 ms, doubled seven times, then of a second: about twelve attempts within 5 s.
    // With jitter there are fewer than twice as many.
    let attempts = peers.connections("http://one:1");
    assert!((8..24).contains(&attempts), "{attempts} attempts in 5 s");
}

#[tokio::test(start_paused = true)]
async fn connect_fails_with_the_cause() {
    let peers = Peers::one(|_, stream| async { drop(stream) });
    let error = peers
        .builder()
        .connect()
        .await
        .expect_err("there is no server");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.to_string().contains("closed it without an answer"),
        "{error}"
    );

    let error = peers.builder().endpoint("http://absent:1").connect().await;
    let error = error.expect_err("no server listens").to_string();
    assert!(error.contains("other 1"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_error_of_a_call_without_a_connection_has_the_cause() {
    let peers = Peers::default().and("http://one:1", |_, stream| async { drop(stream) });
    let client = peers
        .builder()
        .name("orders")
        .connect_lazy()
        .expect("the options are valid");
    let start = Instant::now();
    let error = client.put("k", "v").await.expect_err("there is no server");
    assert_eq!(start.elapsed().as_secs(), 5);
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Unavailable, Outcome::NotSent)
    );
    assert_eq!(error.attempts(), 0);
    let text = error.to_string();
    for part in [
        "[orders] put:",
        "within 5s",
        "http://one:1",
        "closed it",
        "not sent",
    ] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    assert!(std::error::Error::source(&error).is_some());
}

/// A request that was handed to a broken connection: not a byte of it was sent, so even a write
/// goes over the next connection.
#[tokio::test(start_paused = true)]
async fn a_request_that_was_never_sent_is_retried_even_a_write() {
    let (hand_out, mut handed_out) = tokio::sync::mpsc::unbounded_channel();
    let peers = Peers::one(move |number, stream| {
        let hand_out = hand_out.clone();
        async move {
            if number > 0 {
                return serve_well(stream).await;
            }
            let mut connection = handshake(stream).await;
            // Long enough for the handshake's ping to be answered.
            let accept = connection.accept();
            let _ = tokio::time::timeout(std::time::Duration::from_millis(1), accept).await;
            let _ = hand_out.send(connection);
        }
    });
    let client = peers.client().await;
    let connection = handed_out.recv().await.expect("the first connection");
    let mut put = Box::pin(client.put("k", "v"));
    assert!(super::peer::poll_once(&mut put).is_pending());
    drop(connection);
    put.await.expect("the second connection takes the put");
    assert_eq!(peers.connections("http://one:1"), 2);
}

/// A byte stream that sends the given bytes and reports an error all the same, once `fails` is set.
/// A TLS session whose next record cannot be written behaves like that.
struct Partial {
    stream: tokio::io::DuplexStream,
    fails: Arc<AtomicBool>,
}

impl AsyncRead for Partial {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Partial {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if self.fails.swap(false, Ordering::Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The user's own connector, for [`Partial`] streams to a peer that counts its requests.
struct PartialConnector {
    fails: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
}

impl Connector for PartialConnector {
    fn connect(&self, _: &Endpoint) -> ConnectFuture {
        let (stream, theirs) = tokio::io::duplex(1 << 20);
        let (fails, count) = (Arc::clone(&self.fails), Arc::clone(&self.count));
        tokio::spawn(serve(theirs, move |asked: Asked| {
            count.fetch_add(1, Ordering::Relaxed);
            async move { asked.answer_well() }
        }));
        Box::pin(async move { Ok(Box::new(Partial { stream, fails }) as Box<dyn ByteStream>) })
    }
}

/// A user's own byte stream may have sent the bytes whose write it reports as failed.
#[tokio::test(start_paused = true)]
async fn a_write_that_failed_on_a_users_own_stream_is_not_sent_again() {
    let fails = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicUsize::new(0));
    let connector = PartialConnector {
        fails: Arc::clone(&fails),
        count: Arc::clone(&count),
    };
    let client = Client::builder().endpoint("http://one:1");
    let client = client.connector(connector).connect().await;
    let client = client.expect("the client connects");
    client.put("k", "1").await.expect("the stream works");
    fails.store(true, Ordering::Relaxed);
    let error = client.put("k", "2").await.expect_err("the stream broke");
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    assert!(count.load(Ordering::Relaxed) <= 2, "the put was sent again");
}
