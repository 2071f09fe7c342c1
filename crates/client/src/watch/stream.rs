//! One watch, as a stream of its batches.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use super::backlog::{Backlog, Lag};
use super::driver::WatchCommand;
use super::end::WatchEnd;
use super::entry::WatchRef;
use super::event::Batch;
use super::inbox::Item;
use super::message::WatchMessage;
use super::pending::{PendingWatch, pending_options, polled_again};
use super::registry::WatchRegistry;
use super::request::Watch;
use super::subscriber::Subscriber;
use crate::call::Scope;
use crate::debug::debug_fields;
use crate::error::Error;

/// One watch: a stream of the changes of a key or a range.
///
/// [`Client::watch`](crate::Client::watch) returns it. The watch survives the loss of connections,
/// members and leaders without a gap. Use a [`Watcher`](crate::Watcher) to read many watches in one
/// place, and to see reconnects.
///
/// # Dropping the stream
/// The watch is cancelled, on the server too.
///
/// ```no_run
/// # async fn example(client: etcdex::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let mut changes = client.watch("jobs/").prefix().await?;
/// while let Some(batch) = changes.try_next().await? {
///     for event in batch.events {
///         println!("{:?} at {}", event.kind, event.kv.mod_revision);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "a watch that is dropped watches nothing"]
pub struct WatchStream {
    subscriber: Subscriber,
    watch: WatchRef,
    backlog: Arc<Backlog>,
    start_revision: i64,
    over: bool,
}

impl WatchStream {
    /// Returns the next batch, and waits for it without a limit. `None` after
    /// [`cancel`](Self::cancel), and after the error.
    ///
    /// A batch without events is a progress notification: `revision` says how far the watch has come.
    /// These come if the watch has the option
    /// [`progress_notify`](crate::Watch::progress_notify), and after
    /// [`request_progress`](Self::request_progress).
    ///
    /// # Errors
    /// The reason for the end of the watch, once.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn try_next(&mut self) -> Result<Option<Batch>, WatchEnd> {
        poll_fn(|cx| self.poll_batch(cx)).await.transpose()
    }

    /// Returns the first revision that the watch delivers: the requested one, or else one more than the
    /// store's revision at the time of the request.
    #[must_use]
    pub fn start_revision(&self) -> i64 {
        self.start_revision
    }

    /// Returns how far the consumer is behind.
    #[must_use]
    pub fn lag(&self) -> Lag {
        self.backlog.lag()
    }

    /// Requests a progress notification: see
    /// [`Watcher::request_progress`](crate::Watcher::request_progress).
    pub fn request_progress(&self) {
        self.subscriber.request_progress();
    }

    /// Cancels the watch, on the server too. No batch follows.
    pub fn cancel(&mut self) {
        if !std::mem::replace(&mut self.over, true) {
            self.subscriber.send(WatchCommand::Cancel(self.watch));
            self.subscriber.inbox.purge(|_| true);
        }
    }

    /// Resumes a paused watch because its consumer waits, also when the client is at its limits.
    fn grant_paused(&self) {
        let paused = self.subscriber.inbox.demand().take_paused();
        if paused.contains(&self.watch) && self.backlog.grant() {
            self.subscriber.send(WatchCommand::Unpause(self.watch));
        }
    }

    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Batch, WatchEnd>>> {
        while !self.over {
            let item = self.subscriber.inbox.poll_take(cx);
            if item.is_pending() {
                self.grant_paused();
            }
            let Some(Item { message, held }) = ready!(item) else {
                self.over = true;
                return Poll::Ready(Some(Err(self.subscriber.inbox.ending())));
            };
            match message {
                WatchMessage::Notify { batch, .. } => {
                    if held.is_some_and(|held| held.take(batch.revision)) {
                        self.subscriber.send(WatchCommand::Unpause(self.watch));
                    }
                    return Poll::Ready(Some(Ok(batch)));
                }
                WatchMessage::Progress {
                    revision, header, ..
                } => {
                    let batch = Batch {
                        header,
                        // A member that lags sends a lower revision than was delivered.
                        revision: self.backlog.reached(revision),
                        ..Batch::default()
                    };
                    return Poll::Ready(Some(Ok(batch)));
                }
                WatchMessage::Cancelled { end, .. } => {
                    self.over = true;
                    return Poll::Ready(Some(Err(end)));
                }
                WatchMessage::Created { .. }
                | WatchMessage::Closed(_)
                | WatchMessage::Disconnected { .. }
                | WatchMessage::Resumed { .. } => {}
            }
        }
        Poll::Ready(None)
    }
}

impl Stream for WatchStream {
    type Item = Result<Batch, WatchEnd>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_batch(cx)
    }
}

impl Drop for WatchStream {
    // ORDER: the watch is cancelled before the task removes its owner. The removal then finds no watch,
    // and does not search all watches of the client.
    fn drop(&mut self) {
        self.cancel();
    }
}

debug_fields! { WatchStream |stream| {
    start_revision: stream.start_revision, lag: stream.lag(), ..
} }

/// The future of [`Client::watch`](crate::Client::watch), with the options of the watch. Ready when the
/// watch is in force.
#[must_use = "nothing is watched until it is awaited"]
pub struct OpenWatch {
    pending: PendingWatch,
    subscriber: Option<Subscriber>,
}

pending_options! { OpenWatch }

impl OpenWatch {
    pub(super) fn new(scope: &Scope, registry: &Arc<WatchRegistry>, watch: Watch) -> Self {
        let subscriber = Subscriber::of_one(scope, registry);
        Self {
            pending: subscriber.open(watch),
            subscriber: Some(subscriber),
        }
    }
}

impl Future for OpenWatch {
    type Output = Result<WatchStream, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let start_revision = match ready!(this.pending.poll(cx)) {
            Ok(revision) => revision,
            Err(error) => return Poll::Ready(Err(error)),
        };
        let Some(subscriber) = this.subscriber.take() else {
            return Poll::Ready(Err(polled_again()));
        };
        Poll::Ready(Ok(WatchStream {
            subscriber,
            watch: this.pending.name(),
            backlog: this.pending.backlog(),
            start_revision,
            over: false,
        }))
    }
}

debug_fields! { OpenWatch |open| { watch: open.pending.watch, .. } }
