//! The history as real etcd tells it to a watch, and as the store does.

use etcdex::{Client, EventKind};
use etcdex_server::store::{Store, WatchEvent, WatchOutput, WatchQuery};
use fastrand::Rng;

use crate::history::{Span, etcd_pair, span, store_pair};

/// Keys to watch, and a revision to watch them from.
#[derive(Debug)]
pub(crate) struct Watch {
    span: Span,
    query: WatchQuery,
    /// The revision up to which the changes are compared.
    until: i64,
}

impl Watch {
    /// Returns a random watch of the changes that the store has.
    pub(crate) fn random(random: &mut Rng, store: &Store) -> Self {
        let span = loop {
            match span(random) {
                // etcd refuses such a watch.
                Span::Below(key, end) if end <= key => {}
                span => break span,
            }
        };
        let no_put = random.u8(..4) == 0;
        let query = WatchQuery {
            range: span.to_range(),
            start: random.i64(store.compacted().max(1)..=store.revision()),
            no_put,
            // The client refuses a watch that could tell nothing.
            no_delete: !no_put && random.u8(..4) == 0,
            prev_kv: random.bool(),
        };
        let until = store.revision();
        Self { span, query, until }
    }

    /// Returns the changes that the store tells.
    pub(crate) fn of_store(&self, random: &mut Rng, store: &mut Store) -> Vec<String> {
        let id = store.watch(self.query.clone());
        let mut found = Vec::new();
        loop {
            let most = random.usize(1..200);
            match store.take_events(id, most).expect("a watcher") {
                WatchOutput::Events { events, more, .. } => {
                    found.extend(events.iter().map(store_event));
                    if !more {
                        break;
                    }
                }
                output => panic!("{output:?}: it begins at {}", self.query.start),
            }
        }
        store.cancel_watch(id);
        found
    }

    /// Returns the changes that a server tells.
    pub(crate) async fn of_server(&self, client: &Client) -> Vec<String> {
        let Self { span, query, until } = self;
        let watch = client.watch(span.first()).start_revision(query.start);
        let watch = match span {
            Span::Single(_) => watch,
            Span::Below(_, end) => watch.range_end(end.clone()),
            Span::From(_) => watch.from_key(),
        };
        let watch = if query.no_put { watch.no_put() } else { watch };
        let watch = if query.no_delete {
            watch.no_delete()
        } else {
            watch
        };
        let watch = if query.prev_kv {
            watch.prev_kv()
        } else {
            watch
        };
        let mut stream = watch.await.unwrap();
        stream.request_progress();
        let mut told = Vec::new();
        loop {
            let batch = stream.try_next().await.unwrap().expect("it goes on");
            let is_over = batch.is_progress() && batch.revision >= *until;
            told.extend(batch.events.iter().map(etcd_event));
            if is_over {
                return told;
            }
        }
    }
}

fn etcd_event(event: &etcdex::Event) -> String {
    let is_delete = event.kind == EventKind::Delete;
    let before = event.prev_kv.as_ref().map(etcd_pair);
    format!(
        "delete: {is_delete}, {}, before: {before:?}",
        etcd_pair(&event.kv)
    )
}

fn store_event(event: &WatchEvent) -> String {
    let is_delete = event.change.is_tombstone();
    let before = event.prev_kv.as_ref().map(store_pair);
    format!(
        "delete: {is_delete}, {}, before: {before:?}",
        store_pair(&event.change)
    )
}
