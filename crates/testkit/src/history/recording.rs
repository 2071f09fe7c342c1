//! What a watch was asked for, and what it said.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Event, EventKind};

/// What a watch was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Query {
    /// The key, or the first of a range.
    pub key: Arc<str>,
    /// The end of the range, as etcd has it: itself not in it, `"\0"` for no end. None is a
    /// single key.
    pub range_end: Option<Arc<str>>,
    /// The first revision that is delivered, as the watch has told it.
    pub start_revision: i64,
    /// Puts are left out.
    pub no_put: bool,
    /// Deletes are left out.
    pub no_delete: bool,
    /// Events have what was there before.
    pub prev_kv: bool,
}

impl Query {
    /// A watch of one key.
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

    /// Whether a key is in its range.
    pub fn covers(&self, key: &str) -> bool {
        match self.range_end.as_deref() {
            None => key == &*self.key,
            Some("\0") => key >= &*self.key,
            Some(end) => key >= &*self.key && key < end,
        }
    }

    /// Whether it has to deliver a change that has happened.
    pub fn wants(&self, event: &Event) -> bool {
        event.revision() >= self.start_revision && self.lets_through(event)
    }

    /// Whether range and filters let it through, whenever it happened.
    pub fn lets_through(&self, event: &Event) -> bool {
        let filtered = match event.kind {
            EventKind::Put => self.no_put,
            EventKind::Delete => self.no_delete,
        };
        !filtered && self.covers(&event.key)
    }

    /// Whether it asks for the same but for the revision it starts at.
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
    /// Which one it is, as `client/watch`.
    pub name: String,
    /// What it was asked for.
    pub query: Query,
    /// What came, in order.
    pub messages: Vec<Message>,
}

/// What came, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Microseconds since the start.
    pub at: u64,
    /// What came.
    pub body: Body,
}

/// What can come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// The watch is asked for: by the consumer's call, or by a request on the wire.
    Asked {
        /// The first revision that is wanted; 0 is from now on.
        revision: i64,
    },
    /// The watch is in force.
    Created {
        /// The first revision it delivers.
        revision: i64,
    },
    /// One or more whole revisions.
    Batch {
        /// The revision of the header: where the store was.
        header: i64,
        /// Everything up to this revision has come, it says.
        revision: i64,
        /// What happened.
        events: Vec<Event>,
    },
    /// Everything up to this revision was delivered.
    Progress {
        /// This one.
        revision: i64,
    },
    /// On the wire: the answer to a request for progress, which is of all watches of a stream.
    Answered {
        /// Up to here, the server says.
        revision: i64,
        /// Whether the server's version keeps what it says. Older ones answer while events are
        /// still under way (etcd issue 15220), and nothing may be concluded from it.
        binding: bool,
    },
    /// On the wire: the client has had everything up to this revision for two seconds, over a
    /// connection that lived on.
    Settled {
        /// This one.
        revision: i64,
    },
    /// The connection was lost.
    Disconnected,
    /// It is there again; what follows goes on where the last batch ended.
    Resumed,
    /// The watch was cancelled by the consumer, or on the wire by the client.
    Cancelled,
    /// The consumer asks how far its watches have come.
    Requested,
    /// A copy that is kept by a watched list is what the store was at this revision.
    Synced {
        /// This one.
        revision: i64,
    },
    /// A watched list reads the state again.
    Resync(End),
    /// The watch is over, without having been asked to end.
    Ended(End),
    /// The run is over: everything up to this revision had time enough to come.
    Drained {
        /// This one.
        revision: i64,
    },
}

/// Why a watch ended by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// What it had to go on from was compacted away.
    Compacted {
        /// The revision that the store was compacted to, as it was told.
        revision: i64,
    },
    /// Anything else, which nothing in a run gives a reason for.
    Other(String),
}
