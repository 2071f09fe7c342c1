//! A large range as a stream of pairs, read in pages of one revision.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use futures_core::Stream;

use super::{Get, GetResponse, KeyValue, ResponseHeader, broken};
use crate::call::{Call, Scope, Timeout};
use crate::error::{Error, ErrorKind, Outcome};
use crate::key::Key;

/// Pairs a page, unless said otherwise.
const PAGE: u64 = 1_000;

/// All pairs with a prefix or of another range, as they were at one revision, page by page.
///
/// However long reading takes, what it gives is the state of a single moment: the first page
/// settles the revision, and the others are read at it. It holds one page in memory. If the
/// revision is compacted meanwhile, it ends with [`ErrorKind::Compacted`]. If another cluster
/// answers meanwhile, it ends with [`ErrorKind::ClusterMismatch`].
///
/// It is a [`Stream`], and [`try_next`](List::try_next) needs no other crate.
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
/// Those of [`get`](crate::Client::get). After an error it ends.
///
/// # Retries
/// Each page is a read of its own, with the time-out of a call: there is none for the whole.
#[must_use = "a list reads nothing until it is polled"]
pub struct List {
    scope: Scope,
    template: Get,
    /// The first key behind the range; `"\0"` means "no end".
    end: Bytes,
    page: u64,
    /// Number of pairs that may still be read, if there is a limit.
    left: Option<u64>,
    stage: Stage,
    ready: VecDeque<KeyValue>,
    header: Option<ResponseHeader>,
}

enum Stage {
    /// The next page begins with this key.
    From(Bytes),
    Reading(Pin<Box<Call<Get>>>, Bytes),
    Over,
}

impl List {
    pub(crate) fn new(scope: &Scope, prefix: Key) -> Self {
        let end = prefix.prefix_end().into_bytes();
        let start = prefix.into_bytes();
        Self {
            scope: scope.clone(),
            template: Get::new(Bytes::new()),
            stage: Stage::From(start),
            end,
            page: PAGE,
            left: None,
            ready: VecDeque::new(),
            header: None,
        }
    }

    /// Lists the keys from the given one up to `end`, which is not included, instead of those
    /// with a prefix. Of this option and [`from_key`](Self::from_key), the last one counts.
    pub fn range_end(mut self, end: impl Into<Key>) -> Self {
        self.end = end.into().into_bytes();
        self
    }

    /// Lists all keys from the given one on, instead of those with a prefix. Of this option and
    /// [`range_end`](Self::range_end), the last one counts.
    pub fn from_key(mut self) -> Self {
        self.end = Bytes::from_static(b"\0");
        self
    }

    /// Gives this many pairs at the most. Default, and what 0 means: all.
    pub fn limit(mut self, pairs: u64) -> Self {
        self.left = (pairs > 0).then_some(pairs);
        self
    }

    /// How many pairs are read at a time, 1 at least. Default: 1,000. When a page turns out
    /// larger than the client takes, smaller ones are read.
    pub fn page(mut self, pairs: u64) -> Self {
        self.page = pairs.clamp(1, i64::MAX as u64);
        self
    }

    /// As it was at a revision; 0 is now.
    pub fn revision(mut self, revision: i64) -> Self {
        self.template = self.template.revision(revision);
        self
    }

    /// Without the values.
    pub fn keys_only(mut self) -> Self {
        self.template = self.template.keys_only();
        self
    }

    /// From the member's own state, possibly old; still of one revision.
    pub fn serializable(mut self) -> Self {
        self.template = self.template.serializable();
        self
    }

    /// How long one page may take.
    pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
        self.scope.timeout = Timeout::Chosen(Some(timeout));
        self
    }

    /// The header of the first page, once it is there: its revision is that of the whole list,
    /// and a watch that continues the list starts at the one after.
    #[must_use]
    pub fn header(&self) -> Option<ResponseHeader> {
        self.header
    }

    /// The next pair, in the order of keys; `None` at the end.
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
        self.stage = Stage::Reading(Box::pin(Call::new(&self.scope, get)), from);
    }

    fn take(&mut self, page: GetResponse) -> Result<(), Error> {
        let cluster = page.header.cluster_id;
        if let Some(first) = self.header.filter(|first| first.cluster_id != cluster) {
            if first.cluster_id != 0 && cluster != 0 {
                let what = "another cluster answers than the one that sent the first page";
                let error = Error::new(ErrorKind::ClusterMismatch, what);
                return Err(error.with_outcome(Outcome::Rejected));
            }
        }
        if self.header.is_none() {
            let mut header = page.header;
            self.template = self.template.clone().pinned(header.revision);
            // etcd's header has the present revision, whatever revision was read.
            header.revision = self.template.at_revision();
            self.header = Some(header);
        }
        if page.more && page.kvs.is_empty() {
            return Err(broken(
                "a page of the list is empty, and more is said to follow",
            ));
        }
        let taken = page.kvs.len() as u64;
        self.left = self.left.map(|left| left.saturating_sub(taken));
        self.stage = match page.kvs.last() {
            Some(last) if page.more && self.left != Some(0) => Stage::From(successor(&last.key)),
            _ => Stage::Over,
        };
        self.ready = page.kvs.into();
        Ok(())
    }
}

/// The first key behind this one.
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
            match &mut self.stage {
                Stage::Over => return Poll::Ready(None),
                Stage::From(key) => {
                    let from = key.clone();
                    self.read(from);
                }
                Stage::Reading(call, from) => {
                    let page = ready!(call.as_mut().poll(cx));
                    let from = std::mem::take(from);
                    match page {
                        Ok(page) => {
                            if let Err(error) = self.take(page) {
                                self.stage = Stage::Over;
                                return Poll::Ready(Some(Err(error)));
                            }
                        }
                        Err(error) => {
                            if error.kind() != ErrorKind::MessageTooLarge || self.page == 1 {
                                self.stage = Stage::Over;
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

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List")
            .field("page", &self.page)
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}
