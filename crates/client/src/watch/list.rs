//! A prefix as a stream: its present state, and then every change.

mod retry;

use std::collections::{BTreeMap, VecDeque};
use std::error::Error as _;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use tokio::time::Sleep;

use self::retry::is_mended_by_time;
use super::difference::Difference;
use super::end::WatchEnd;
use super::entry::Position;
use super::event::{Batch, Event, EventKind};
use super::registry::WatchRegistry;
use super::request::Watch;
use super::stream::{OpenWatch, WatchStream};
use crate::backoff::Backoff;
use crate::call::Scope;
use crate::debug::{byte_length, debug_fields};
use crate::error::{Error, ErrorKind, Outcome};
use crate::key::Key;
use crate::kv::{KeyValue, List, ResponseHeader};

/// Maximum number of changes in a message of a listing.
const MOST_CHANGES: usize = 1_000;

/// Pauses after a read that failed.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A message of a [`WatchList`]. Applying all changes in order makes a copy of the prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchListMessage {
    /// Keys have changed. After [`Synced`](Self::Synced), `events` has whole revisions. Before the
    /// first `Synced`, and after [`Resync`](Self::Resync), the events come from a listing: they are
    /// the differences between the listing and the earlier messages.
    #[non_exhaustive]
    Changes {
        /// The last revision of the events, or the revision of the listing.
        revision: i64,
        /// The changes, in order. A delete that a listing has shown has the revision of the
        /// listing; the key was deleted at this revision or earlier.
        events: Vec<Event>,
    },
    /// A copy is now equal to the store at this revision.
    #[non_exhaustive]
    Synced {
        /// The revision.
        revision: i64,
    },
    /// Events were lost. The list reads the present state again, and delivers the differences until the
    /// next [`Synced`](Self::Synced). The consumer need not do anything.
    #[non_exhaustive]
    Resync {
        /// The reason, for example a compaction. After
        /// [`ClusterChanged`](WatchEnd::ClusterChanged) and
        /// [`RolledBack`](WatchEnd::RolledBack) every present key is delivered again, because
        /// revisions of the two histories cannot be compared.
        cause: WatchEnd,
    },
}

impl WatchListMessage {
    /// Applies the changes of the message to a copy.
    ///
    /// ```
    /// # fn example(message: etcdex::watch::WatchListMessage) {
    /// let mut copy = std::collections::BTreeMap::new();
    /// message.apply(&mut copy);
    /// # }
    /// ```
    pub fn apply(self, copy: &mut BTreeMap<Bytes, KeyValue>) {
        let Self::Changes { events, .. } = self else {
            return;
        };
        for event in events {
            match event.kind {
                EventKind::Put => copy.insert(event.kv.key.clone(), event.kv),
                EventKind::Delete => copy.remove(&event.kv.key),
            };
        }
    }
}

/// The present state of a prefix and then every change, as one stream, in order.
///
/// [`Client::watch_list`](crate::Client::watch_list) returns it. Use it to keep a copy of a part of the
/// store. The list reads the prefix at one revision and watches from the next revision on. When the
/// history is compacted away meanwhile, the list reads the state again by itself and delivers the
/// differences.
///
/// The list holds the keys and the revisions of their last changes, but no values. The events that it
/// delivers are detached: keeping them keeps no other bytes in memory.
///
/// ```no_run
/// # async fn example(client: etcdex::Client) -> Result<(), etcdex::Error> {
/// use etcdex::watch::WatchListMessage;
///
/// let mut list = client.watch_list("jobs/");
/// let mut copy = std::collections::BTreeMap::new();
/// while let Some(message) = list.try_next().await? {
///     match message {
///         WatchListMessage::Synced { .. } => println!("{} jobs", copy.len()),
///         message => message.apply(&mut copy),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "it reads nothing until it is polled"]
pub struct WatchList {
    scope: Scope,
    registry: Arc<WatchRegistry>,
    prefix: Bytes,
    page: u64,
    difference: Difference,
    stage: ListStage,
    ready: VecDeque<WatchListMessage>,
    /// Whether a listing has begun to come in.
    is_known: bool,
    backoff: Backoff,
}

