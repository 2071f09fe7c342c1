//! The consumers of watched lists.

use std::time::Duration;

use etcdex::watch::WatchListMessage;
use etcdex::{Client, Event, EventKind, WatchEnd, WatchList};
use etcdex_testkit::history::{self, Body, End, Message, Query, Recording};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::consumers::FinalHistory;
use super::keys::Keys;
use super::plan::successor;
use crate::clock::Clock;
use crate::store::pair;

/// The prefixes of the lists.
const PREFIXES: [&str; 4] = ["busy/", "crowd/", "lease/", "idle-five/"];
/// Maximum silence at the end of a run while messages are still missing.
const CATCH_UP: Duration = Duration::from_secs(45);

/// Reads lists of a client until the end of the run, and returns the recording of each. Most lists
/// live for some seconds, so that the step from listing to watching comes often.
pub(crate) async fn keep(
    client: Client,
    clock: Clock,
    end: FinalHistory,
    seed: u64,
) -> Vec<Recording> {
    let mut lists = JoinSet::new();
    for (number, prefix) in (0..).zip(PREFIXES) {
        let (client, end) = (client.clone(), end.clone());
        let mut random = fastrand::Rng::with_seed(seed.wrapping_add(number));
        lists.spawn(async move {
            let mut recordings = Vec::new();
            while end.borrow().is_none() {
                // Small pages, so that a listing has several.
                let list = client.watch_list(prefix).page(50);
                let life = Duration::from_millis(random.u64(500..8_000));
                recordings.push(read(prefix, list, life, clock, end.clone()).await);
            }
            recordings
        });
    }
    let mut recordings = Vec::new();
    while let Some(list) = lists.join_next().await {
        recordings.extend(list.unwrap_or_else(|error| panic!("{error}")));
    }
    recordings
}

/// Records a list until its time is over, or until the end of the run.
async fn read(
    prefix: &str,
    mut list: WatchList,
    life: Duration,
    clock: Clock,
    mut final_history: FinalHistory,
) -> Recording {
    let over = Instant::now() + life;
    let mut recording = Recording {
        name: format!("lists/{prefix}"),
        query: Query {
            range_end: Some(successor(prefix).into()),
            ..Query::key(prefix, 0)
        },
        messages: Vec::new(),
    };
    let mut keys = Keys::default();
    let mut push = |body| {
        let at = clock.now();
        recording.messages.push(Message { at, body });
    };
    let mut reached = 0;
    let mut is_synced = false;
    // The last expected revision of the list, and the last revision of the store.
    let mut aim: Option<(i64, i64)> = None;
    let mut deadline = None;
    loop {
        if let Some((last, end)) = aim {
            if is_synced && reached >= last {
                push(Body::Drained { revision: end });
                break;
            }
        }
        tokio::select! {
            message = list.try_next() => match message {
                Ok(Some(message)) => {
                    deadline = aim.map(|_| Instant::now() + CATCH_UP);
                    match &message {
                        WatchListMessage::Changes { revision, .. } if is_synced => reached = *revision,
                        WatchListMessage::Synced { revision, .. } => {
                            (is_synced, reached) = (true, *revision);
                        }
                        WatchListMessage::Resync { .. } => is_synced = false,
                        _ => {}
                    }
                    push(body(message, &mut keys));
                }
                Ok(None) => break,
                Err(error) => {
                    push(Body::Ended(End::Other(error.to_string())));
                    break;
                }
            },
            _ = final_history.changed(), if aim.is_none() => {
                let history = final_history.borrow().clone();
                let Some(history) = history else { break };
                let query = Query {
                    range_end: Some(successor(prefix).into()),
                    ..Query::key(prefix, 0)
                };
                let last = history.expected(&query).last().map_or(0, |event| event.revision());
                aim = Some((last, history.revision()));
                deadline = Some(Instant::now() + CATCH_UP);
            }
            () = sleep_until(over), if aim.is_none() => break,
            () = until(deadline) => {
                push(Body::Drained { revision: aim.map_or(0, |(_, end)| end) });
                break;
            }
        }
    }
    recording
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn body(message: WatchListMessage, keys: &mut Keys) -> Body {
    match message {
        WatchListMessage::Changes {
            revision, events, ..
        } => Body::Batch {
            header: 0,
            revision,
            events: events.iter().map(|one| event(one, keys)).collect(),
        },
        WatchListMessage::Synced { revision, .. } => Body::Synced { revision },
        WatchListMessage::Resync { cause, .. } => Body::Resync(match cause {
            WatchEnd::Compacted { revision, .. } => End::Compacted { revision },
            other => End::Other(other.to_string()),
        }),
        other => Body::Ended(End::Other(format!("{other:?}"))),
    }
}

fn event(event: &Event, keys: &mut Keys) -> history::Event {
    history::Event {
        kind: match event.kind {
            EventKind::Delete => history::EventKind::Delete,
            _ => history::EventKind::Put,
        },
        key: keys.text(&event.kv.key),
        pair: pair(&event.kv),
        prev: None,
    }
}
