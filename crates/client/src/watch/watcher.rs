//! Many watches, whose messages one consumer reads.

mod handle;

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, MutexGuard};
use std::task::{Context, Poll};

use futures_core::Stream;

pub use self::handle::WatcherHandle;
use super::backlog::{Backlog, Lag};
use super::driver::WatchCommand;
use super::entry::WatchRef;
use super::inbox::Item;
use super::message::WatchMessage;
use super::pending::{PendingWatch, pending_options, polled_again};
use super::registry::WatchRegistry;
use super::request::Watch;
use super::subscriber::Subscriber;
use crate::call::Scope;
use crate::debug::debug_fields;
use crate::error::Error;
use crate::key::Key;
use crate::mutex::Mutex;

/// The watches of a watcher that were added and have not ended.
type Present = Arc<Mutex<HashMap<WatchRef, (Watch, Arc<Backlog>)>>>;

/// Watches any number of keys and ranges, and gives the messages of all these watches in one place.
///
/// [`Client::watcher`](crate::Client::watcher) returns it. All watches of a client share one stream,
/// also those of other watchers. When the stream is lost, the client resumes each watch where it was,
/// at another endpoint if necessary: no event is left out, comes twice, or comes in the wrong order.
///
/// # Dropping the watcher
/// Its watches are cancelled, on the server too, and calls of its handles fail.
///
/// ```no_run
/// # async fn example(client: etcdex::Client) -> Result<(), etcdex::Error> {
/// use etcdex::WatchMessage;
///
/// let mut watcher = client.watcher();
/// let jobs = watcher.watch("jobs/").prefix().await?;
/// let leader = watcher.watch("leader").prev_kv().await?;
/// while let Some(message) = watcher.next().await {
///     match message {
///         WatchMessage::Notify { watch, batch, .. } if watch == jobs => {
///             println!("{} jobs have changed", batch.events.len());
///         }
///         WatchMessage::Notify { watch, .. } if watch == leader => println!("another leader"),
///         WatchMessage::Cancelled { watch, end, .. } => println!("{watch}: {end}"),
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
///
/// A watcher is a [`Stream`] of its messages; [`next`](Watcher::next) needs no other crate. Other tasks
/// add and cancel its watches with a [`handle`](Watcher::handle).
#[must_use = "a watcher that is dropped watches nothing"]
pub struct Watcher {
    subscriber: Subscriber,
    handle: WatcherHandle,
    present: Present,
}

impl Watcher {
    pub(super) fn new(scope: &Scope, registry: &Arc<WatchRegistry>) -> Self {
        let subscriber = Subscriber::of_many(scope, registry);
        let present = Present::default();
        Self {
            handle: WatcherHandle::new(subscriber.handle(), Arc::clone(&present)),
            subscriber,
            present,
        }
    }

    /// Returns a handle with which other tasks add and cancel watches while one task reads the watcher.
    pub fn handle(&self) -> WatcherHandle {
        self.handle.clone()
    }

    /// Watches a key, or with options a range of keys: see [`Watch`]. Awaiting the returned value waits
    /// until the watch is in force, and returns its name.
    ///
    /// # Errors
    /// [`ErrorKind`](crate::ErrorKind)`::InvalidArgument` for options that make no sense,
    /// `PermissionDenied`, `Timeout` when the watch was not in force within the client's time-out,
    /// `NoLeader` when the reason was that no member sees a leader.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the watch. The watcher can be read while the future waits.
    ///
    /// # Retries
    /// The client tries until the time-out to bring the watch in force.
    pub fn watch(&self, key: impl Into<Key>) -> AddWatch {
        self.add(Watch::new(key))
    }

    /// Watches as a request value says: the same as [`watch`](Self::watch) with its options.
    pub fn add(&self, watch: Watch) -> AddWatch {
        self.handle.add(watch)
    }

    /// Returns the next message, and waits for it without a limit. `None` after
    /// [`WatchMessage::Closed`].
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<WatchMessage> {
        poll_fn(|cx| self.poll_message(cx)).await
    }

    /// Returns the watches that have not ended, with their requests.
    #[must_use]
    pub fn list(&self) -> Vec<(WatchRef, Watch)> {
        self.handle.list()
    }

    /// Cancels a watch. No message of it follows, not even one that has already been received. Returns
    /// whether there was such a watch.
    pub fn cancel(&mut self, watch: WatchRef) -> bool {
        self.handle.cancel(watch)
    }

    /// Cancels all watches, and returns their number.
    pub fn cancel_all(&mut self) -> usize {
        self.handle.cancel_all()
    }

