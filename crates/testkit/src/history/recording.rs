//! The query and the messages of a watch.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Event, EventKind};

/// The query of a watch.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Query {
    /// The key, or the first of a range.
    pub key: Arc<str>,
    /// The end of the range as in etcd: exclusive, `"\0"` for no end. None is a single key.
    pub range_end: Option<Arc<str>>,
    /// The first revision that is delivered, as the watch has reported it.
    pub start_revision: i64,
    /// Whether puts are left out.
    pub no_put: bool,
    /// Whether deletes are left out.
    pub no_delete: bool,
    /// Whether events have the pair before.
    pub prev_kv: bool,
}

impl Query {
    /// Makes the query of one key.
    pub fn key(key: &str, start_revision: i64) -> Self {
        Self {
            key: key.into(),
            range_end: None,
            start_revision,
            no_put: false,
            no_delete: false,
            prev_kv: false,
        }
    }

    /// Returns whether a key is in the range.
    pub fn covers(&self, key: &str) -> bool {
        match self.range_end.as_deref() {
            None => key == &*self.key,
            Some("\0") => key >= &*self.key,
            Some(end) => key >= &*self.key && key < end,
        }
    }

    /// Returns whether the watch has to deliver a change.
    pub fn wants(&self, event: &Event) -> bool {
        event.revision() >= self.start_revision && self.lets_through(event)
    }

    /// Returns whether range and filters let a change through, at any revision.
    pub fn lets_through(&self, event: &Event) -> bool {
        let filtered = match event.kind {
            EventKind::Put => self.no_put,
            EventKind::Delete => self.no_delete,
        };
        !filtered && self.covers(&event.key)
    }

    /// Returns whether both queries are equal except for the start revision.
    pub fn is_like(&self, other: &Self) -> bool {
        let from = |query: &Self| Self {
            start_revision: 0,
            ..query.clone()
        };
        from(self) == from(other)
    }
}

/// One watch, from its creation to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// The name, as `client/watch`.
    pub name: String,
    /// The query.
    pub query: Query,
    /// The messages, in order.
    pub messages: Vec<Message>,
}

/// A message, and when it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// When it came, in microseconds since the start.
    pub at: u64,
    /// The content.
    pub body: Body,
}

/// The content of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// The watch is requested: by the consumer's call, or by a request on the wire.
    Asked {
        /// The requested first revision; 0 is from now on.
        revision: i64,
    },
    /// The watch is in force.
    Created {
        /// The first revision that the watch delivers.
        revision: i64,
    },
    /// One or more complete revisions.
    Batch {
        /// The revision of the header, which is the store's.
        header: i64,
        /// The batch is complete up to this revision, according to the message.
        revision: i64,
        /// The events.
        events: Vec<Event>,
    },
    /// Progress: all events up to a revision were delivered.
    Progress {
        /// The revision.
        revision: i64,
    },
    /// On the wire: the answer to a request for progress, which covers all watches of a stream.
    Answered {
        /// The revision of the progress.
        revision: i64,
        /// Whether the answer is exact in the server's version. Older versions answer while events
        /// are still under way (etcd issue 15220), so their answers prove nothing.
        binding: bool,
    },
    /// On the wire: the client has had all events up to this revision for two seconds, over a
    /// connection that stayed open.
    Settled {
        /// The revision.
        revision: i64,
    },
    /// The connection was lost.
    Disconnected,
    /// The connection was made again; the next message follows the last batch.
    Resumed,
    /// The watch was cancelled by the consumer, or on the wire by the client.
    Cancelled,
    /// The consumer requests progress.
    Requested,
    /// The copy of a watched list equals the store at this revision.
    Synced {
        /// The revision.
        revision: i64,
    },
    /// A watched list reads the state again.
    Resync(End),
    /// The watch has ended by itself.
    Ended(End),
    /// The run is over: all events up to this revision had enough time to come.
    Drained {
        /// The revision.
        revision: i64,
    },
}

/// Why a watch ended by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// The next revision of the watch was compacted.
    Compacted {
        /// The revision of the compaction, as reported.
        revision: i64,
    },
    /// Another end, which has no reason in a run.
    Other(String),
}
