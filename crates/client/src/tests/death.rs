//! A server that dies, or was never there: who is told what, and when.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::peer::{Peers, handshake, read, serve_well};
use crate::{ErrorKind, Outcome};

/// Takes so many requests, answers none, and breaks the connection.
async fn die_after(requests: usize, stream: tokio::io::DuplexStream) {
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
    let peers = Peers::one(|_, stream| die_after(2 * EACH, stream));
    let client = peers
        .builder()
        .retries(0)
        .connect()
        .await
        .expect("it connects");
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
            die_after(1, stream).await;
        } else {
            serve_well(stream).await;
        }
    });
    let client = peers.client().await;
    client
        .get("k")
        .await
        .expect("it is read over the second connection");
    assert_eq!(peers.connections("http://one:1"), 2);
}

#[tokio::test(start_paused = true)]
async fn the_connection_comes_back_without_a_request() {
    let back = Arc::new(Notify::new());
    let told = Arc::clone(&back);
    let peers = Peers::one(move |number, stream| {
        let told = Arc::clone(&told);
        async move {
            let mut connection = handshake(stream).await;
            if number == 0 {
                // Answers the ping of the handshake, and dies.
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
async fn a_server_that_accepts_and_resets_is_not_hammered() {
    let peers = Peers::one(|_, stream| async { drop(stream) });
    let client = peers
        .builder()
        .connect_lazy()
        .expect("the options are fine");
    let error = client.get("k").await.expect_err("there is no server");
    assert_eq!(error.outcome(), Outcome::NotSent);
    // 10 ms, doubled seven times, then one a second: within 5 s about twelve attempts, and
    // with the jitter never twice that.
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

    let error = peers.builder().endpoint("http://nobody:1").connect().await;
    let error = error.expect_err("neither of both is there").to_string();
    assert!(error.contains("other 1"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_connection_tells_why() {
    let peers = Peers::default().and("http://one:1", |_, stream| async { drop(stream) });
    let client = peers
        .builder()
        .name("orders")
        .connect_lazy()
        .expect("the options are fine");
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

/// A request that was handed over to a connection that was dead already: not a byte of it has
/// left, so a write too goes over the next one.
#[tokio::test(start_paused = true)]
async fn what_never_left_is_sent_again_writes_too() {
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
    put.await.expect("it goes over the second connection");
    assert_eq!(peers.connections("http://one:1"), 2);
}
