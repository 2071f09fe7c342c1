//! The request of a watch.

use bytes::Bytes;

use super::amount::Amount;
use super::entry::{Position, Spec};
use crate::config::WatchLimits;
use crate::debug::{byte_length, debug_fields};
use crate::key::{Key, Namespace};
use crate::kv::{Selection, refuse};
use crate::transport::Failure;

/// Watches a key or a range of keys.
///
/// The return values of [`Client::watch`](crate::Client::watch) and
/// [`Watcher::watch`](crate::Watcher::watch) have the same options.
///
/// Source: <https://etcd.io/docs/v3.6/learning/api/#watch-streams>.
#[derive(Clone)]
#[must_use = "a request does nothing until it is sent"]
pub struct Watch {
    pub(super) key: Bytes,
    pub(super) selection: Selection,
    pub(super) start_revision: i64,
    pub(super) no_put: bool,
    pub(super) no_delete: bool,
    pub(super) prev_kv: bool,
    pub(super) progress_notify: bool,
    pub(super) fragment: bool,
    pub(super) buffer: Option<usize>,
    /// The position of the read that the watch continues.
    pub(super) read: Option<Position>,
}

impl Watch {
    /// Makes a request that watches one key from now on. Options change that.
    pub fn new(key: impl Into<Key>) -> Self {
        Self {
            key: key.into().into_bytes(),
            selection: Selection::default(),
            start_revision: 0,
            no_put: false,
            no_delete: false,
            prev_kv: false,
            progress_notify: false,
            fragment: false,
            buffer: None,
            read: None,
        }
    }

    /// Checks the request, and applies the namespace.
    pub(super) fn spec(&self, namespace: Option<&Namespace>) -> Result<Spec, Failure> {
        if self.start_revision < 0 {
            return Err(refuse("start_revision is negative; revisions begin with 1"));
        }
        if self.no_put && self.no_delete {
            return Err(refuse(
                "no_put and no_delete together leave nothing to watch",
            ));
        }
        let range = self.selection.range(&self.key, namespace)?;
        if !range.end.is_empty() && range.end[..] != b"\0"[..] && range.end <= range.start {
            return Err(refuse("the range ends before it begins: it has no keys"));
        }
        Ok(Spec {
            range,
            namespace: namespace.cloned(),
            start: self.start_revision,
            no_put: self.no_put,
            no_delete: self.no_delete,
            prev_kv: self.prev_kv,
            progress: self.progress_notify,
            fragment: self.fragment,
            read: self.read,
        })
    }

    pub(super) fn limit(&self, limits: &WatchLimits) -> Amount {
        Amount {
            bytes: self.buffer.unwrap_or(limits.watch_bytes),
            events: limits.watch_events,
        }
    }

    /// Continues a read: delivers the events after it. The watch ends if the store is behind the
    /// read, or belongs to another cluster.
    pub(super) fn after(mut self, read: Position) -> Self {
        self.start_revision = read.revision.saturating_add(1);
        self.read = Some(read);
        self
    }

    fn watch_mut(&mut self) -> &mut Self {
        self
    }
}

// INVARIANT: keys are never printed.
debug_fields! { Watch |watch| {
    key: byte_length(&watch.key), selection: watch.selection, start_revision: watch.start_revision,
    no_put: watch.no_put, no_delete: watch.no_delete, prev_kv: watch.prev_kv,
    progress_notify: watch.progress_notify, fragment: watch.fragment, buffer: watch.buffer,
} }

/// Defines the options of a watch, for a type with a method `watch_mut`.
macro_rules! watch_options {
    ($type:ty) => {
        impl $type {
            /// Watches all keys from the given one up to `end`, which is not included.
            pub fn range_end(mut self, end: impl Into<crate::Key>) -> Self {
                self.watch_mut().selection.set_end(end.into());
                self
            }

            /// Watches all keys that start with the given one; if that is empty, all keys.
            pub fn prefix(mut self) -> Self {
                self.watch_mut().selection.set_prefix();
                self
            }

            /// Watches the given key and all keys after it.
            pub fn from_key(mut self) -> Self {
                self.watch_mut().selection.set_from_key();
                self
            }

            /// Watches all keys. The given key is ignored.
            pub fn all_keys(mut self) -> Self {
                self.watch_mut().selection.set_all();
                self
            }

            /// Sets the first revision to deliver. It may lie in the past, if it is not compacted
            /// away, or in the future. Default: 0, which means from now on.
            ///
            /// To continue a read, watch from the revision of its header + 1.
            pub fn start_revision(mut self, revision: i64) -> Self {
                self.watch_mut().start_revision = revision;
                self
            }

            /// Leaves out puts (etcd's filter NOPUT).
            pub fn no_put(mut self) -> Self {
                self.watch_mut().no_put = true;
                self
            }

            /// Leaves out deletes (etcd's filter NODELETE).
            pub fn no_delete(mut self) -> Self {
                self.watch_mut().no_delete = true;
                self
            }

            /// Requests the pair before each change, too.
            pub fn prev_kv(mut self) -> Self {
                self.watch_mut().prev_kv = true;
                self
            }

            /// Asks the server for a progress message whenever the watch has been idle for a time
            /// (`--watch-progress-notify-interval` of the server, ten minutes by default). A
            /// watch from now on gets one with the revision before its first one at once.
            pub fn progress_notify(mut self) -> Self {
                self.watch_mut().progress_notify = true;
                self
            }

            /// Whether the server sends large messages in fragments of about two megabytes from
            /// the beginning. The client puts fragments together: a revision is never split
            /// between batches. Default: false.
            ///
            /// Without this option, the client requests fragments only after a message was larger
            /// than [`max_receive_size`](crate::ClientBuilder::max_receive_size). With it, the
            /// client needs less memory to receive a long history of large values. A history of
            /// many small events is slow with it: the time that etcd takes for a fragment grows
            /// with the square of the number of events in it, and all watches of the client wait
            /// meanwhile.
            pub fn fragment(mut self, fragment: bool) -> Self {
                self.watch_mut().fragment = fragment;
                self
            }

            /// Sets the limit of the events that the watch holds for its consumer, in bytes. Default:
            /// [`WatchLimits::watch_bytes`](crate::WatchLimits).
            pub fn buffer(mut self, bytes: usize) -> Self {
                self.watch_mut().buffer = Some(bytes);
                self
            }
        }
    };
}
pub(super) use watch_options;

watch_options! { Watch }
