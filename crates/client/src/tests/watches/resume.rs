//! Watches after the loss of their stream.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::super::peer::Peers;
use super::server::{Manner, Server, notify};
use super::{MOMENT, message, next, silence, values};
use crate::WatchMessage;

/// Statuses with which a stream may end. Its watches go on after each.
const ENDINGS: [(&str, &str); 10] = [
    ("0", ""),
    ("1", "context canceled"),
    ("2", "an unknown error"),
    ("7", "etcdserver: permission denied"),
    ("8", "grpc: received message larger than max (5 vs. 4)"),
    ("13", "stream terminated by RST_STREAM"),
    ("14", "transport is closing"),
    ("14", "etcdserver: no leader"),
    ("15", "data loss"),
    ("16", "etcdserver: invalid auth token"),
];

#[tokio::test(start_paused = true)]
async fn no_end_of_a_stream_ends_a_watch() {
    for (status, text) in ENDINGS {
        let server = Server::new();
        let client = server.peers().client().await;
        let mut watcher = client.watcher();
        let watch = watcher.watch("k").await.expect("in force");
        assert!(matches!(
            message(&mut watcher).await,
            WatchMessage::Created { .. }
        ));
        for round in 0..3 {
            server.put("k", "before");
            assert!(matches!(
                message(&mut watcher).await,
                WatchMessage::Notify { .. }
            ));
            server.end_streams(status, text);
            // A consumer that does not read meanwhile gets the messages later, also for an idle
            // watch.
            server.put("k", "gap");
            match message(&mut watcher).await {
                WatchMessage::Disconnected { error, .. } => {
                    assert!(error.to_string().contains(text), "{error}");
                }
                other => panic!("{status} {text}: {other:?}"),
            }
            assert!(matches!(
                message(&mut watcher).await,
                WatchMessage::Resumed { .. }
            ));
            match message(&mut watcher).await {
                WatchMessage::Notify { watch: of, batch } => {
                    assert_eq!(
                        (of, values(&batch)),
                        (watch, vec!["gap"]),
                        "{status} {round}"
                    );
                }
                other => panic!("{other:?}"),
            }
            silence(&mut watcher).await;
            assert_eq!(server.open(), 1);
        }
    }
}

/// EtcdEx, which etcdex descends from, had this bug: it resumed after the header's revision.
#[tokio::test(start_paused = true)]
async fn a_watch_never_resumes_from_the_header_of_events() {
    let server = Server::new();
    let client = server.peers().client().await;
    let mut stream = client.watch("k").await.expect("in force");
    let watch_id = server.ids()[0];
    // A batch of a watch that is catching up: its header has the current revision.
    let event = (11, "k".into(), "1".into());
    server.send(&notify(watch_id, 5_000, &[&event]));
    assert_eq!(next(&mut stream).await.revision, 11);
    server.end_streams("14", "gone");
    sleep(MOMENT).await;
    let state = server.state();
    assert_eq!(state.streams[1].creations()[0].start_revision, 12);
}

/// EtcdEx had this bug: it took a broadcast progress for an unknown watch and cancelled it.
#[tokio::test(start_paused = true)]
async fn a_broadcast_progress_cancels_nothing() {
    let server = Server::new();
    let client = server.peers().client().await;
    let mut watcher = client.watcher();
    let watch = watcher.watch("k").await.expect("in force");
    message(&mut watcher).await;
    watcher.request_progress();
    match message(&mut watcher).await {
        WatchMessage::Progress {
            watch: None,
            revision,
            ..
        } => assert_eq!(revision, 10),
        other => panic!("{other:?}"),
    }
    sleep(MOMENT).await;
    assert!(server.state().streams[0].cancels().is_empty());
    server.put("k", "v");
    assert_eq!(message(&mut watcher).await.watch(), Some(watch));
}

