//! What a watch tells: events, and batches of them.

use etcdex_proto::mvccpb;

use crate::error::Error;
use crate::key::{Key, Namespace};
use crate::kv::{KeyValue, ResponseHeader, broken, key_value};

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// It was written.
    Put,
    /// It was deleted, or its lease ended.
    Delete,
}

/// One change of one key.
///
/// Its bytes are its batch's own: they can be kept and taken without a copy, and hold on to
/// nothing but the message they came in. `Debug` shows lengths, not bytes.
///
/// Source: <https://etcd.io/docs/v3.6/learning/api/#events>.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The pair after it. Of a delete only the key is set, and `mod_revision`, the revision of
    /// the delete.
    pub kv: KeyValue,
    /// The pair before it, if the watch asked for it and there was one that is not compacted
    /// away.
    pub prev_kv: Option<KeyValue>,
}

impl Event {
    /// Makes the event of a put, for a program's own fake of a watch. The revisions are those of
    /// `kv`.
    #[must_use]
    pub fn put(kv: KeyValue) -> Self {
        Self {
            kind: EventKind::Put,
            kv,
            prev_kv: None,
        }
    }

    /// Makes the event of a delete at that revision, for a program's own fake of a watch.
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

    /// Whether it made the key.
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

    /// What it takes of memory, in bytes.
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
/// A program's own fake of a watch makes one from [`Batch::default`]:
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
    /// Who told it. Its revision is that of the store when the batch was sent, which can be far
    /// ahead of the events: it is no point to resume from.
    pub header: ResponseHeader,
    /// Everything up to this revision, and including it, has been delivered. To go on later
    /// from here, watch from `revision + 1`.
    pub revision: i64,
    /// The events. None in a progress notification.
    pub events: Vec<Event>,
}

impl Batch {
    /// Whether it has no events, and only tells how far the watch has come.
    #[must_use]
    pub fn is_progress(&self) -> bool {
        self.events.is_empty()
    }
}

/// Events of the wire as events of the user.
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
