//! Ends of watches: by their users, by the client, by the server.

use std::time::Duration;

use etcdex_proto::etcdserverpb as pb;
use futures_core::Stream;
use tokio::time::{sleep, timeout};

use super::server::{Manner, Server};
use super::{MOMENT, message, next, nothing_left, silence, values};
use crate::{ErrorKind, WatchEnd, WatchMessage};

#[tokio::test(start_paused = true)]
async fn dropping_cancels_on_the_server() {
    let server = Server::new();
    let client = server.peers().client().await;
    let stream = client.watch("a").await.expect("in force");
    let watcher = client.watcher();
    watcher.watch("b").await.expect("in force");
    watcher.watch("c").await.expect("in force");
    let ids = server.ids();
    drop(stream);
    sleep(MOMENT).await;
    assert_eq!(server.live(), 2);
    assert_eq!(server.state().streams[0].cancels(), ids[..1]);
    drop(watcher);
    nothing_left(&server).await;
    // The task has ended: the channel of its commands is closed.
    assert_eq!(client.watches().tasks(), 0);

    // The next watch starts a new task.
    let mut stream = client.watch("a").await.expect("in force");
    server.put("a", "1");
    assert_eq!(values(&next(&mut stream).await), ["1"]);
    stream.cancel();
    assert!(matches!(stream.try_next().await, Ok(None)));
    nothing_left(&server).await;
    assert_eq!(client.watches().tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_watch_delivers_nothing_more() {
    let server = Server::new();
    let client = server.peers().client().await;
    let mut watcher = client.watcher();
    let one = watcher.watch("one").await.expect("in force");
    let two = watcher.watch("two").prev_kv().await.expect("in force");
    let list = watcher.list();
    assert_eq!(
        list.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        [one, two]
    );
    assert!(format!("{:?}", list[1].1).contains("prev_kv: true"));
    server.put("one", "queued");
    server.put("two", "queued");
    sleep(MOMENT).await;
    assert_eq!(watcher.lag(one).expect("the watch is listed").events, 1);
    server.put("one", "under way");
    assert!(watcher.cancel(one));
    assert!(!watcher.cancel(one));
    server.put("one", "later");
    let mut seen = Vec::new();
    while let Ok(Some(message)) = timeout(MOMENT, watcher.next()).await {
        assert_eq!(message.watch(), Some(two), "{message:?}");
        seen.push(matches!(message, WatchMessage::Notify { .. }));
    }
    assert_eq!(seen, [false, true]);
    assert_eq!((watcher.list().len(), watcher.lag(one)), (1, None));

    let three = watcher.watch("three").await.expect("in force");
    assert!(watcher.lag(three).is_some());
    assert_eq!(watcher.cancel_all(), 2);
    assert_eq!(watcher.cancel_all(), 0);
    silence(&mut watcher).await;
    nothing_left(&server).await;
}

/// The task ends with the last watch; the watcher goes on with the next task.
#[tokio::test(start_paused = true)]
async fn a_watcher_without_watches_does_not_end() {
    let server = Server::new();
    let client = server.peers().client().await;
    let mut watcher = client.watcher();
    for round in 0..3 {
        let watch = watcher.watch("k").await.expect("in force");
        assert!(matches!(
            message(&mut watcher).await,
            WatchMessage::Created { .. }
        ));
        server.put("k", "v");
        assert!(matches!(
            message(&mut watcher).await,
            WatchMessage::Notify { .. }
        ));
        if round == 1 {
            let watch_id = server.ids()[0];
            server.send(&pb::WatchResponse {
                watch_id,
                canceled: true,
                cancel_reason: "for a reason".to_owned(),
                ..pb::WatchResponse::default()
            });
            match message(&mut watcher).await {
                WatchMessage::Cancelled {
                    watch: of,
                    end: WatchEnd::Cancelled { reason },
                } => {
                    assert_eq!((of, reason.as_str()), (watch, "for a reason"));
                }
                other => panic!("{other:?}"),
            }
            assert!(watcher.list().is_empty());
        } else {
            watcher.cancel(watch);
        }
        silence(&mut watcher).await;
        nothing_left(&server).await;
    }
    client.close(Duration::ZERO).await;
    assert!(matches!(
        message(&mut watcher).await,
        WatchMessage::Closed(_)
    ));
    assert!(watcher.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn events_before_a_cancel_of_the_server_are_delivered() {
    let server = Server::new();
    let client = server.peers().client().await;
    let mut stream = client.watch("k").await.expect("in force");
    let watch_id = server.ids()[0];
    for value in ["1", "2"] {
        server.put("k", value);
    }
    let cancel = pb::WatchResponse {
        watch_id,
        canceled: true,
        ..pb::WatchResponse::default()
    };
    server.send(&cancel);
    server.send(&cancel);
    sleep(MOMENT).await;
    assert_eq!(values(&next(&mut stream).await), ["1"]);
    assert_eq!(values(&next(&mut stream).await), ["2"]);
    let end = stream
        .try_next()
        .await
        .expect_err("the server cancelled the watch");
    assert_eq!(
        end,
        WatchEnd::Cancelled {
            reason: String::new()
        }
    );
    assert!(matches!(stream.try_next().await, Ok(None)));
    nothing_left(&server).await;
}

#[tokio::test(start_paused = true)]
async fn closing_the_client_ends_all_watches() {
    let server = Server::new();
    let client = server.peers().client().await;
    let mut idle = client.watcher();
    let mut watcher = client.watcher();
    let mut names = Vec::new();
    for key in ["a", "b"] {
        names.push(watcher.watch(key).await.expect("in force"));
        assert!(matches!(
            message(&mut watcher).await,
            WatchMessage::Created { .. }
        ));
    }
    let mut stream = client.watch("a").await.expect("in force");
    server.put("a", "1");
    sleep(MOMENT).await;
    client.close(Duration::ZERO).await;
    assert!(matches!(
        message(&mut watcher).await,
        WatchMessage::Notify { .. }
    ));
    for name in names {
        match message(&mut watcher).await {
            WatchMessage::Cancelled { watch, end } => {
                assert_eq!((watch, end), (name, WatchEnd::ClientClosed));
            }
            other => panic!("{other:?}"),
        }
    }
    for watcher in [&mut watcher, &mut idle] {
        match message(watcher).await {
            WatchMessage::Closed(error) => assert_eq!(error.kind(), ErrorKind::Closed),
            other => panic!("{other:?}"),
        }
        for _ in 0..2 {
            assert!(
                timeout(MOMENT, watcher.next())
                    .await
                    .expect("at once")
                    .is_none()
            );
        }
        assert!(watcher.list().is_empty());
    }
    assert_eq!(values(&next(&mut stream).await), ["1"]);
    assert_eq!(stream.try_next().await, Err(WatchEnd::ClientClosed));
    assert_eq!(stream.try_next().await, Ok(None));

    // A later watch is refused, and the watcher does not report the end again.
    let error = watcher.watch("k").await.expect_err("closed");
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(
        timeout(MOMENT, watcher.next())
            .await
            .expect("at once")
            .is_none()
    );
    let mut late = client.watcher();
    assert!(matches!(message(&mut late).await, WatchMessage::Closed(_)));
    assert!(late.next().await.is_none());
    nothing_left(&server).await;
    assert_eq!(client.watches().tasks(), 0);
}

#[test]
fn the_end_of_a_runtime_ends_all_waits() {
    let server = Server::new();
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
    };
    let first = runtime().expect("a runtime");
    let (client, mut watcher, mut stream) = first.block_on(async {
        let client = server.peers().client().await;
        let watcher = client.watcher();
        watcher.watch("k").await.expect("in force");
        let stream = client.watch("k").await.expect("in force");
        (client, watcher, stream)
    });
    drop(first);
    let second = runtime().expect("a runtime");
    second.block_on(async {
        let minute = Duration::from_secs(20);
        let end = timeout(minute, stream.try_next()).await.expect("at once");
        assert_eq!(end, Err(WatchEnd::RuntimeEnded));
        let mut all = Vec::new();
        while let Some(message) = timeout(minute, watcher.next()).await.expect("at once") {
            all.push(message);
        }
        assert!(
            matches!(all.last(), Some(WatchMessage::Closed(_))),
            "{all:?}"
        );
        drop((client, stream, watcher));
    });
}

/// Dropping ten thousand streams takes linear and not quadratic time.
#[tokio::test(start_paused = true)]
async fn ten_thousand_streams_are_dropped_at_once() {
    let server = Server::new();
    let client = server.peers().client().await;
    let starts: Vec<_> = (0..10_000)
        .map(|number| tokio::spawn(client.watch(format!("k{number}"))))
        .collect();
    let mut streams = Vec::new();
    for start in starts {
        streams.push(start.await.expect("no panic").expect("in force"));
    }
    let last = streams.pop();
    drop(streams);
    sleep(MOMENT).await;
    assert_eq!(server.live(), 1);
    drop(last);
    nothing_left(&server).await;
}

#[tokio::test(start_paused = true)]
async fn both_are_streams() {
    async fn one<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
        std::future::poll_fn(|cx| std::pin::Pin::new(&mut *stream).poll_next(cx)).await
    }
    let server = Server::new();
    let client = server.peers().client().await;
    let mut watcher = client.watcher();
    let mut stream = client.watch("k").await.expect("in force");
    watcher.watch("k").await.expect("in force");
    assert!(matches!(
        one(&mut watcher).await,
        Some(WatchMessage::Created { .. })
    ));
    server.put("k", "1");
    assert!(matches!(
        one(&mut watcher).await,
        Some(WatchMessage::Notify { .. })
    ));
    assert_eq!(
        one(&mut stream)
            .await
            .expect("a batch")
            .expect("no end")
            .events
            .len(),
        1
    );
    client.close(Duration::ZERO).await;
    assert_eq!(one(&mut stream).await, Some(Err(WatchEnd::ClientClosed)));
    assert_eq!(one(&mut stream).await, None);
}

/// The future of a watch that is being opened fails when its watcher is dropped.
#[tokio::test(start_paused = true)]
async fn a_watch_that_is_being_opened_ends_with_its_watcher() {
    let server = Server::new();
    let client = server.peers().client().await;
    let keeper = client.watch("other").await.expect("in force");
    server.set_manner(Manner::Silent);
    let watcher = client.watcher();
    let mut opening = Box::pin(watcher.watch("k").no_timeout());
    assert!(timeout(MOMENT, &mut opening).await.is_err());
    drop(watcher);
    let outcome = timeout(Duration::from_secs(60), opening).await;
    let error = outcome
        .expect("in time")
        .expect_err("the watcher was dropped");
    assert_eq!(error.kind(), ErrorKind::Closed);
    drop(keeper);
    nothing_left(&server).await;
}

/// No handle could cancel such a watch.
#[tokio::test(start_paused = true)]
async fn a_watch_is_not_opened_after_its_watcher_is_gone() {
    let server = Server::new();
    let client = server.peers().client().await;
    let keeper = client.watch("other").await.expect("in force");
    let watcher = client.watcher();
    let opening = watcher.watch("k").no_timeout();
    drop(watcher);
    let error = opening.await.expect_err("the watcher was dropped");
    assert_eq!(error.kind(), ErrorKind::Closed);
    sleep(MOMENT).await;
    assert_eq!(server.live(), 1);
    drop(keeper);
    nothing_left(&server).await;
    assert_eq!(client.watches().tasks(), 0);
}
