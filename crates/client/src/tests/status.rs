//! `Client::status`, in every state of an endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use super::peer::{Peers, serve_well};
use crate::client::ClientStatus;
use crate::client::EndpointState;
use crate::client::TokenState;
use crate::{Client, ErrorKind};

fn states(client: &Client) -> Vec<EndpointState> {
    let endpoints = client.status().endpoints;
    endpoints.into_iter().map(|one| one.state).collect()
}

fn ready(client: &Client) -> bool {
    client.status().is_ready()
}

#[tokio::test(start_paused = true)]
async fn from_idle_to_ready_and_closed() {
    let peers = Peers::one(|_, stream| serve_well(stream));
    let client = peers.builder().connect_lazy().expect("a client");
    assert_eq!(states(&client), [EndpointState::Idle]);
    assert!(!ready(&client));
    assert_eq!(
        peers.connections("http://one:1"),
        0,
        "status opens no connection"
    );
    client.get("k").await.expect("an answer");
    let status: ClientStatus = client.status();
    assert_eq!(status.endpoints[0].state, EndpointState::Ready);
    assert_eq!(status.endpoints[0].endpoint.url(), "http://one:1");
    assert_eq!(status.token, TokenState::NoCredentials);
    assert!(status.is_ready() && !status.closing);
    // The documentation says so.
    sleep(Duration::from_secs(600)).await;
    assert!(ready(&client));
    client.close(Duration::ZERO).await;
    assert!(client.status().closing && !ready(&client));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_down_has_a_cause() {
    let peers = Peers::one(|_, stream| serve_well(stream));
    let client = peers.builder().endpoint("http://absent:1");
    let client = client.connect().await.expect("one endpoint is enough");
    let down = client
        .with_endpoint("http://absent:1")
        .expect("the endpoint is known");
    let call = down.get("k").timeout(Duration::from_secs(1));
    call.await.expect_err("no server listens");
    let states = states(&client);
    let EndpointState::Down { kind, cause } = &states[1] else {
        panic!("{states:?}");
    };
    assert_eq!(*kind, ErrorKind::Unavailable);
    assert!(cause.contains("refused"), "{cause}");
    assert!(ready(&client));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_falls_silent_is_suspect_and_then_down() {
    let silent = Arc::new(AtomicBool::new(false));
    let script = Arc::clone(&silent);
    let peers = Peers::one(move |_, stream| {
        let silent = Arc::clone(&script);
        async move {
            let mut serving = std::pin::pin!(serve_well(stream));
            std::future::poll_fn(|cx| match silent.load(Ordering::Relaxed) {
                true => std::task::Poll::Pending,
                false => serving.as_mut().poll(cx),
            })
            .await;
        }
    });
    let client = peers.client().await;
    client.get("k").await.expect("an answer");
    silent.store(true, Ordering::Relaxed);
    let call = tokio::spawn(client.get("k").timeout(Duration::from_secs(60)));
    sleep(Duration::from_millis(10)).await;
    let status = client.status();
    assert_eq!((status.calls, status.endpoints[0].calls), (1, 1));
    sleep(Duration::from_millis(3_500)).await;
    assert_eq!(states(&client), [EndpointState::Suspect]);
    assert!(ready(&client), "there is no other endpoint");
    sleep(Duration::from_secs(2)).await;
    assert!(matches!(states(&client)[..], [EndpointState::Down { .. }]));
    assert!(!ready(&client));
    call.abort();
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_is_connecting() {
    let peers = Peers::one(|_, stream| async move {
        let _stream = stream;
        std::future::pending::<()>().await;
    });
    let client = peers.builder().connect_lazy().expect("a client");
    let call = tokio::spawn(client.get("k"));
    sleep(Duration::from_secs(2)).await;
    assert_eq!(states(&client), [EndpointState::Connecting]);
    assert_eq!(client.status().calls, 1);
    call.abort();
}

#[tokio::test(start_paused = true)]
async fn the_status_of_the_token_does_not_have_its_text() {
    let server = super::credentials::AuthServer::default();
    let builder = server.peers().builder();
    let client = builder.clone().credentials("root", "hunter2");
    let client = client.connect_lazy().expect("a client");
    assert_eq!(client.status().token, TokenState::Missing);
    client.get("k").await.expect("an answer");
    assert_eq!(client.status().token, TokenState::Held);
    assert!(ready(&client));
    let client = builder.credentials("root", "hunter3");
    let client = client.connect_lazy().expect("a client");
    client.get("k").await.expect_err("the password is wrong");
    let status = client.status();
    let TokenState::Refused { reason } = &status.token else {
        panic!("{status:?}");
    };
    assert!(reason.contains("authentication failed"), "{reason}");
    assert!(!status.is_ready());
    assert!(!format!("{status:?}").contains("hunter"));
}
