//! Creations of watches, and creations that fail.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::super::peer::{poll_once, serve_well};
use super::server::{Manner, Server};
use super::{MOMENT, message, next, nothing_left, silence, values};
use crate::{ErrorKind, Outcome, Watch, WatchMessage};

#[tokio::test(start_paused = true)]
async fn all_handles_share_one_stream_that_asks_for_a_leader() {
    let server = Server::new();
    let client = server.peers().client().await;
    let mut first = client.watch("a").await.expect("in force");
    let watcher = client.clone().watcher();
    watcher.watch("b").await.expect("in force");
    let inside = client.namespace("n/").with_timeout(MOMENT);
    let mut second = inside.watch("").prefix().await.expect("in force");
    assert_eq!((server.opened(), server.live()), (1, 3));
    assert!(server.state().streams[0].wants_leader);

    server.put("a", "1");
    server.put("n/k", "2");
    server.put("n0", "outside");
    assert_eq!(values(&next(&mut first).await), ["1"]);
    let batch = next(&mut second).await;
    assert_eq!(batch.events[0].kv.key, "k", "the namespace is stripped");
    assert_eq!(batch.events.len(), 1);
    {
        let state = server.state();
        let creations = state.streams[0].creations();
        assert_eq!(
            (&creations[2].key[..], &creations[2].range_end[..]),
            (&b"n/\0"[..], &b"n0"[..])
        );
        assert!(
            creations
                .iter()
                .all(|create| create.progress_notify && !create.fragment)
        );
        assert!(creations.iter().all(|create| create.watch_id > 0));
    }
    drop((first, watcher));
    sleep(MOMENT).await;
    assert_eq!((server.open(), server.live()), (1, 1));
    drop(second);
    nothing_left(&server).await;
}

/// A handle that requires no leader has a stream that requires none.
#[tokio::test(start_paused = true)]
async fn a_handle_that_requires_no_leader_has_a_stream_of_its_own() {
    let server = Server::new();
    let client = server.peers().client().await;
    let usual = client.watch("k").await.expect("in force");
    let mut patient = client.require_leader(false).watch("k").await.expect("ok");
    let wanted: Vec<bool> = {
        let state = server.state();
        state.streams.iter().map(|one| one.wants_leader).collect()
    };
    assert_eq!(wanted, [true, false]);
    server.put("k", "v");
    assert_eq!(values(&next(&mut patient).await), ["v"]);
    drop((usual, patient));
    nothing_left(&server).await;
}

/// The messages of one read of the connection share one buffer: a kept small event must not keep
/// the others in memory.
#[tokio::test(start_paused = true)]
async fn events_pin_only_their_own_message() {
    let server = Server::new();
    let client = server.peers().client().await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(client.watch("k").await.expect("in force"));
    }
    server.put("k", "value");
    let mut kept = Vec::new();
    for stream in &mut streams {
        kept.push(next(stream).await.events.remove(0).kv.value);
    }
    assert!(kept.iter().all(bytes::Bytes::is_unique));
}

#[tokio::test(start_paused = true)]
async fn waiting_watches_share_one_range_for_now_and_a_later_watch_sends_another() {
    let server = Server::new();
    let client = server.peers().client().await;
    server.state().holds_ranges = true;
    let watcher = client.watcher();
    let early: Vec<_> = (0..50)
        .map(|number| tokio::spawn(watcher.watch(format!("k{number}")).prefix()))
        .collect();
    sleep(MOMENT).await;
    let late = tokio::spawn(watcher.watch("late").prefix());
    sleep(MOMENT).await;
    assert_eq!(
        server.state().ranges.len(),
        1,
        "the later watch waits for its own Range"
    );
    server.state().revision = 20;
    server.release_ranges();
    for start in early {
        start.await.expect("no panic").expect("in force");
    }
    late.await.expect("no panic").expect("in force");
    let state = server.state();
    assert_eq!(state.ranges.len(), 2);
    for range in &state.ranges {
        // One key: a count of the watched prefix could cost a hundred milliseconds.
        assert!(
            range.range_end.is_empty() && range.count_only && !range.serializable,
            "{range:?}"
        );
    }
    let creations = state.streams[0].creations();
    assert!(creations.iter().all(|create| create.start_revision == 21));
}

