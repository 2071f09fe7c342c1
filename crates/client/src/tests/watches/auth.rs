//! Tokens and permissions.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::peer::Peers;
use super::server::{Manner, Server};
use super::{message, next, nothing_left, values};
use crate::{Client, ErrorKind, WatchMessage};

const DENIED: Manner =
    Manner::Deny("rpc error: code = PermissionDenied desc = etcdserver: permission denied");

async fn with_credentials(peers: &Peers) -> Client {
    let builder = peers.builder().credentials("user", "hunter2");
    builder.connect().await.expect("the client connects")
}

fn tokens(server: &Server) -> Vec<String> {
    let state = server.state();
    let tokens = state.streams.iter().map(|stream| stream.token.clone());
    tokens.map(Option::unwrap_or_default).collect()
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_replaced_on_a_new_stream() {
    for manner in [
        DENIED,
        Manner::Deny("rpc error: code = Unauthenticated desc = etcdserver: invalid auth token"),
        Manner::Deny(
            "rpc error: code = InvalidArgument desc = etcdserver: revision of auth store is old",
        ),
    ] {
        let server = Server::new();
        let client = with_credentials(&server.peers()).await;
        let mut other = client.watch("other").await.expect("in force");
        {
            let mut state = server.state();
            state.manner = manner;
            state.stale = Some("token-1".to_owned());
        }
        let mut stream = client
            .watch("k")
            .await
            .expect("in force with the next token");
        assert_eq!(tokens(&server), ["token-1", "token-2"]);
        assert_eq!(server.live(), 2, "the other watch is in force again");
        server.put("k", "1");
        server.put("other", "2");
        assert_eq!(values(&next(&mut stream).await), ["1"]);
        assert_eq!(values(&next(&mut other).await), ["2"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_denied_watch_ends_after_one_more_attempt() {
    let server = Server::new();
    let client = with_credentials(&server.peers()).await;
    let mut watcher = client.watcher();
    let other = watcher.watch("other").await.expect("in force");
    server.set_manner(DENIED);
    server.state().stale = Some("another token".to_owned());
    message(&mut watcher).await;
    // From now on the server refuses all creations of one key, with any token.
    server.state().stale = None;
    server.state().streams[0].requests.clear();
    let start = tokio::spawn(client.watch("k"));
    sleep(Duration::from_millis(5)).await;
    let error = start
        .await
        .expect("no panic")
        .expect_err("permission denied");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert_eq!(tokens(&server), ["token-1", "token-2"]);
    // The scripted server refuses the other watch, too: then that watch ends as denied.
    loop {
        match message(&mut watcher).await {
            WatchMessage::Cancelled { watch, end } => {
                assert_eq!((watch, end), (other, crate::WatchEnd::PermissionDenied));
                break;
            }
            WatchMessage::Disconnected { .. } => {}
            message => panic!("{message:?}"),
        }
    }
    nothing_left(&server).await;
}

#[tokio::test(start_paused = true)]
async fn without_credentials_a_refusal_ends_the_watch_at_once() {
    let server = Server::new();
    let client = server.peers().client().await;
    let mut other = client.watch("other").await.expect("in force");
    server.set_manner(DENIED);
    let error = client.watch("k").await.expect_err("permission denied");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert_eq!((server.opened(), server.live()), (1, 1));
    server.put("other", "1");
    assert_eq!(values(&next(&mut other).await), ["1"]);

    // The server requires a token, and the client has no credentials: waiting would not help.
    server.state().range_fails = Some(("3", "etcdserver: user name is empty"));
    let begun = Instant::now();
    let error = client.watch("k").await.expect_err("no token");
    assert_eq!(error.kind(), ErrorKind::TokenMissing);
    assert!(begun.elapsed() < Duration::from_secs(1));
    server.put("other", "2");
    assert_eq!(values(&next(&mut other).await), ["2"]);
}

#[tokio::test(start_paused = true)]
async fn a_user_who_may_not_read_a_key_may_not_watch_it() {
    let server = Server::new();
    let client = server.peers().client().await;
    let mut other = client.watch("other").await.expect("in force");
    server.state().range_fails = Some(("7", "etcdserver: permission denied"));
    let begun = Instant::now();
    let error = client.watch("k").await.expect_err("permission denied");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(begun.elapsed() < Duration::from_secs(1));
    // A watch with a start revision sends no Range.
    let past = client.watch("k").start_revision(3).await;
    let _past = past.expect("in force");
    server.put("other", "1");
    assert_eq!(values(&next(&mut other).await), ["1"]);
    assert_eq!(server.opened(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_fails_the_start_at_once() {
    let server = Server::new();
    server.state().login_fails = true;
    let builder = server.peers().builder().credentials("user", "guess");
    let client = builder.connect_lazy().expect("the options are valid");
    let begun = Instant::now();
    for start in [client.watch("k"), client.watch("k").start_revision(3)] {
        let error = start.await.expect_err("the password is wrong");
        assert_eq!(error.kind(), ErrorKind::AuthenticationFailed, "{error}");
    }
    assert!(begun.elapsed() < Duration::from_secs(1));
    nothing_left(&server).await;
}

/// A stream that ends for its token is followed by a stream with the next token.
#[tokio::test(start_paused = true)]
async fn after_an_end_for_its_token_the_stream_is_opened_with_the_next_one() {
    let server = Server::new();
    let client = with_credentials(&server.peers()).await;
    let mut stream = client.watch("k").await.expect("in force");
    server.end_streams("16", "etcdserver: invalid auth token");
    server.put("k", "gap");
    assert_eq!(values(&next(&mut stream).await), ["gap"]);
    assert_eq!(tokens(&server), ["token-1", "token-2"]);
}
