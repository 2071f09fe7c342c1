//! Events that a client holds and its consumers do not read: one limit for all watches.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::server::Server;
use super::{MOMENT, next, values};
use crate::{Client, WatchLimits, WatchMessage, WatchStream};

const LIMIT: usize = 100_000;
const WATCHES: usize = 40;
const PUTS: usize = 60;

async fn client(server: &Server) -> Client {
    let limits = WatchLimits {
        client_bytes: LIMIT,
        ..WatchLimits::default()
    };
    let builder = server.peers().builder().watch_limits(limits);
    builder.connect().await.expect("the client connects")
}

/// Puts values of two kilobytes, all different.
fn put_all(server: &Server) -> Vec<String> {
    let values: Vec<_> = (0..PUTS).map(|number| format!("{number:02000}")).collect();
    for value in &values {
        server.put("k", value);
    }
    values
}

async fn read(stream: &mut WatchStream) -> Vec<String> {
    let mut seen = Vec::new();
    while seen.len() < PUTS {
        let batch = next(stream).await;
        seen.extend(values(&batch).into_iter().map(str::to_owned));
    }
    seen
}

/// Without a common limit the watches would hold 40 times 130 kilobytes.
#[tokio::test(start_paused = true)]
async fn watches_that_are_not_read_stay_within_the_clients_limit() {
    let server = Server::new();
    let client = client(&server).await;
    let mut streams = Vec::new();
    for number in 0..WATCHES {
        // Half of them catch up with a history, half of them are live.
        if number == WATCHES / 2 {
            put_all(&server);
        }
        let watch = client.watch("k").start_revision(11);
        streams.push(watch.await.expect("in force"));
    }
    sleep(Duration::from_secs(30)).await;
    let held = client.watches().budget().held();
    assert!((LIMIT / 2..LIMIT).contains(&held), "{held}");
    let lag = |stream: &WatchStream| stream.lag().bytes;
    let counted: usize = streams.iter().map(lag).sum();
    assert_eq!(held, counted, "the limit counts what the watches hold");
    // Each watch still gets all events, while the others are not read.
    let expected: Vec<_> = (0..PUTS).map(|number| format!("{number:02000}")).collect();
    for stream in [0, 1, WATCHES - 1] {
        assert_eq!(read(&mut streams[stream]).await, expected, "{stream}");
        // A watch whose consumer waits may take one revision: only the last consumer waits.
        let held = client.watches().budget().held();
        assert!(held < LIMIT + 3_000, "{held}");
    }
    drop(streams);
    sleep(MOMENT).await;
    assert_eq!(client.watches().budget().held(), 0);
}

/// All watches of a watcher go on when its consumer waits, not only the one with the newest
/// message.
#[tokio::test(start_paused = true)]
async fn a_watcher_that_is_read_goes_on_in_a_full_client() {
    let server = Server::new();
    let client = client(&server).await;
    let unread = client.watch("k").await.expect("in force");
    put_all(&server);
    sleep(MOMENT).await;
    assert!(unread.lag().paused);
    let mut watcher = client.watcher();
    for _ in 0..10 {
        let watch = watcher.watch("k").start_revision(11);
        watch.await.expect("in force");
    }
    let mut seen = std::collections::HashMap::new();
    while let Ok(message) = timeout(Duration::from_secs(20), watcher.next()).await {
        if let Some(WatchMessage::Notify { watch, batch }) = message {
            *seen.entry(watch).or_insert(0) += batch.events.len();
        }
        let held = client.watches().budget().held();
        assert!(held < LIMIT + 10 * 3_000, "{held}");
    }
    assert!(
        seen.len() == 10 && seen.values().all(|count| *count == PUTS),
        "{seen:?}"
    );
    drop(unread);
}
