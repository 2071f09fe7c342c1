//! A handle for other tasks: adds and cancels the watches of a watcher while one task reads.

use std::fmt;
use std::sync::Arc;

use super::{AddWatch, Present, lock};
use crate::error::{Error, ErrorKind};
use crate::key::Key;
use crate::watch::backlog::Lag;
use crate::watch::driver::WatchCommand;
use crate::watch::message::WatchRef;
use crate::watch::request::Watch;
use crate::watch::subscriber::SubscriberHandle;

/// Adds and cancels the watches of a [`Watcher`](crate::Watcher) while another task reads it.
///
/// [`Watcher::handle`](crate::Watcher::handle) makes it. Clones are handles of the same watcher.
/// What the watches tell comes to the watcher, whichever handle has added them.
///
/// # When the watcher is dropped
/// All its watches are cancelled. [`watch`](Self::watch), [`add`](Self::add) and
/// [`request_progress`](Self::request_progress) then fail with
/// [`ErrorKind`](crate::ErrorKind)`::Closed`, also those that are under way; the list is empty,
/// and there is nothing to cancel. The same calls fail after the client was closed.
///
/// A handle does not keep its watcher. Like a clone of the client, it keeps the client's
/// connections.
///
/// ```no_run
/// # async fn example(client: etcdex::Client) -> Result<(), etcdex::Error> {
/// let mut watcher = client.watcher();
/// let handle = watcher.handle();
/// tokio::spawn(async move {
///     while let Some(message) = watcher.next().await {
///         println!("{message:?}");
///     }
/// });
/// let jobs = handle.watch("jobs/").prefix().await?;
/// handle.cancel(jobs);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct WatcherHandle {
    subscriber: SubscriberHandle,
    present: Present,
}

impl WatcherHandle {
    pub(super) fn new(subscriber: SubscriberHandle, present: Present) -> Self {
        Self {
            subscriber,
            present,
        }
    }

    /// Watches a key, or with options a range: see
    /// [`Watcher::watch`](crate::Watcher::watch).
    ///
    /// The watcher may be told of events before this is ready.
    ///
    /// # Errors
    /// Those of [`Watcher::watch`](crate::Watcher::watch), and
    /// [`ErrorKind`](crate::ErrorKind)`::Closed` when the watcher was dropped.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the watch.
    ///
    /// # Retries
    /// It goes on trying until its time-out.
    pub fn watch(&self, key: impl Into<Key>) -> AddWatch {
        self.add(Watch::new(key))
    }

    /// Watches what a request value says: the same as [`watch`](Self::watch) with its options.
    ///
    /// # Errors
    /// # Cancel safety
    /// # Retries
    /// Those of [`watch`](Self::watch).
    pub fn add(&self, watch: Watch) -> AddWatch {
        AddWatch {
            pending: self.subscriber.open(watch),
            present: Arc::clone(&self.present),
            named: None,
        }
    }

    /// The watches that have not ended, with what was asked for.
    #[must_use]
    pub fn list(&self) -> Vec<(WatchRef, Watch)> {
        let present = lock(&self.present);
        let mut all: Vec<_> = present
            .iter()
            .map(|(name, (watch, _))| (*name, watch.clone()))
            .collect();
        drop(present);
        all.sort_unstable_by_key(|(name, _)| *name);
        all
    }

    /// Cancels a watch. Says whether there was one.
    ///
    /// A call of [`Watcher::next`](crate::Watcher::next) that begins after this gives nothing of
    /// it, not even what had come already. The watcher is not told of the cancellation.
    pub fn cancel(&self, watch: WatchRef) -> bool {
        let was = lock(&self.present).remove(&watch).is_some();
        if was {
            self.subscriber.send(WatchCommand::Cancel(watch.0));
            self.subscriber.inbox.purge(|other| other == watch);
        }
        was
    }

    /// Cancels all watches, as [`cancel`](Self::cancel) does; says how many there were.
    pub fn cancel_all(&self) -> usize {
        let all = std::mem::take(&mut *lock(&self.present));
        for watch in all.keys() {
            self.subscriber.send(WatchCommand::Cancel(watch.0));
        }
        self.subscriber
            .inbox
            .purge(|watch| all.contains_key(&watch));
        all.len()
    }

    /// Asks how far the watches of the watcher have come; the watcher is told. See
    /// [`Watcher::request_progress`](crate::Watcher::request_progress).
    ///
    /// # Errors
    /// [`ErrorKind`](crate::ErrorKind)`::Closed` when the watcher was dropped or the client was
    /// closed: the answer would come to no consumer.
    pub fn request_progress(&self) -> Result<(), Error> {
        if let Some(reason) = self.subscriber.inbox.reason() {
            return Err(Error::new(ErrorKind::Closed, reason));
        }
        self.subscriber.request_progress();
        Ok(())
    }

    /// How far a watch is behind; `None` if there is no such watch.
    #[must_use]
    pub fn lag(&self, watch: WatchRef) -> Option<Lag> {
        Some(lock(&self.present).get(&watch)?.1.lag())
    }
}

impl fmt::Debug for WatcherHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatcherHandle")
            .field("watches", &lock(&self.present).len())
            .finish_non_exhaustive()
    }
}
