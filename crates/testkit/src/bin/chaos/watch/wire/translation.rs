//! Converts messages of etcd to the types of the history.

use etcdex_proto::etcdserverpb::WatchCreateRequest;
use etcdex_proto::etcdserverpb::watch_create_request::FilterType;
use etcdex_proto::mvccpb;
use etcdex_testkit::history::{Event, EventKind, Pair, Query, hash};

use crate::watch::keys::Keys;
use crate::watch::reference::text;

/// Converts events, and interns the texts of keys.
#[derive(Default)]
pub(super) struct Translation {
    keys: Keys,
}

impl Translation {
    pub(super) fn event(&mut self, event: &mvccpb::Event) -> Event {
        let kv = event.kv.clone().unwrap_or_default();
        Event {
            kind: match event.r#type {
                1 => EventKind::Delete,
                _ => EventKind::Put,
            },
            key: self.keys.text(&kv.key),
            pair: pair(&kv),
            prev: event.prev_kv.as_ref().map(|kv| Box::new(pair(kv))),
        }
    }
}

/// Converts a creation to a query; a start revision of 0 stays 0.
pub(super) fn query(create: &WatchCreateRequest) -> Query {
    let has = |filter: FilterType| create.filters.contains(&(filter as i32));
    Query {
        key: text(if create.key.is_empty() {
            b"\0"
        } else {
            &create.key
        }),
        range_end: (!create.range_end.is_empty()).then(|| text(&create.range_end)),
        start_revision: create.start_revision,
        no_put: has(FilterType::Noput),
        no_delete: has(FilterType::Nodelete),
        prev_kv: create.prev_kv,
    }
}

fn pair(kv: &mvccpb::KeyValue) -> Pair {
    Pair {
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: hash(&kv.value),
    }
}
