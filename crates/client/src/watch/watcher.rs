//! Many watches with one inbox.

mod handle;

use std::collections::HashMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_core::Stream;

pub use self::handle::WatcherHandle;
use super::backlog::{Backlog, Lag};
use super::driver::WatchCommand;
use super::inbox::Item;
use super::message::{WatchMessage, WatchRef};
use super::pending::{PendingWatch, pending_options, polled_again};
use super::registry::WatchRegistry;
use super::request::Watch;
use super::subscriber::Subscriber;
use crate::call::Scope;
use crate::error::Error;
use crate::key::Key;

/// The watches of a watcher that were asked for and have not ended.
type Present = Arc<Mutex<HashMap<WatchRef, (Watch, Arc<Backlog>)>>>;

/// Watches any number of keys and ranges, and is told of all of them in one place.
///
/// [`Client::watcher`](crate::Client::watcher) makes it. All watches of a client share one
/// stream, whoever's they are. When that is lost they go on where they were, at another endpoint
/// if need be: nothing is left out, nothing comes twice, nothing in the wrong order.
///
/// # Dropping it
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
/// It is a [`Stream`] of its messages, and [`next`](Watcher::next) needs no other crate. Other
/// tasks add and cancel its watches by a [`handle`](Watcher::handle).
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

    /// A handle by which other tasks add and cancel watches while this is read.
    pub fn handle(&self) -> WatcherHandle {
        self.handle.clone()
    }

    /// Watches a key, or with options a range: see [`Watch`]. Awaiting it waits until the watch
    /// is in force, and gives its name.
    ///
    /// # Errors
    /// [`ErrorKind`](crate::ErrorKind)`::InvalidArgument` for options that make no sense,
    /// `PermissionDenied`, `Timeout` when it was not in force within the client's time-out,
    /// `NoLeader` when the reason was that no member sees a leader.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the watch. It does not keep the watcher from being read.
    ///
    /// # Retries
    /// It goes on trying until its time-out.
    pub fn watch(&self, key: impl Into<Key>) -> AddWatch {
        self.add(Watch::new(key))
    }

    /// The same for a request value.
    pub fn add(&self, watch: Watch) -> AddWatch {
        self.handle.add(watch)
    }

    /// The next message; it waits for as long as it takes. `None` when the client is gone, after
    /// [`WatchMessage::Closed`].
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<WatchMessage> {
        poll_fn(|cx| self.poll_message(cx)).await
    }

    /// The watches that have not ended, with what was asked for.
    #[must_use]
    pub fn list(&self) -> Vec<(WatchRef, Watch)> {
        self.handle.list()
    }

    /// Cancels a watch; from now on nothing comes of it, also not what has come already. Says
    /// whether there was one.
    pub fn cancel(&mut self, watch: WatchRef) -> bool {
        self.handle.cancel(watch)
    }

    /// Cancels all watches; says how many there were.
    pub fn cancel_all(&mut self) -> usize {
        self.handle.cancel_all()
    }

    /// Asks how far the watches of this watcher have come. The answer is a
    /// [`WatchMessage::Progress`] without a watch, with a revision that the store had when this
    /// was called, or a later one: up to it, everything has been delivered. Each request has an
    /// answer; requests that are made before an answer may share one.
    ///
    /// The answer may take until all watches of the client have caught up, and nothing comes
    /// while there is no watch. It costs a read of the store's revision.
    ///
    /// Servers older than 3.4.25 and 3.5.8 can overtake events with their answer. Behind these
    /// the answer says how far the events have come, which may be less than was asked for; it is
    /// told again when more have come within ten seconds. `etcd grpc-proxy` never answers. Behind
    /// it the answer comes when events have come so far, or at once where nothing is missing.
    pub fn request_progress(&self) {
        self.subscriber.request_progress();
    }

    /// How far a watch is behind; `None` if there is no such watch.
    #[must_use]
    pub fn lag(&self, watch: WatchRef) -> Option<Lag> {
        self.handle.lag(watch)
    }

    /// The consumer waits: watches that were paused go on, also when the client is full.
    fn wait(&self) {
        for number in self.subscriber.inbox.demand().take_paused() {
            let present = self.present();
            let backlog = present.get(&WatchRef(number)).map(|(_, backlog)| backlog);
            let goes_on = backlog.is_some_and(|backlog| backlog.grant());
            drop(present);
            if goes_on {
                self.subscriber.send(WatchCommand::Resume(number));
            }
        }
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<WatchMessage>> {
        loop {
            let item = self.subscriber.inbox.poll_take(cx);
            if item.is_pending() {
                self.wait();
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
        // What was on its way when its watch was cancelled.
        if watch.is_some_and(|watch| !self.present().contains_key(&watch)) {
            return None;
        }
        match &message {
            WatchMessage::Notify { batch, watch }
                if held.is_some_and(|held| held.take(batch.revision)) =>
            {
                self.subscriber.send(WatchCommand::Resume(watch.0));
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
        lock(&self.present)
    }
}

impl Drop for Watcher {
    // ORDER: the inbox is over before the list is cleared: a handle that adds a watch after that
    // sees it, and takes the watch off the list again.
    fn drop(&mut self) {
        self.subscriber.inbox.abandon();
        self.present().clear();
    }
}

/// Nothing that panics leaves it half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stream for Watcher {
    type Item = WatchMessage;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<WatchMessage>> {
        self.get_mut().poll_message(cx)
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher")
            .field("watches", &self.present().len())
            .finish_non_exhaustive()
    }
}

/// A watch that is to be added to a [`Watcher`]: awaiting it waits until it is in force.
#[must_use = "nothing is watched until it is awaited"]
pub struct AddWatch {
    pending: PendingWatch,
    present: Present,
    /// Its name, while it is not in force.
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
            // ORDER: it is on the list before anything can come of it.
            let watch = this.pending.name();
            let kept = (this.pending.watch.clone(), this.pending.backlog());
            lock(&this.present).insert(watch, kept);
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
            lock(&self.present).remove(&watch);
            self.pending.purge();
        }
    }
}

impl Drop for AddWatch {
    fn drop(&mut self) {
        self.forget();
    }
}

impl fmt::Debug for AddWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddWatch")
            .field("watch", &self.pending.watch)
            .finish_non_exhaustive()
    }
}
