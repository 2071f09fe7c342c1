//! Messages that wait for a consumer that does not read.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::server::Server;
use super::{MOMENT, message, next, values};
use crate::WatchMessage;
use crate::watch::Lag;

#[tokio::test(start_paused = true)]
async fn only_the_watch_of_a_slow_consumer_is_paused() {
    let server = Server::new();
    let client = server.peers().client().await;
    let mut slow = client.watch("k").buffer(2_000).await.expect("in force");
    let mut quick = client.watch("k").await.expect("in force");
    let expected: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    for value in &expected {
        server.put("k", value);
        assert_eq!(values(&next(&mut quick).await), [value.as_str()]);
    }
    let lag = slow.lag();
    assert!(
        lag.paused && lag.bytes < 3_000 && lag.events < 20,
        "{lag:?}"
    );
    assert!(lag.revisions > 80, "{lag:?}");
    assert_eq!(
        server.live(),
        1,
        "the slow watch is cancelled at the server"
    );
    let mut seen = Vec::new();
    while seen.len() < expected.len() {
        seen.extend(
            values(&next(&mut slow).await)
                .into_iter()
                .map(str::to_owned),
        );
    }
    assert_eq!(seen, expected);
    assert!(timeout(MOMENT, slow.try_next()).await.is_err());
    assert_eq!(slow.lag(), Lag::default());
    assert_eq!(server.opened(), 1);
}

/// Messages other than events are bounded, too.
#[tokio::test(start_paused = true)]
async fn a_watcher_that_is_not_read_holds_a_bounded_number_of_messages() {
    let server = Server::new();
    let client = server.peers().client().await;
    let mut watcher = client.watcher();
    let one = watcher
        .watch("k")
        .progress_notify()
        .await
        .expect("in force");
    let two = watcher
        .watch("l")
        .progress_notify()
        .await
        .expect("in force");
    for round in 0..1_000 {
        server.state().revision = 11 + round;
        for watch_id in server.ids() {
            let mut progress = super::server::notify(watch_id, 11 + round, &[]);
            progress.watch_id = watch_id;
            server.send(&progress);
        }
        watcher.request_progress();
        if round % 10 == 0 {
            server.end_streams("14", "gone");
            sleep(Duration::from_secs(2)).await;
        }
        sleep(Duration::from_millis(10)).await;
    }
    let mut all = Vec::new();
    while let Ok(Some(message)) = timeout(MOMENT, watcher.next()).await {
        all.push(message);
    }
    assert!(all.len() < 12, "{}", all.len());
    for watch in [one, two] {
        let told = all.iter().filter_map(|message| match message {
            WatchMessage::Progress {
                watch: of,
                revision,
                ..
            } if *of == Some(watch) => Some(*revision),
            _ => None,
        });
        assert_eq!(told.max(), Some(1_010), "the newest progress is delivered");
    }
}

/// Progress never overtakes events.
#[tokio::test(start_paused = true)]
async fn progress_stays_behind_the_events_before_it() {
    let server = Server::new();
    let client = server.peers().client().await;
    let mut watcher = client.watcher();
    watcher
        .watch("k")
        .progress_notify()
        .await
        .expect("in force");
    message(&mut watcher).await;
    let watch_id = server.ids()[0];
    let progress = |revision| super::server::notify(watch_id, revision, &[]);
    server.send(&progress(10));
    for _ in 0..3 {
        let revision = server.put("k", "v");
        server.send(&progress(revision));
        server.send(&progress(revision));
    }
    sleep(MOMENT).await;
    let mut told = Vec::new();
    while let Ok(Some(message)) = timeout(MOMENT, watcher.next()).await {
        told.push(match message {
            WatchMessage::Notify { batch, .. } => ('e', batch.revision),
            WatchMessage::Progress { revision, .. } => ('p', revision),
            other => panic!("{other:?}"),
        });
    }
    let expected = [
        ('p', 10),
        ('e', 11),
        ('p', 11),
        ('e', 12),
        ('p', 12),
        ('e', 13),
        ('p', 13),
    ];
    assert_eq!(told, expected);
}

/// The events of a cancelled stream do not count any more.
#[tokio::test(start_paused = true)]
async fn a_cancel_releases_the_held_events() {
    let server = Server::new();
    let client = server.peers().client().await;
    let mut stream = client.watch("k").await.expect("in force");
    server.put("k", "v");
    sleep(MOMENT).await;
    assert_eq!(stream.lag().events, 1);
    stream.cancel();
    assert_eq!(stream.lag(), Lag::default());
}

/// Events beyond the limit came in the same message as the kept ones: the kept events must not pin
/// them.
#[tokio::test(start_paused = true)]
async fn kept_events_do_not_pin_dropped_events_of_their_message() {
    let server = Server::new();
    let client = server.peers().client().await;
    let mut stream = client.watch("k").buffer(1).await.expect("in force");
    let watch_id = server.ids()[0];
    let entry = |revision| (revision, "k".into(), "value".into());
    let both = [&entry(11), &entry(12)];
    server.send(&super::server::notify(watch_id, 12, &both));
    let mut batch = next(&mut stream).await;
    assert_eq!((batch.revision, batch.events.len()), (11, 1));
    assert!(batch.events.remove(0).kv.value.is_unique());
}

/// A member that lags answers with a lower revision than the delivered one, and its version has no
/// exact progress.
#[tokio::test(start_paused = true)]
async fn the_progress_of_a_stream_does_not_go_back() {
    let server = Server::new();
    server.state().version = Some("3.4.23");
    let client = server.peers().client().await;
    let mut stream = client.watch("k").await.expect("in force");
    server.put("k", "v");
    assert_eq!(next(&mut stream).await.revision, 11);
    // Other keys were written.
    server.state().revision = 20;
    server.state().progress_revision = Some(5);
    stream.request_progress();
    let batch = next(&mut stream).await;
    assert!(batch.is_progress());
    assert_eq!(batch.revision, 11);
}
