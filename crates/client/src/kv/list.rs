//! A large range as a stream of pairs, read in pages of one revision.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use futures_core::Stream;

use super::{Get, GetResponse, KeyValue, ResponseHeader, broken};
use crate::call::{Call, Scope, Timeout};
use crate::debug::debug_fields;
use crate::error::{Error, ErrorKind, Outcome};
use crate::key::Key;

/// Default number of pairs in a page.
const PAGE: u64 = 1_000;

/// A stream of the pairs of a range at one revision, read page by page; returned by
/// [`Client::list`](crate::Client::list).
///
/// The first page determines the revision, and the other pages are read at the same revision. The
/// list holds one page in memory. If the revision is compacted before the last page is read, the
/// list ends with [`ErrorKind::Compacted`]. If a page comes from another cluster, the list ends
/// with [`ErrorKind::ClusterMismatch`].
///
/// `List` is a [`Stream`]. [`try_next`](List::try_next) needs no further crate.
///
/// ```no_run
/// # async fn example(client: etcdex::Client) -> Result<(), etcdex::Error> {
/// let mut list = client.list("jobs/");
/// while let Some(kv) = list.try_next().await? {
///     println!("{:?} was changed at {}", kv.key, kv.mod_revision);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The errors of [`get`](crate::Client::get). The list ends after an error.
///
/// # Retries
/// Each page is a read of its own, with the retries and the time-out of a call. The whole list has
/// no time-out.
#[must_use = "a list reads nothing until it is polled"]
pub struct List {
    scope: Scope,
    template: Get,
    /// First key after the range; `"\0"` means "no end".
    end: Bytes,
    page: u64,
    /// Number of pairs that may still be read, if there is a limit.
    left: Option<u64>,
    state: ListState,
    ready: VecDeque<KeyValue>,
    header: Option<ResponseHeader>,
}

/// ```text
///          polled              a page, with more to follow
///  Next ───────────► Reading ─────────────────────────────► Next
///                    Reading ─────────────────────────────► Done
///                              the last page, or an error
/// ```
///
/// A page that is too large is read again, smaller.
enum ListState {
    /// The next page begins with this key.
    Next(Bytes),
    /// A page is being read; it begins with this key.
    Reading(Pin<Box<Call<Get>>>, Bytes),
    Done,
}

impl List {
    pub(crate) fn new(scope: &Scope, prefix: Key) -> Self {
        let end = prefix.prefix_end().into_bytes();
        let start = prefix.into_bytes();
        Self {
            scope: scope.clone(),
            template: Get::new(Bytes::new()),
            state: ListState::Next(start),
            end,
            page: PAGE,
            left: None,
            ready: VecDeque::new(),
            header: None,
        }
    }

    /// Lists the keys from the given key up to `end`, exclusive, instead of those with a prefix.
    /// If [`from_key`](Self::from_key) is given too, the last option counts.
    pub fn range_end(mut self, end: impl Into<Key>) -> Self {
        self.end = end.into().into_bytes();
        self
    }

    /// Lists all keys that are greater than or equal to the given key, instead of those with a
    /// prefix. If [`range_end`](Self::range_end) is given too, the last option counts.
    pub fn from_key(mut self) -> Self {
        self.end = Bytes::from_static(b"\0");
        self
    }

    /// Returns at most `pairs` pairs. 0, the default, means all.
    pub fn limit(mut self, pairs: u64) -> Self {
        self.left = (pairs > 0).then_some(pairs);
        self
    }

    /// Sets the number of pairs in a page, at least 1. Default: 1,000. If a page is larger than
    /// [`max_receive_size`](crate::ClientBuilder::max_receive_size), the list continues with smaller
    /// pages.
    pub fn page(mut self, pairs: u64) -> Self {
        self.page = pairs.clamp(1, i64::MAX as u64);
        self
    }

    /// Reads the state at a revision. 0, the default, means the latest.
    pub fn revision(mut self, revision: i64) -> Self {
        self.template = self.template.revision(revision);
        self
    }

    /// Returns the pairs without their values.
    pub fn keys_only(mut self) -> Self {
        self.template = self.template.keys_only();
        self
    }

    /// Lets the member answer from its own state, which may be stale. All pages are still of one
    /// revision.
    pub fn serializable(mut self) -> Self {
        self.template = self.template.serializable();
        self
    }

    /// Sets the time-out of each page.
    pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
        self.scope.timeout = Timeout::Chosen(Some(timeout));
        self
    }

    /// Returns the header of the first page; `None` before the first page is read. Its revision is
    /// that of the whole list. To continue the list, start a watch at the next revision.
    #[must_use]
    pub fn header(&self) -> Option<ResponseHeader> {
        self.header
    }

    /// Returns the next pair, in the order of keys; `None` at the end.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn try_next(&mut self) -> Result<Option<KeyValue>, Error> {
        let next = std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await;
        next.transpose()
    }

    fn read(&mut self, from: Bytes) {
        let pairs = self.left.map_or(self.page, |left| left.min(self.page));
        let get = self.template.clone().limit(pairs);
        let get = get.over(from.clone(), &self.end);
        self.state = ListState::Reading(Box::pin(Call::new(&self.scope, get)), from);
    }

    fn take(&mut self, page: GetResponse) -> Result<(), Error> {
        let cluster = page.header.cluster_id;
        if let Some(first) = self.header.filter(|first| first.cluster_id != cluster) {
            if first.cluster_id != 0 && cluster != 0 {
                let what = "the page comes from another cluster than the first page";
                let error = Error::new(ErrorKind::ClusterMismatch, what);
                return Err(error.with_outcome(Outcome::Rejected));
            }
        }
        if self.header.is_none() {
            let mut header = page.header;
            self.template = self.template.clone().pinned(header.revision);
            // etcd's header has the latest revision, not the revision that was read.
            header.revision = self.template.at_revision();
            self.header = Some(header);
        }
        if page.more && page.kvs.is_empty() {
            return Err(broken(
                "a page of the list is empty, although the server says that more pairs follow",
            ));
        }
        let taken = page.kvs.len() as u64;
        self.left = self.left.map(|left| left.saturating_sub(taken));
        self.state = match page.kvs.last() {
            Some(last) if page.more && self.left != Some(0) => {
                ListState::Next(successor(&last.key))
            }
            _ => ListState::Done,
        };
        self.ready = page.kvs.into();
        Ok(())
    }
}

/// Returns the first key after `key`.
fn successor(key: &[u8]) -> Bytes {
    let mut next = BytesMut::with_capacity(key.len() + 1);
    next.put_slice(key);
    next.put_u8(0);
    next.freeze()
}

impl Stream for List {
    type Item = Result<KeyValue, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(kv) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(kv)));
            }
            match &mut self.state {
                ListState::Done => return Poll::Ready(None),
                ListState::Next(key) => {
                    let from = key.clone();
                    self.read(from);
                }
                ListState::Reading(call, from) => {
                    let page = ready!(call.as_mut().poll(cx));
                    let from = std::mem::take(from);
                    match page {
                        Ok(page) => {
                            if let Err(error) = self.take(page) {
                                self.state = ListState::Done;
                                return Poll::Ready(Some(Err(error)));
                            }
                        }
                        Err(error) => {
                            if error.kind() != ErrorKind::MessageTooLarge || self.page == 1 {
                                self.state = ListState::Done;
                                return Poll::Ready(Some(Err(error)));
                            }
                            self.page = (self.page / 4).max(1);
                            self.read(from);
                        }
                    }
                }
            }
        }
    }
}

debug_fields! { List |list| { page: list.page, header: list.header, .. } }
