//! A handle with which other tasks add and cancel the watches of a watcher.

use std::sync::Arc;

use super::{AddWatch, Present};
use crate::debug::debug_fields;
use crate::error::{Error, ErrorKind};
use crate::key::Key;
use crate::watch::backlog::Lag;
use crate::watch::driver::WatchCommand;
use crate::watch::entry::WatchRef;
use crate::watch::request::Watch;
use crate::watch::subscriber::SubscriberHandle;

/// Adds and cancels the watches of a [`Watcher`](crate::Watcher) while another task reads it.
///
/// [`Watcher::handle`](crate::Watcher::handle) returns it. Clones are handles of the same watcher. The
/// messages of all watches come to the watcher.
///
/// # When the watcher is dropped
/// All its watches are cancelled. [`watch`](Self::watch), [`add`](Self::add) and
/// [`request_progress`](Self::request_progress) then fail with
/// [`ErrorKind`](crate::ErrorKind)`::Closed`, also when they were called before; the list is empty,
/// and there is nothing to cancel. The same calls fail after the client was closed.
///
/// A handle does not keep its watcher alive. Like a clone of the client, it keeps the client's
/// connections open.
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

    /// Watches a key, or with options a range of keys: see
    /// [`Watcher::watch`](crate::Watcher::watch).
    ///
    /// The watcher may receive events of the watch before the future is ready.
    ///
    /// # Errors
    /// As for [`Watcher::watch`](crate::Watcher::watch), and
    /// [`ErrorKind`](crate::ErrorKind)`::Closed` when the watcher was dropped.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the watch.
    ///
    /// # Retries
    /// The client tries until the time-out to bring the watch in force.
    pub fn watch(&self, key: impl Into<Key>) -> AddWatch {
        self.add(Watch::new(key))
    }

    /// Watches as a request value says: the same as [`watch`](Self::watch) with its options.
    ///
    /// # Errors
    /// # Cancel safety
    /// # Retries
    /// As for [`watch`](Self::watch).
    pub fn add(&self, watch: Watch) -> AddWatch {
        AddWatch {
            pending: self.subscriber.open(watch),
            present: Arc::clone(&self.present),
            named: None,
        }
    }

    /// Returns the watches that have not ended, with their requests.
    #[must_use]
    pub fn list(&self) -> Vec<(WatchRef, Watch)> {
        let present = self.present.lock();
        let mut all: Vec<_> = present
            .iter()
            .map(|(name, (watch, _))| (*name, watch.clone()))
            .collect();
        drop(present);
        all.sort_unstable_by_key(|(name, _)| *name);
        all
    }

    /// Cancels a watch. Returns whether there was such a watch.
    ///
    /// A call of [`Watcher::next`](crate::Watcher::next) that begins after this returns no message
    /// of the watch, not even one that had been received before. There is no message about the
    /// cancellation.
    pub fn cancel(&self, watch: WatchRef) -> bool {
        let was = self.present.lock().remove(&watch).is_some();
        if was {
            self.subscriber.send(WatchCommand::Cancel(watch));
            self.subscriber.inbox.purge(|other| other == watch);
        }
        was
    }

    /// Cancels all watches, as [`cancel`](Self::cancel) does, and returns their number.
    pub fn cancel_all(&self) -> usize {
        let all = std::mem::take(&mut *self.present.lock());
        for watch in all.keys() {
            self.subscriber.send(WatchCommand::Cancel(*watch));
        }
        self.subscriber
            .inbox
            .purge(|watch| all.contains_key(&watch));
        all.len()
    }

    /// Requests the progress of the watches of the watcher, which receives the answer. See
    /// [`Watcher::request_progress`](crate::Watcher::request_progress).
    ///
    /// # Errors
    /// [`ErrorKind`](crate::ErrorKind)`::Closed` when the watcher was dropped or the client was
    /// closed: no consumer would receive the answer.
    pub fn request_progress(&self) -> Result<(), Error> {
        if let Some(reason) = self.subscriber.inbox.reason() {
            return Err(Error::new(ErrorKind::Closed, reason));
        }
        self.subscriber.request_progress();
        Ok(())
    }

    /// Returns how far the consumer is behind with a watch; `None` if there is no such watch.
    #[must_use]
    pub fn lag(&self, watch: WatchRef) -> Option<Lag> {
        Some(self.present.lock().get(&watch)?.1.lag())
    }
}

debug_fields! { WatcherHandle |handle| { watches: handle.present.lock().len(), .. } }
