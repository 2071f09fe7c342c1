//! Many clients for a while: nothing is wrong, and the memory stays level.
//!
//! `ETCDEX_SOAK_SECONDS` makes it another time than three seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use etcdex::{Client, EventKind, WatchStream};
use etcdex_server::Server;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::bounds::memory;
use crate::number;

const CLIENTS: usize = 200;
const DEADLINE: Duration = Duration::from_secs(60);

/// Puts, reads, deletes and leases of one client, which alone writes its key. Returns the number of its
/// changes.
async fn write(client: Client, key: String, is_over: Arc<AtomicBool>) -> usize {
    let lease = client.grant(Duration::from_secs(86_400)).await.unwrap().id;
    let mut changes = 0;
    while !is_over.load(Relaxed) {
        let value = changes.to_string();
        let put = client.put(&key, value.clone()).lease(lease);
        put.timeout(DEADLINE).await.unwrap();
        changes += 1;
        let found = client.get(&key).string().timeout(DEADLINE).await.unwrap();
        assert_eq!(found, Some(value));
        if changes % 10 == 9 {
            let deleted = client.delete(&key).timeout(DEADLINE).await.unwrap();
            assert_eq!(deleted.deleted, 1);
            changes += 1;
        }
    }
    client.revoke(lease).await.unwrap();
    changes
}

/// Checks that a watch tells each change of a key once and in order, until there were this many.
async fn follow(mut stream: WatchStream, changes: tokio::sync::oneshot::Receiver<usize>) {
    let (mut seen, mut revision) = (0, 0);
    let mut changes = Box::pin(changes);
    let mut most = None;
    while most.is_none_or(|most| seen < most) {
        let batch = tokio::select! {
            batch = stream.try_next() => batch.unwrap().expect("it goes on"),
            end = &mut changes, if most.is_none() => {
                most = Some(end.unwrap());
                continue;
            }
        };
        for event in &batch.events {
            assert!(event.kv.mod_revision > revision, "in order");
            revision = event.kv.mod_revision;
            // Each tenth change is a deletion, and so is the last one.
            if event.kind == EventKind::Put {
                assert_eq!(event.kv.value_str().unwrap(), seen.to_string());
            }
            seen += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_are_served_for_a_while_in_level_memory() {
    let server = Server::builder().start().await.unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let (mut writers, mut watches) = (JoinSet::new(), JoinSet::new());
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let client = Client::connect(server.client_url()).await.unwrap();
        let key = format!("soak/{number}");
        let stream = client.watch(&key).await.unwrap();
        clients.push((client, key, stream));
    }
    for (client, key, stream) in clients {
        let (told, changes) = tokio::sync::oneshot::channel();
        let is_over = Arc::clone(&is_over);
        writers.spawn(async move {
            let changes = write(client.clone(), key, is_over).await;
            // The end of the lease deletes the key, if it is there.
            let deletion = usize::from(changes % 10 != 0);
            // The watch may have failed, which is told where it is joined.
            let _ = told.send(changes + deletion);
            changes
        });
        watches.spawn(follow(stream, changes));
    }
    let (mut first, mut most) = (None, 0);
    let length = Duration::from_secs(number("ETCDEX_SOAK_SECONDS").unwrap_or(3));
    let begun = Instant::now();
    let admin = Client::connect(server.client_url()).await.unwrap();
    let mut second = tokio::time::interval(Duration::from_secs(1));
    while begun.elapsed() < length {
        second.tick().await;
        let revision = admin.get("none").await.unwrap().header.revision;
        // It is compacted already, if nothing has changed.
        let _ = admin.compact(revision).await;
        let now = memory().unwrap_or_default();
        if begun.elapsed() > length / 3 {
            first.get_or_insert(now);
            most = most.max(now);
        }
    }
    is_over.store(true, Relaxed);
    let mut changes = 0;
    while let Some(end) = timeout(DEADLINE, writers.join_next()).await.expect("soon") {
        changes += end.unwrap();
    }
    while let Some(end) = timeout(DEADLINE, watches.join_next()).await.expect("soon") {
        end.unwrap();
    }
    let first = first.unwrap_or_default();
    println!("{changes} changes; {first} bytes after a third, at most {most}");
    assert!(most <= first + first / 2, "{first}, then {most}");
}
