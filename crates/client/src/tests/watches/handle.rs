//! `WatcherHandle`: other tasks add and cancel watches of a watcher.

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::server::{Manner, Server};
use super::{MOMENT, nothing_left, values};
use crate::{ErrorKind, WatchMessage, Watcher};

/// Reads a watcher in a task of its own, and returns the messages by a channel.
fn read(mut watcher: Watcher) -> mpsc::UnboundedReceiver<WatchMessage> {
    let (sender, messages) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(message) = watcher.next().await {
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    messages
}

async fn next(messages: &mut mpsc::UnboundedReceiver<WatchMessage>) -> WatchMessage {
    let message = timeout(MOMENT * 100, messages.recv()).await;
    message.expect("in time").expect("the watcher is read")
}

#[tokio::test(start_paused = true)]
async fn another_task_adds_and_cancels_while_the_watcher_is_read() {
    let server = Server::new();
    let client = server.peers().client().await;
    let watcher = client.watcher();
    let handle = watcher.handle();
    let mut messages = read(watcher);
    sleep(MOMENT).await;
    let one = handle.watch("one").await.expect("in force");
    let other = tokio::spawn(handle.clone().watch("two").into_future());
    let two = other.await.expect("no panic").expect("in force");
    let names = |list: Vec<(_, _)>| list.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(handle.list()), [one, two]);
    for (key, expected) in [("one", one), ("two", two)] {
        server.put(key, "v");
        let message = loop {
            match next(&mut messages).await {
                WatchMessage::Created { .. } => {}
                message => break message,
            }
        };
        let WatchMessage::Notify { watch, batch, .. } = message else {
            panic!("{message:?}");
        };
        assert_eq!((watch, values(&batch)), (expected, vec!["v"]));
    }
    handle.request_progress().expect("the watcher exists");
    let message = next(&mut messages).await;
    assert!(
        matches!(
            message,
            WatchMessage::Progress {
                watch: None,
                revision: 12,
                ..
            }
        ),
        "{message:?}"
    );

    assert!(handle.cancel(one));
    assert!(!handle.cancel(one), "the watch was cancelled before");
    assert!(handle.lag(one).is_none() && handle.lag(two).is_some());
    sleep(MOMENT).await;
    assert_eq!(server.live(), 1);
    server.put("one", "unwanted");
    server.put("two", "wanted");
    let message = next(&mut messages).await;
    assert!(
        matches!(message, WatchMessage::Notify { watch, .. } if watch == two),
        "{message:?}"
    );
    assert_eq!(handle.cancel_all(), 1);
    sleep(MOMENT).await;
    assert_eq!(server.live(), 0);
}

/// A cancel drops messages that were not read yet.
#[tokio::test(start_paused = true)]
async fn messages_of_a_watch_that_a_handle_cancels_are_dropped() {
    let server = Server::new();
    let client = server.peers().client().await;
    let mut watcher = client.watcher();
    let handle = watcher.handle();
    let one = handle.watch("one").await.expect("in force");
    let two = handle.watch("two").await.expect("in force");
    server.put("one", "unwanted");
    server.put("two", "wanted");
    sleep(MOMENT).await;
    assert!(handle.cancel(one));
    let told = loop {
        match super::message(&mut watcher).await {
            WatchMessage::Notify { watch, .. } => break watch,
            message => assert_ne!(message.watch(), Some(one), "{message:?}"),
        }
    };
    assert_eq!(told, two);
}

#[tokio::test(start_paused = true)]
async fn calls_of_a_handle_fail_when_its_watcher_is_gone() {
    let server = Server::new();
    let client = server.peers().client().await;
    let watcher = client.watcher();
    let handle = watcher.handle();
    let kept = handle.watch("kept").await.expect("in force");
    server.set_manner(Manner::Silent);
    let pending = tokio::spawn(handle.watch("k").no_timeout().into_future());
    sleep(MOMENT).await;
    assert_eq!(handle.list().len(), 2);

    drop(watcher);
    assert!(handle.list().is_empty());
    let outcome = timeout(MOMENT, pending).await.expect("the future ends");
    let pending = outcome
        .expect("no panic")
        .expect_err("the watcher was dropped");
    let later = handle
        .watch("k")
        .await
        .expect_err("the watcher was dropped");
    let progress = handle
        .request_progress()
        .expect_err("the watcher was dropped");
    for error in [pending, later, progress] {
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        assert!(
            error.to_string().contains("the watcher was dropped"),
            "{error}"
        );
    }
    assert!(!handle.cancel(kept) && handle.cancel_all() == 0);
    assert!(handle.list().is_empty() && handle.lag(kept).is_none());
    nothing_left(&server).await;
}

#[tokio::test(start_paused = true)]
async fn calls_of_a_handle_fail_when_the_client_is_closed() {
    let server = Server::new();
    let client = server.peers().client().await;
    let watcher = client.watcher();
    let handle = watcher.handle();
    let mut messages = read(watcher);
    client.close(MOMENT).await;
    let message = next(&mut messages).await;
    assert!(matches!(message, WatchMessage::Closed(_)), "{message:?}");
    let watch = handle.watch("k").await.expect_err("the client is closed");
    let progress = handle.request_progress().expect_err("the client is closed");
    for error in [watch, progress] {
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        assert!(
            error.to_string().contains("the client was closed"),
            "{error}"
        );
    }
}
