//! Connections that are up and whose server does not answer.

use std::time::Duration;

use tokio::time::Instant;

use super::peer::{Peers, handshake, serve_well};
use crate::{ErrorKind, Outcome};

/// The first connection falls silent once it is up; later ones work.
fn silent_once() -> Peers {
    Peers::one(|number, stream| async move {
        if number > 0 {
            return serve_well(stream).await;
        }
        let mut connection = handshake(stream).await;
        let _ = tokio::time::timeout(Duration::from_millis(1), connection.accept()).await;
        std::future::pending::<()>().await;
    })
}

#[tokio::test(start_paused = true)]
async fn a_write_on_a_dead_connection_is_answered_when_it_is_found_dead() {
    let peers = silent_once();
    let client = peers.client().await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    let start = Instant::now();
    let error = client
        .put("k", "v")
        .no_timeout()
        .await
        .expect_err("the connection is dead");
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Unavailable, Outcome::Unknown)
    );
    assert!(error.to_string().contains("keep-alive"), "{error}");
    // A second without an answer, a ping, and three seconds for the pong.
    assert_eq!(start.elapsed().as_secs(), 4);
    client
        .put("k", "v")
        .await
        .expect("the next connection is well");
}

#[tokio::test(start_paused = true)]
async fn a_read_on_a_dead_connection_gets_its_answer_from_the_next_one() {
    let peers = silent_once();
    let client = peers.client().await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    client.get("k").await.expect("the next connection answers");
}

/// The calls time out before the client would doubt the connection.
#[tokio::test(start_paused = true)]
async fn calls_with_short_time_outs_find_a_dead_connection() {
    let peers = silent_once();
    let client = peers.client().await;
    let client = client.with_timeout(Duration::from_millis(300));
    tokio::time::sleep(Duration::from_millis(10)).await;
    let start = Instant::now();
    while let Err(error) = client.put("k", "v").await {
        assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
        assert!(start.elapsed() < Duration::from_secs(4), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_timeout_only_the_call_ends() {
    let peers = silent_once();
    let client = peers
        .builder()
        .no_keep_alive_timeout()
        .connect()
        .await
        .expect("the client connects");
    tokio::time::sleep(Duration::from_millis(10)).await;
    let error = client
        .put("k", "v")
        .await
        .expect_err("the server is silent");
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Timeout, Outcome::Unknown)
    );
    assert_eq!(peers.connections("http://one:1"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_does_not_end_the_connection() {
    // The peer answers pings at once, and the request after a minute.
    let peers = Peers::one(|_, stream| {
        super::peer::serve(stream, |asked| async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            asked.answer_well();
        })
    });
    let client = peers.client().await;
    client
        .put("k", "v")
        .no_timeout()
        .await
        .expect("an answer after a minute");
    assert_eq!(peers.connections("http://one:1"), 1);
}

#[tokio::test(start_paused = true)]
async fn after_too_many_pings_a_server_gets_fewer_and_the_next_calls_work() {
    let peers = Peers::one(|number, stream| async move {
        if number > 0 {
            return serve_well(stream).await;
        }
        let mut connection = handshake(stream).await;
        if let Some(Ok(_request)) = connection.accept().await {
            connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
            let _ = connection.accept().await;
        }
    });
    let client = peers.client().await;
    let error = client
        .put("k", "v")
        .await
        .expect_err("the server closed the connection");
    assert_eq!(error.outcome(), Outcome::Unknown);
    client
        .put("k", "v")
        .await
        .expect("the next connection is well");
}

#[tokio::test(start_paused = true)]
async fn infinite_time_outs_are_accepted() {
    let peers = Peers::one(|_, stream| serve_well(stream));
    let builder = peers.builder().keep_alive_interval(Duration::MAX);
    let client = builder.keep_alive_timeout(Duration::MAX).connect().await;
    let put = client.expect("the client connects").put("k", "v");
    put.timeout(Duration::MAX).await.expect("an answer");
}
