//! A watch that begins after the last write.

use std::io;
use std::time::Duration;

use etcdex::{Watch, WatchMessage};
use etcdex_testkit::history::{Body, End, Message, Query, Recording};
use tokio::time::{Instant, interval, sleep_until};

use crate::clock::Clock;
use crate::setup::Setup;

/// How long the answer may take: a little longer than the checker allows.
const ANSWER: Duration = Duration::from_secs(32);

/// Requests progress of one new watch of a new client, until the answer comes or the time is over.
/// The store is at `revision` and stays there.
pub(super) async fn ask(setup: &Setup, clock: Clock, revision: i64) -> io::Result<Recording> {
    let mut recording = Recording {
        name: "quiet/*".to_owned(),
        query: Query::key("", 0),
        messages: Vec::new(),
    };
    let mut push = |body| {
        let at = clock.now();
        recording.messages.push(Message { at, body });
    };
    let way = setup.way("quiet", true).await?;
    let client = setup.client(&way).map_err(io::Error::other)?;
    let mut watcher = client.watcher();
    let watch = watcher.add(Watch::new("idle-six/").prefix());
    watch.await.map_err(io::Error::other)?;
    let deadline = Instant::now() + ANSWER;
    let mut again = interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = again.tick() => {
                push(Body::Requested);
                watcher.request_progress();
            }
            message = watcher.next() => match message {
                Some(WatchMessage::Progress { revision, .. }) => {
                    push(Body::Progress { revision });
                    break;
                }
                Some(WatchMessage::Created { .. }) => {}
                // There are no more faults, but a client may still reconnect.
                Some(WatchMessage::Disconnected { .. }) => push(Body::Disconnected),
                Some(WatchMessage::Resumed { .. }) => push(Body::Resumed),
                other => push(Body::Ended(End::Other(format!("unexpected {other:?}")))),
            },
            () = sleep_until(deadline) => break,
        }
    }
    push(Body::Drained { revision });
    Ok(recording)
}