/// EtcdEx had this bug: the end of a stream by the server crashed the process.
#[tokio::test(start_paused = true)]
async fn streams_to_a_server_that_ends_them_at_once_have_pauses() {
    for manner in [
        Manner::Refuse("14", "etcdserver: no leader"),
        Manner::Refuse("0", ""),
        Manner::Refuse("7", "etcdserver: permission denied"),
        Manner::Refuse("8", "too much"),
    ] {
        let server = Server::new();
        let peers = server.peers();
        let client = peers.client().await;
        let mut watcher = client.watcher();
        watcher.watch("k").await.expect("in force");
        server.set_manner(manner);
        server.end_streams("14", "gone");
        sleep(Duration::from_secs(100)).await;
        let opened = server.opened();
        // The pauses are half a second to a second: neither a busy loop nor a long silence.
        assert!((80..=250).contains(&opened), "{manner:?}: {opened}");
        let connections = peers.connections("http://one:1");
        assert!(connections <= opened + 2, "{connections}");
        server.put("k", "gap");
        server.set_manner(Manner::Create);
        let seen = loop {
            match message(&mut watcher).await {
                WatchMessage::Notify { batch, .. } => break batch.events.len(),
                WatchMessage::Cancelled { end, .. } => panic!("{end}"),
                _ => {}
            }
        };
        assert_eq!(seen, 1);
        silence(&mut watcher).await;
    }
}

