//! Events of a watch, and batches of events.

use etcdex_proto::mvccpb;

use crate::error::Error;
use crate::key::{Key, Namespace};
use crate::kv::{KeyValue, ResponseHeader, broken, key_value};

/// The kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// The key was written.
    Put,
    /// The key was deleted, or its lease has ended.
    Delete,
}

/// One change of one key.
///
/// Keys and values are slices of the message of the server: they are moved without a copy, and keep
/// that one message in memory ([`detach`](Self::detach) copies them). `Debug` shows lengths, not bytes.
///
/// Source: <https://etcd.io/docs/v3.6/learning/api/#events>.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Event {
    /// The kind of the change.
    pub kind: EventKind,
    /// The pair after the change. For a delete, only `key` and `mod_revision` are set, the latter
    /// to the revision of the delete.
    pub kv: KeyValue,
    /// The pair before the change, if the watch requests previous pairs, and there was one that is not
    /// compacted away.
    pub prev_kv: Option<KeyValue>,
}

impl Event {
    /// Makes the event of a put, for tests that fake a watch. The revisions are those of `kv`.
    #[must_use]
    pub fn put(kv: KeyValue) -> Self {
        Self {
            kind: EventKind::Put,
            kv,
            prev_kv: None,
        }
    }

    /// Makes the event of a delete at a revision, for tests that fake a watch.
    #[must_use]
    pub fn delete(key: impl Into<Key>, mod_revision: i64) -> Self {
        let kv = KeyValue {
            key: key.into().into_bytes(),
            mod_revision,
            ..KeyValue::default()
        };
        Self {
            kind: EventKind::Delete,
            kv,
            prev_kv: None,
        }
    }

    /// Whether the change created the key.
    #[must_use]
    pub fn is_create(&self) -> bool {
        self.kind == EventKind::Put && self.kv.create_revision == self.kv.mod_revision
    }

    /// Copies keys and values into buffers of their own size.
    pub fn detach(&mut self) {
        self.kv.detach();
        if let Some(before) = &mut self.prev_kv {
            before.detach();
        }
    }

    /// The memory that the event takes, in bytes.
    pub(super) fn weight(&self) -> usize {
        let before = self.prev_kv.as_ref();
        size_of::<Self>()
            + self.kv.key.len()
            + self.kv.value.len()
            + before.map_or(0, |kv| kv.key.len() + kv.value.len())
    }
}

/// The events of one or more whole revisions, in the order in which they happened.
///
/// A test that fakes a watch makes a batch from [`Batch::default`]:
///
/// ```
/// use etcdex::{Batch, Event};
///
/// let mut batch = Batch::default();
/// batch.revision = 7;
/// batch.events.push(Event::delete("jobs/1", 7));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Batch {
    /// The header of the response. Its revision is that of the store when the server sent the
    /// batch, and can be far ahead of the events: do not resume from this revision.
    pub header: ResponseHeader,
    /// All events up to and including this revision have been delivered. To resume later, watch from
    /// `revision + 1`.
    pub revision: i64,
    /// The events; none in a progress notification.
    pub events: Vec<Event>,
}

impl Batch {
    /// Whether the batch is a progress notification, without events.
    #[must_use]
    pub fn is_progress(&self) -> bool {
        self.events.is_empty()
    }
}

/// Converts the events of a message.
pub(super) fn events(
    wire: Vec<mvccpb::Event>,
    namespace: Option<&Namespace>,
) -> Result<Vec<Event>, Error> {
    wire.into_iter()
        .map(|event| one(event, namespace))
        .collect()
}

fn one(event: mvccpb::Event, namespace: Option<&Namespace>) -> Result<Event, Error> {
    let kind = match event.r#type {
        0 => EventKind::Put,
        1 => EventKind::Delete,
        _ => return Err(broken("an event is neither a put nor a delete")),
    };
    let Some(kv) = event.kv else {
        return Err(broken("an event is about no key"));
    };
    let prev_kv = match event.prev_kv {
        None => None,
        Some(before) => Some(key_value(before, namespace)?),
    };
    Ok(Event {
        kind,
        kv: key_value(kv, namespace)?,
        prev_kv,
    })
}
