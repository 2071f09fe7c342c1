//! The history as real etcd tells it to a watch, and as the store does.

use std::sync::Arc;

use etcdex::{Client, EventKind};
use etcdex_server::store::{KeyValue, Store, WatchEvent, WatchOutput, WatchQuery};
use fastrand::Rng;

use crate::history::{Span, pair, span};

/// Watches some keys on both from a random revision on, up to the present, and compares the changes.
pub(crate) async fn compare(random: &mut Rng, store: &mut Store, client: &Client) {
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
    let expected = told_by_etcd(client, &span, &query, store.revision()).await;
    let id = store.watch(query.clone());
    let mut found = Vec::new();
    loop {
        let most = random.usize(1..200);
        match store.take_events(id, most).expect("a watcher") {
            WatchOutput::Events { events, more, .. } => {
                found.extend(events.into_iter().map(without_subs));
                if !more {
                    break;
                }
            }
            output => panic!("{output:?}: it begins at {}", query.start),
        }
    }
    store.cancel_watch(id);
    assert_eq!(found, expected, "{span:?} {query:?}");
}

async fn told_by_etcd(
    client: &Client,
    span: &Span,
    query: &WatchQuery,
    until: i64,
) -> Vec<WatchEvent> {
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
        let is_over = batch.is_progress() && batch.revision >= until;
        told.extend(batch.events.into_iter().map(|event| WatchEvent {
            change: match event.kind {
                EventKind::Delete => tombstone(event.kv),
                _ => pair(event.kv),
            },
            prev_kv: event.prev_kv.map(pair),
        }));
        if is_over {
            return told;
        }
    }
}

fn tombstone(kv: etcdex::KeyValue) -> Arc<KeyValue> {
    assert_eq!(
        (kv.version, kv.create_revision),
        (0, 0),
        "a deletion has no more than a key"
    );
    pair(kv)
}

fn without_subs(mut event: WatchEvent) -> WatchEvent {
    for kv in [Some(&mut event.change), event.prev_kv.as_mut()]
        .into_iter()
        .flatten()
    {
        Arc::make_mut(kv).revision.sub = 0;
    }
    event
}