fn two(servers: &[Server; 2]) -> Peers {
    let [one, two] = servers.clone();
    Peers::one(move |_, stream| one.clone().serve(stream))
        .and("http://two:1", move |_, stream| two.clone().serve(stream))
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_silent_or_without_a_leader_is_left() {
    for (manner, limit) in [
        (Manner::Refuse("14", "etcdserver: no leader"), 1),
        // Five seconds without an answer.
        (Manner::Silent, 7),
    ] {
        let servers = [Server::new(), Server::new()];
        let client = two(&servers).client().await;
        let mut stream = client.watch("k").await.expect("in force");
        let used = servers
            .iter()
            .position(|server| server.live() == 1)
            .expect("one");
        servers[used].set_manner(manner);
        servers[used].end_streams("14", "etcdserver: no leader");
        sleep(Duration::from_secs(limit)).await;
        let other = &servers[1 - used];
        assert_eq!((servers[used].live(), other.live()), (0, 1), "{manner:?}");
        assert!(other.state().streams[0].wants_leader);
        other.put("k", "v");
        assert_eq!(values(&next(&mut stream).await), ["v"]);
        assert_eq!(servers[used].open(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_moves_on_from_a_member_that_does_not_answer() {
    let servers = [Server::new(), Server::new()];
    let client = two(&servers).client().await;
    servers
        .iter()
        .for_each(|server| server.set_manner(Manner::Silent));
    let start = tokio::spawn(client.watch("k").timeout(Duration::from_secs(30)));
    sleep(Duration::from_secs(1)).await;
    let used = servers
        .iter()
        .position(|server| server.opened() == 1)
        .expect("one");
    servers[1 - used].set_manner(Manner::Create);
    let begun = tokio::time::Instant::now();
    let _stream = start.await.expect("no panic").expect("in force");
    assert!(
        begun.elapsed() < Duration::from_secs(6),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!((servers[used].open(), servers[1 - used].live()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn another_cluster_ends_the_watches() {
    let server = Server::new();
    let client = server.peers().client().await;
    let mut stream = client.watch("k").await.expect("in force");
    let watch_id = server.ids()[0];
    let event = (11, "k".into(), "1".into());
    let mut foreign = notify(watch_id, 11, &[&event]);
    foreign.header = foreign
        .header
        .map(|header| etcdex_proto::etcdserverpb::ResponseHeader {
            cluster_id: 8,
            ..header
        });
    server.send(&foreign);
    assert_eq!(
        stream.try_next().await,
        Err(crate::WatchEnd::ClusterChanged)
    );
    super::nothing_left(&server).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_has_gone_back_ends_the_watches() {
    let server = Server::new();
    let client = server.peers().client().await;
    let mut stream = client.watch("k").await.expect("in force");
    for _ in 0..5 {
        server.put("k", "v");
        next(&mut stream).await;
    }
    server.state().revision = 12;
    server.end_streams("14", "gone");
    let end = timeout(Duration::from_secs(9), stream.try_next())
        .await
        .expect("soon");
    assert_eq!(
        end,
        Err(crate::WatchEnd::RolledBack {
            watched: 15,
            store: 12
        })
    );
}

/// A revision over the limit ends only its watch.
#[tokio::test(start_paused = true)]
async fn one_revision_over_the_limit_ends_its_watch() {
    let server = Server::new();
    let limits = crate::WatchLimits {
        revision_bytes: 10_000,
        ..crate::WatchLimits::default()
    };
    let client = server
        .peers()
        .builder()
        .watch_limits(limits)
        .connect()
        .await
        .expect("the client connects");
    let mut one = client.watch("one").await.expect("in force");
    let mut two = client.watch("two").await.expect("in force");
    server.put("one", "before");
    let large = server.put("one", &"x".repeat(20_000));
    server.put("two", "v");
    assert_eq!(values(&next(&mut one).await), ["before"]);
    assert_eq!(
        one.try_next().await,
        Err(crate::WatchEnd::TooLarge { revision: large })
    );
    assert_eq!(values(&next(&mut two).await), ["v"]);
    assert_eq!((server.opened(), server.live()), (1, 1));
}

/// For a message over the client's receive limit, the client cannot tell its watch.
#[tokio::test(start_paused = true)]
async fn a_message_over_the_transports_limit_ends_in_a_reason() {
    let server = Server::new();
    let limits = crate::WatchLimits {
        revision_bytes: 10_000,
        ..crate::WatchLimits::default()
    };
    let builder = server
        .peers()
        .builder()
        .watch_limits(limits)
        .max_receive_size(10_000);
    let client = builder.connect().await.expect("the client connects");
    let mut stream = client.watch("k").fragment(false).await.expect("in force");
    server.put("k", &"x".repeat(20_000));
    let end = timeout(Duration::from_secs(60), stream.try_next())
        .await
        .expect("soon");
    assert!(
        matches!(end, Err(crate::WatchEnd::Cancelled { .. })),
        "{end:?}"
    );
    assert!(server.opened() <= 4, "{}", server.opened());
    let state = server.state();
    assert!(state.streams.last().expect("one").creations()[0].fragment);
}

/// Messages and revisions have separate limits, and either may be the larger one.
#[tokio::test(start_paused = true)]
async fn messages_and_revisions_have_limits_of_their_own() {
    let server = Server::new();
    let builder = server.peers().builder().max_receive_size(10_000);
    let client = builder.connect().await.expect("the client connects");
    let mut stream = client.watch("k").await.expect("in force");
    let watch_id = server.ids()[0];
    let value = "x".repeat(8_000);
    server.state().revision = 11;
    let entry = (11, "k".into(), value.clone().into());
    for more in [true, true, false] {
        let mut piece = notify(watch_id, 11, &[&entry]);
        piece.fragment = more;
        server.send(&piece);
    }
    assert_eq!(values(&next(&mut stream).await), [value.as_str(); 3]);
    server.put("k", &"x".repeat(20_000));
    let end = timeout(Duration::from_secs(60), stream.try_next()).await;
    let end = end.expect("soon").expect_err("the message is too large");
    assert!(
        end.to_string().contains("max_receive_size"),
        "the error names the setting: {end}"
    );
}

/// The client sends cancels even while a server sends without a pause.
#[tokio::test]
async fn requests_are_sent_while_the_server_floods_the_stream() {
    let server = Server::new();
    let client = server.peers().client().await;
    let stream = client.watch("k").await.expect("in force");
    let kept = client.watch("other").await.expect("in force");
    let flood = {
        let server = server.clone();
        tokio::spawn(async move {
            for _ in 0..200 {
                for _ in 0..50 {
                    server.put("k", "v");
                }
                tokio::task::yield_now().await;
            }
        })
    };
    drop(stream);
    flood.await.expect("no panic");
    sleep(MOMENT).await;
    assert_eq!(server.live(), 1);
    drop(kept);
}