/// The present work of a [`WatchList`].
///
/// ```text
/// Listing ---complete---> Opening ---in force---> Watching
///  ^  |                      |                       |
///  |  | error                | error                 | end
///  |  v                      v                       |
/// Pausing <------------------+-----------------------+
///
/// (any) ---fatal error---> Over
/// ```
enum ListStage {
    Listing(Box<List>),
    Opening(Pin<Box<OpenWatch>>),
    Watching(Box<WatchStream>),
    Pausing(Pin<Box<Sleep>>),
    Over,
}

impl WatchList {
    pub(super) fn new(scope: &Scope, registry: &Arc<WatchRegistry>, prefix: Key) -> Self {
        let mut scope = scope.clone();
        // As for a watch: the list leaves a member without a leader instead of waiting for it.
        scope.require_leader.get_or_insert(true);
        let prefix = prefix.into_bytes();
        let page = MOST_CHANGES as u64;
        Self {
            stage: ListStage::Listing(Box::new(listing(&scope, &prefix, page))),
            scope,
            registry: Arc::clone(registry),
            prefix,
            page,
            difference: Difference::default(),
            ready: VecDeque::new(),
            is_known: false,
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
        }
    }

    /// Sets the number of pairs in a page of the listing, 1 at least. Default: 1,000.
    pub fn page(mut self, pairs: u64) -> Self {
        self.page = pairs.max(1);
        if let ListStage::Listing(_) = self.stage {
            self.list();
        }
        self
    }

    /// Returns the next message, and waits for it without a limit. `None` after an error.
    ///
    /// # Errors
    /// Only errors that do not pass by themselves: the user may not read the prefix, the password is
    /// wrong, the server requires credentials and the client has none, the client was closed, a
    /// single revision is too large. A TLS session that fails is an error until the first
    /// listing has begun. An error ends the list.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    ///
    /// # Retries
    /// All other errors are retried without a limit, also a compaction, a refused token, a restore of
    /// the store, and the answer of another cluster. Members without a leader are not used, unless the
    /// handle has [`require_leader(false)`](crate::Client::require_leader).
    pub async fn try_next(&mut self) -> Result<Option<WatchListMessage>, Error> {
        poll_fn(|cx| self.poll_message(cx)).await.transpose()
    }

    fn list(&mut self) {
        self.difference.begin();
        let list = listing(&self.scope, &self.prefix, self.page);
        self.stage = ListStage::Listing(Box::new(list));
    }

    fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<WatchListMessage, Error>>> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(message)));
            }
            let outcome = match &mut self.stage {
                ListStage::Over => return Poll::Ready(None),
                ListStage::Pausing(pause) => {
                    ready!(pause.as_mut().poll(cx));
                    self.list();
                    Ok(())
                }
                ListStage::Listing(_) => ready!(self.poll_listing(cx)),
                ListStage::Opening(pending) => match ready!(pending.as_mut().poll(cx)) {
                    Ok(watch) => {
                        self.stage = ListStage::Watching(Box::new(watch));
                        Ok(())
                    }
                    Err(error) => match mended_by_listing(&error) {
                        Some(cause) => self.ended(cause),
                        None => self.failed(error),
                    },
                },
                ListStage::Watching(watch) => match ready!(Pin::new(&mut **watch).poll_next(cx)) {
                    Some(Ok(batch)) => {
                        self.take_batch(batch);
                        Ok(())
                    }
                    Some(Err(end)) => self.ended(end),
                    None => self.ended(WatchEnd::ClientClosed),
                },
            };
            if let Err(error) = outcome {
                self.stage = ListStage::Over;
                return Poll::Ready(Some(Err(error)));
            }
        }
    }

    /// Takes pairs of the listing, up to one message of changes.
    fn poll_listing(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let ListStage::Listing(list) = &mut self.stage else {
            return Poll::Ready(Ok(()));
        };
        let mut events = Vec::new();
        let ended = loop {
            if events.len() >= MOST_CHANGES {
                break None;
            }
            let pair = Pin::new(&mut **list).poll_next(cx);
            // ORDER: this comes before the first pair is compared with keys of another history.
            if let Some(header) = list.header() {
                self.is_known = true;
                let cause = self.difference.listed_at(position(&header));
                let resync = cause.map(|cause| WatchListMessage::Resync { cause });
                self.ready.extend(resync);
            }
            match pair {
                Poll::Pending if events.is_empty() => return Poll::Pending,
                Poll::Pending => break None,
                Poll::Ready(Some(Ok(mut kv))) => {
                    kv.detach();
                    let revision = list.header().map_or(0, |header| header.revision);
                    self.difference.listed(kv, revision, &mut events);
                }
                Poll::Ready(Some(Err(error))) => break Some(Err(error)),
                Poll::Ready(None) => break Some(Ok(())),
            }
        };
        let at = list.header().map(|header| position(&header));
        let at = at.unwrap_or_default();
        let revision = at.revision;
        if let Some(Ok(())) = ended {
            self.difference.finish(revision, &mut events);
        }
        if !events.is_empty() {
            self.ready
                .push_back(WatchListMessage::Changes { revision, events });
        }
        Poll::Ready(match ended {
            None => Ok(()),
            Some(Ok(())) => {
                self.ready.push_back(WatchListMessage::Synced { revision });
                self.watch(at);
                Ok(())
            }
            Some(Err(error)) => self.failed(error),
        })
    }

    /// Watches from the revision after a listing.
    fn watch(&mut self, listed: Position) {
        let watch = Watch::new(self.prefix.clone()).prefix().after(listed);
        let pending = OpenWatch::new(&self.scope, &self.registry, watch).no_timeout();
        self.stage = ListStage::Opening(Box::pin(pending));
    }

    fn take_batch(&mut self, batch: Batch) {
        self.backoff.reset();
        let Batch {
            revision,
            mut events,
            ..
        } = batch;
        for event in &mut events {
            event.detach();
            self.difference.take_event(event);
        }
        if !events.is_empty() {
            self.ready
                .push_back(WatchListMessage::Changes { revision, events });
        }
    }

    /// Handles the end of the watch: reads the state again if that helps.
    fn ended(&mut self, cause: WatchEnd) -> Result<(), Error> {
        let kind = match cause {
            WatchEnd::PermissionDenied => ErrorKind::PermissionDenied,
            WatchEnd::ClientClosed => ErrorKind::Closed,
            WatchEnd::TooLarge { .. } => ErrorKind::MessageTooLarge,
            WatchEnd::ClusterChanged | WatchEnd::RolledBack { .. } => {
                self.difference.distrust();
                return self.resync(cause);
            }
            WatchEnd::Compacted { .. } | WatchEnd::Cancelled { .. } | WatchEnd::RuntimeEnded => {
                return self.resync(cause);
            }
        };
        let error = Error::new(kind, cause.to_string()).with_outcome(Outcome::Rejected);
        Err(error.with_source(cause))
    }

    fn resync(&mut self, cause: WatchEnd) -> Result<(), Error> {
        self.ready.push_back(WatchListMessage::Resync { cause });
        // Without the pause, a server that cancels each watch would be asked in a busy loop.
        self.pause();
        Ok(())
    }

    fn failed(&mut self, error: Error) -> Result<(), Error> {
        let has_credentials = self.scope.authentication().is_some();
        if !is_mended_by_time(error.kind(), self.is_known, has_credentials) {
            return Err(error);
        }
        tracing::debug!(target: "etcdex", %error, "a watched list is read again");
        self.pause();
        Ok(())
    }

    fn pause(&mut self) {
        let pause = self.backoff.next(fastrand::f64());
        self.stage = ListStage::Pausing(Box::pin(tokio::time::sleep(pause)));
    }
}

fn listing(scope: &Scope, prefix: &Bytes, page: u64) -> List {
    List::new(scope, Key::from(prefix.clone())).page(page)
}

fn position(header: &ResponseHeader) -> Position {
    Position {
        cluster_id: header.cluster_id,
        revision: header.revision,
    }
}

/// Returns why a watch could not be opened, if another listing helps.
fn mended_by_listing(error: &Error) -> Option<WatchEnd> {
    let end: &WatchEnd = error.source()?.downcast_ref()?;
    match end {
        WatchEnd::Compacted { .. }
        | WatchEnd::Cancelled { .. }
        | WatchEnd::ClusterChanged
        | WatchEnd::RuntimeEnded
        | WatchEnd::RolledBack { .. } => Some(end.clone()),
        WatchEnd::PermissionDenied | WatchEnd::TooLarge { .. } | WatchEnd::ClientClosed => None,
    }
}

impl Stream for WatchList {
    type Item = Result<WatchListMessage, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_message(cx)
    }
}

debug_fields! { WatchList |list| { prefix: byte_length(&list.prefix), page: list.page, .. } }