    /// Requests the progress of the watches of this watcher. The answer is a
    /// [`WatchMessage::Progress`] without a watch. Its revision is the store's at the time of this
    /// call, or a later one, and all events up to this revision have been delivered. Each request
    /// has an answer; requests before an answer may share it.
    ///
    /// The answer may have to wait until all watches of the client have caught up, and does not
    /// come while the watcher has no watch. A request costs a read of the store's revision.
    ///
    /// Servers older than 3.4.25 and 3.5.8 can send their answer before events that belong before
    /// it. With these servers the message has the revision of the last events, which may be lower
    /// than the store's, and further messages follow when more events come within ten seconds. No
    /// message comes if no watch has delivered anything. If the user may no longer read the key of
    /// the watch, the client cannot learn the store's revision. The message then has the revision
    /// that the watch's server has shown last. `etcd grpc-proxy` never answers. With it the message
    /// comes when events have reached the revision, or at once if none is missing.
    pub fn request_progress(&self) {
        self.subscriber.request_progress();
    }

    /// Returns how far the consumer is behind with a watch; `None` if there is no such watch.
    #[must_use]
    pub fn lag(&self, watch: WatchRef) -> Option<Lag> {
        self.handle.lag(watch)
    }

    /// Resumes paused watches because their consumer waits, also when the client is at its limits.
    fn grant_paused(&self) {
        for watch in self.subscriber.inbox.demand().take_paused() {
            let present = self.present();
            let backlog = present.get(&watch).map(|(_, backlog)| backlog);
            let goes_on = backlog.is_some_and(|backlog| backlog.grant());
            drop(present);
            if goes_on {
                self.subscriber.send(WatchCommand::Unpause(watch));
            }
        }
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<WatchMessage>> {
        loop {
            let item = self.subscriber.inbox.poll_take(cx);
            if item.is_pending() {
                self.grant_paused();
            }
            let Some(item) = std::task::ready!(item) else {
                return Poll::Ready(None);
            };
            if let Some(message) = self.take(item) {
                return Poll::Ready(Some(message));
            }
        }
    }

    fn take(&self, item: Item) -> Option<WatchMessage> {
        let Item { message, held } = item;
        let watch = message.watch();
        // The watch was cancelled after the message had come.
        if watch.is_some_and(|watch| !self.present().contains_key(&watch)) {
            return None;
        }
        match &message {
            WatchMessage::Notify { batch, watch }
                if held.is_some_and(|held| held.take(batch.revision)) =>
            {
                self.subscriber.send(WatchCommand::Unpause(*watch));
            }
            WatchMessage::Progress {
                watch: Some(watch),
                revision,
                ..
            } => {
                if let Some((_, backlog)) = self.present().get(watch) {
                    backlog.reached(*revision);
                }
            }
            WatchMessage::Cancelled { watch, .. } => {
                self.present().remove(watch);
            }
            _ => {}
        }
        Some(message)
    }

    fn present(&self) -> MutexGuard<'_, HashMap<WatchRef, (Watch, Arc<Backlog>)>> {
        self.present.lock()
    }
}

impl Drop for Watcher {
    // ORDER: the inbox is abandoned before the list is cleared. A handle that adds a watch after the
    // latter sees the abandoned inbox, and takes the watch off the list again.
    fn drop(&mut self) {
        self.subscriber.inbox.abandon();
        self.present().clear();
    }
}

impl Stream for Watcher {
    type Item = WatchMessage;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<WatchMessage>> {
        self.get_mut().poll_message(cx)
    }
}

debug_fields! { Watcher |watcher| { watches: watcher.present().len(), .. } }

/// The future of [`Watcher::watch`], with the options of the watch. Ready when the watch is in force.
#[must_use = "nothing is watched until it is awaited"]
pub struct AddWatch {
    pending: PendingWatch,
    present: Present,
    /// The name of the watch, from the first poll until the watch is in force.
    named: Option<WatchRef>,
}

pending_options! { AddWatch }

impl Future for AddWatch {
    type Output = Result<WatchRef, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.pending.is_over() {
            return Poll::Ready(Err(polled_again()));
        }
        if this.named.is_none() {
            // ORDER: the watch is on the list before a message of it can come.
            let watch = this.pending.name();
            let kept = (this.pending.watch.clone(), this.pending.backlog());
            this.present.lock().insert(watch, kept);
            this.named = Some(watch);
        }
        let in_force = std::task::ready!(this.pending.poll(cx));
        match in_force {
            Ok(_) => Poll::Ready(this.named.take().ok_or_else(polled_again)),
            Err(error) => {
                this.forget();
                Poll::Ready(Err(error))
            }
        }
    }
}

impl AddWatch {
    fn forget(&mut self) {
        if let Some(watch) = self.named.take() {
            self.present.lock().remove(&watch);
            self.pending.purge();
        }
    }
}

impl Drop for AddWatch {
    fn drop(&mut self) {
        self.forget();
    }
}

debug_fields! { AddWatch |add| { watch: add.pending.watch, .. } }
