//! Watches against a scripted server, in virtual time.

mod auth;
mod bytes;
mod end;
mod handle;
mod inbox;
mod lists;
mod memory;
mod mutations;
mod resume;
pub(super) mod server;
mod serving;
mod start;

use std::time::Duration;

use tokio::time::{sleep, timeout};

use self::server::Server;
use crate::{Batch, WatchMessage, WatchStream, Watcher};

/// Long enough for all pending work to end.
const MOMENT: Duration = Duration::from_millis(300);

async fn next(watch: &mut WatchStream) -> Batch {
    let batch = timeout(Duration::from_secs(60), watch.try_next()).await;
    let batch = batch.expect("in time").expect("no end");
    batch.expect("a batch")
}

async fn message(watcher: &mut Watcher) -> WatchMessage {
    let message = timeout(Duration::from_secs(60), watcher.next()).await;
    message.expect("in time").expect("a message")
}

/// Asserts that no message comes for a while.
async fn silence(watcher: &mut Watcher) {
    if let Ok(message) = timeout(MOMENT, watcher.next()).await {
        panic!("{message:?}");
    }
}

/// Returns the values of the puts of a batch.
fn values(batch: &Batch) -> Vec<&str> {
    let values = batch.events.iter().map(|event| event.kv.value_str());
    values.map(|value| value.expect("text")).collect()
}

/// Waits until the server has neither streams nor watches.
async fn nothing_left(server: &Server) {
    sleep(MOMENT).await;
    assert_eq!((server.open(), server.live()), (0, 0));
}