#[tokio::test(start_paused = true)]
async fn a_start_that_takes_too_long_leaves_nothing_behind() {
    let server = Server::new();
    let client = server.peers().client().await;
    server.set_manner(Manner::Silent);
    let mut watcher = client.watcher();
    let error = watcher
        .watch("k")
        .timeout(MOMENT)
        .await
        .expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(watcher.list().is_empty());
    nothing_left(&server).await;

    // With another watch, the stream stays open.
    server.set_manner(Manner::Create);
    let kept = watcher.watch("kept").await.expect("in force");
    assert!(
        matches!(message(&mut watcher).await, WatchMessage::Created { watch, .. } if watch == kept)
    );
    server.set_manner(Manner::Silent);
    watcher
        .watch("k")
        .timeout(MOMENT)
        .await
        .expect_err("too long");
    let dropped = timeout(MOMENT, watcher.watch("k")).await;
    assert!(dropped.is_err());
    assert_eq!(watcher.list().len(), 1);
    server.set_manner(Manner::Create);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(server.live(), 1);
    server.put("k", "unwanted");
    server.put("kept", "wanted");
    loop {
        match message(&mut watcher).await {
            WatchMessage::Notify { watch, batch } => {
                assert_eq!((watch, values(&batch)), (kept, vec!["wanted"]));
                break;
            }
            WatchMessage::Disconnected { .. } | WatchMessage::Resumed { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_error_of_a_failed_start_has_the_cause() {
    let server = Server::new();
    let client = server.peers().client().await;
    server.set_manner(Manner::Refuse("14", "etcdserver: no leader"));
    let start = client.watch("k").start_revision(5);
    let error = start.timeout(MOMENT).await.expect_err("there is no leader");
    assert_eq!(error.kind(), ErrorKind::NoLeader);
    assert!(error.to_string().contains("no leader"), "{error}");
    assert_eq!(
        error.endpoint().expect("the endpoint is known").url(),
        "http://one:1"
    );

    // The same if the Range for "now" fails.
    server.state().range_fails = Some(("14", "etcdserver: no leader"));
    let error = client.watch("k").await.expect_err("there is no leader");
    assert_eq!(error.kind(), ErrorKind::NoLeader, "{error}");
    assert_eq!(
        error.endpoint().expect("the endpoint is known").url(),
        "http://one:1"
    );
    assert!(server.state().range_wanted_leader);
    let patient = client.require_leader(false).watch("k").timeout(MOMENT);
    patient.await.expect_err("the script refuses");
    assert!(!server.state().range_wanted_leader);

    server.set_manner(Manner::Create);
    server.state().range_fails = Some(("14", "etcdserver: not enough started members"));
    let error = client.watch("k").await.expect_err("no quorum");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("not enough"), "{error}");
    assert_eq!(
        error.endpoint().expect("the endpoint is known").url(),
        "http://one:1"
    );
    nothing_left(&server).await;

    // An earlier cause is not reported later.
    server.state().range_fails = None;
    server.set_manner(Manner::Silent);
    let error = client
        .watch("k")
        .timeout(MOMENT)
        .await
        .expect_err("silence");
    assert!(!error.to_string().contains("members"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_start_cancels() {
    let server = Server::new();
    let client = server.peers().client().await;
    let kept = client.watch("kept").await.expect("in force");
    let mut start = Box::pin(client.watch("k"));
    assert!(poll_once(&mut start).is_pending());
    drop(start);
    let mut start = client.watch("k");
    assert!(poll_once(&mut start).is_pending());
    // The watch comes into force, and its future is not polled any more.
    sleep(MOMENT).await;
    assert_eq!(server.live(), 2);
    drop(start);
    sleep(MOMENT).await;
    assert_eq!(server.live(), 1);
    drop(kept);
    nothing_left(&server).await;
}

/// A watch that comes into force after its future was dropped is cancelled.
#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_too_late_is_cancelled() {
    let server = Server::new();
    let client = server.peers().client().await;
    let mut kept = client.watch("kept").await.expect("in force");
    server.set_manner(Manner::Silent);
    let start = client.watch("k").timeout(MOMENT).await;
    start.expect_err("the server is silent");
    server.answer_late();
    sleep(MOMENT).await;
    assert_eq!((server.opened(), server.live()), (1, 1));
    server.put("k", "unwanted");
    server.put("kept", "wanted");
    assert_eq!(values(&next(&mut kept).await), ["wanted"]);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_polled_again_is_an_error() {
    let server = Server::new();
    let client = server.peers().client().await;
    let mut watcher = client.watcher();
    let mut add = watcher.watch("k");
    let watch = (&mut add).await.expect("in force");
    let error = (&mut add).await.expect_err("the future was ready");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    drop(add);
    assert_eq!(watcher.list().len(), 1);
    let mut open = client.watch("k");
    let stream = (&mut open).await.expect("in force");
    (&mut open).await.expect_err("the future was ready");
    drop((open, stream));
    let mut refused = client.watch("k").no_put().no_delete();
    for _ in 0..2 {
        let error = (&mut refused).await.expect_err("the options are invalid");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    // The refused future changed nothing of the stream that is in force.
    assert!(matches!(
        message(&mut watcher).await,
        WatchMessage::Created { .. }
    ));
    server.put("k", "1");
    assert!(
        matches!(message(&mut watcher).await, WatchMessage::Notify { watch: of, .. } if of == watch)
    );
    assert!(watcher.cancel(watch));
    nothing_left(&server).await;
}

#[tokio::test(start_paused = true)]
async fn invalid_options_are_refused_without_a_request() {
    let server = Server::new();
    let client = server.peers().client().await;
    for watch in [
        Watch::new(""),
        Watch::new("k").start_revision(-1),
        Watch::new("k").no_put().no_delete(),
        Watch::new("k").range_end("k"),
        Watch::new("k").range_end("a"),
        Watch::new("k").prefix().from_key(),
    ] {
        let watcher = client.watcher();
        let error = watcher
            .add(watch)
            .await
            .expect_err("the options are invalid");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(error.outcome(), Outcome::NotSent);
        assert!(watcher.list().is_empty());
    }
    assert_eq!((server.opened(), server.state().ranges.len()), (0, 0));
}

/// Pipelined: a window of 1,024, so ten round trips and not ten thousand.
#[tokio::test(start_paused = true)]
async fn ten_thousand_watches_are_created_in_few_round_trips() {
    const COUNT: usize = 10_000;
    let server = Server::new();
    server.state().round_trip = Duration::from_millis(10);
    let client = server.peers().client().await;
    let watcher = client.watcher();
    let begun = tokio::time::Instant::now();
    let starts: Vec<_> = (0..COUNT)
        .map(|number| tokio::spawn(watcher.watch(format!("k{number}"))))
        .collect();
    for start in starts {
        start.await.expect("no panic").expect("in force");
    }
    // One by one it would take a hundred seconds.
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!((server.opened(), server.live()), (1, COUNT));
    assert!(server.state().ranges.len() <= 2);
    {
        let state = server.state();
        let mut ids: Vec<i64> = state.streams[0]
            .creations()
            .iter()
            .map(|c| c.watch_id)
            .collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!((ids.len(), ids[0] > 0), (COUNT, true));
    }
    server.end_streams("14", "gone");
    sleep(Duration::from_secs(1)).await;
    assert_eq!((server.opened(), server.live()), (2, COUNT));
    drop(watcher);
    nothing_left(&server).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_with_ids_of_its_own_is_asked_one_by_one() {
    let server = Server::new();
    server.set_manner(Manner::Serial);
    let client = server.peers().client().await;
    let mut watcher = client.watcher();
    let starts: Vec<_> = (0..20)
        .map(|number| tokio::spawn(watcher.watch(format!("k{number}"))))
        .collect();
    let mut names = Vec::new();
    for start in starts {
        names.push(start.await.expect("no panic").expect("in force"));
    }
    assert_eq!((server.opened(), server.live()), (2, 20));
    for (number, name) in names.iter().enumerate() {
        server.put(&format!("k{number}"), "v");
        loop {
            match message(&mut watcher).await {
                WatchMessage::Notify { watch, .. } => break assert_eq!(watch, *name),
                WatchMessage::Created { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
    silence(&mut watcher).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_without_watches_has_its_own_error_kind() {
    let peers = super::super::peer::Peers::one(|_, stream| serve_well(stream));
    let client = peers.client().await;
    let error = client
        .watch("k")
        .timeout(MOMENT)
        .await
        .expect_err("no answer");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let server = Server::new();
    server.set_manner(Manner::Refuse("12", "unknown service etcdserverpb.Watch"));
    let client = server.peers().client().await;
    let error = client
        .watch("k")
        .await
        .expect_err("the server has no watches");
    assert_eq!(error.kind(), ErrorKind::Unimplemented);
}

/// The server would end the stream with all its watches for such a request, at each attempt.
#[tokio::test(start_paused = true)]
async fn a_key_over_the_limit_of_a_request_is_not_sent() {
    let server = Server::new();
    let client = server.peers().client().await;
    for start_revision in [0, 5] {
        let key = vec![b'k'; 3 << 20];
        let watch = client.watch(key).start_revision(start_revision);
        let opening = timeout(Duration::from_secs(60), watch.no_timeout()).await;
        let error = opening
            .expect("in time")
            .expect_err("the request is too large");
        assert_eq!(error.kind(), ErrorKind::MessageTooLarge);
        assert_eq!(error.outcome(), Outcome::NotSent);
    }
    assert_eq!((server.opened(), server.state().ranges.len()), (0, 0));
}
