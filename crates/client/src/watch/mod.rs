//! Watches: the changes of keys, in order and each once, also over lost connections.
//!
//! [`Client::watch`](crate::Client::watch) returns a request with options. Awaiting it waits until
//! the server has created the watch, and returns a stream of batches. The watch begins with the
//! revision after that of the store at the time of the call, or at
//! [`start_revision`](OpenWatch::start_revision):
//!
//! ```no_run
//! # async fn example(client: etcdex::Client) -> Result<(), etcdex::Error> {
//! use etcdex::EventKind;
//!
//! let mut changes = client.watch("jobs/").prefix().await?;
//! while let Some(batch) = changes.try_next().await? {
//!     for event in batch.events {
//!         match event.kind {
//!             EventKind::Put => println!("{:?} is {:?}", event.kv.key_str(), event.kv.value_str()),
//!             _ => println!("{:?} is deleted", event.kv.key_str()),
//!         }
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | | |
//! |---|---|
//! | [`WatchStream`] | one watch as a stream of [`Batch`]es |
//! | [`Watcher`] | many watches with one inbox of [`WatchMessage`]s |
//! | [`WatchList`] | the pairs of a prefix, and then their changes, for a cache |
//!
//! After a lost connection, the client creates each watch again at the revision after the last one
//! that it has delivered. A watch ends only for a reason that a [`WatchEnd`] names: the revision
//! that it needs is compacted, for example. All watches of a client with the same settings share
//! one stream to a server. [`manual::watches`](crate::manual::watches) has the details.

// request.rs      the request of a watch         message.rs event.rs end.rs   what users receive
// watcher.rs      many watches, one inbox        stream.rs      one watch as a stream
// pending.rs      the future that adds a watch   subscriber.rs  an owner of watches
// inbox.rs        messages for the consumer      backlog.rs     events that a watch holds
// amount.rs budget.rs demand.rs   bytes and events, the client's limits, whether a consumer waits
// registry.rs     connects owners with tasks     driver.rs      the task that holds the stream
// resume.rs       the machine: what to send, what to deliver, where to resume    PURE
// entry.rs        one watch of the machine                                       PURE
// list.rs         a prefix and its changes       difference.rs  listing against copy   PURE
// assembler.rs    messages to whole revisions                                    PURE
// cancellation.rs progress.rs   reasons of a server, and whether its progress is exact   PURE

mod amount;
mod assembler;
mod backlog;
mod budget;
mod cancellation;
mod demand;
mod difference;
mod driver;
mod end;
mod entry;
mod event;
mod fragmentation;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod inbox;
mod list;
mod message;
mod pending;
mod progress;
mod registry;
mod request;
mod resume;
mod stream;
mod subscriber;
mod watcher;

pub use self::backlog::Lag;
pub use self::end::WatchEnd;
pub use self::entry::WatchRef;
pub use self::event::{Batch, Event, EventKind};
pub use self::list::{WatchList, WatchListMessage};
pub use self::message::WatchMessage;
pub(crate) use self::registry::WatchRegistry;
pub use self::request::Watch;
pub use self::stream::{OpenWatch, WatchStream};
pub use self::watcher::{AddWatch, Watcher, WatcherHandle};
use crate::Client;
use crate::key::Key;

impl Client {
    /// Watches a key, or with options a range of keys: see [`Watch`]. Awaiting the returned value waits
    /// until the watch is in force, and returns the stream of its events.
    ///
    /// ```no_run
    /// # async fn example(client: etcdex::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut changes = client.watch("jobs/").prefix().prev_kv().await?;
    /// if let Some(batch) = changes.try_next().await? {
    ///     println!("{} changes, up to revision {}", batch.events.len(), batch.revision);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind`](crate::ErrorKind)`::InvalidArgument` for options that make no sense,
    /// `PermissionDenied`, `Timeout` when the watch was not in force within the client's time-out,
    /// `NoLeader` when the reason was that no member sees a leader
    /// ([`require_leader`](Self::require_leader)`(false)` allows members without a leader).
    ///
    /// # Cancel safety
    /// Dropping the future cancels the watch.
    ///
    /// # Retries
    /// The client tries until the time-out to bring the watch in force. A watch that is in force is
    /// resumed without a limit.
    pub fn watch(&self, key: impl Into<Key>) -> OpenWatch {
        self.open_watch(Watch::new(key))
    }

    /// Watches as a request value says: the same as [`watch`](Self::watch) with its options.
    ///
    /// # Errors
    /// # Cancel safety
    /// # Retries
    /// As for [`watch`](Self::watch).
    pub fn open_watch(&self, watch: Watch) -> OpenWatch {
        OpenWatch::new(self.scope(), self.watches(), watch)
    }

    /// Returns the present state of a prefix and then every change, as one stream: see [`WatchList`].
    ///
    /// # Errors
    /// This sends nothing. [`WatchList::try_next`] returns the errors.
    ///
    /// # Retries
    /// Errors that may pass are retried without a limit.
    pub fn watch_list(&self, prefix: impl Into<Key>) -> WatchList {
        WatchList::new(self.scope(), self.watches(), prefix.into())
    }

    /// Returns a [`Watcher`]: many watches whose messages are read in one place.
    pub fn watcher(&self) -> Watcher {
        Watcher::new(self.scope(), self.watches())
    }
}
