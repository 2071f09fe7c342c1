//! Random sequences of writes and faults: a consumer's copy becomes equal to the store, and no
//! difference is delivered twice.
//!
//! `ETCDEX_FUZZ_SECONDS` sets the duration, `ETCDEX_SEED` repeats a run from its seed.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;

use super::store::{Store, pairs};
use super::{Consumer, with_credentials};
use crate::tests::seed::{PrintSeed, seed};
use crate::watch::WatchListMessage;
use crate::{Event, EventKind, WatchEnd};

/// Number of rounds without `ETCDEX_FUZZ_SECONDS`.
const ROUNDS: usize = 150;

#[test]
fn a_copy_becomes_equal_to_the_store() {
    let seconds = std::env::var("ETCDEX_FUZZ_SECONDS").ok();
    let seconds: u64 = seconds.map_or(0, |text| text.parse().expect("a number"));
    let mut seed = seed();
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut counts = Counts::default();
    let mut rounds = 0;
    while rounds < ROUNDS || Instant::now() < end {
        let told = PrintSeed(seed);
        fastrand::seed(seed);
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build();
        let runtime = runtime.expect("a runtime");
        runtime.block_on(round(seed, &mut counts));
        std::mem::forget(told);
        seed = seed.wrapping_add(1);
        rounds += 1;
    }
    println!("{rounds} rounds, {counts:?}");
    // A run without faults would prove nothing.
    let Counts {
        compacted,
        changed,
        rolled_back,
        cancelled,
        events,
    } = counts;
    let rare = compacted.min(changed).min(rolled_back).min(cancelled);
    assert!(rare >= 1 && events > 1_000, "{counts:?}");
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    compacted: usize,
    changed: usize,
    rolled_back: usize,
    cancelled: usize,
    events: usize,
}

async fn round(seed: u64, counts: &mut Counts) {
    let mut rng = Rng::with_seed(seed);
    let store = Store::new(rng.i64(1..50), rng.usize(..10));
    let client = with_credentials(&store).await;
    store.state().oldest_token = 1;
    let mut check = Check {
        trace: Vec::new(),
        consumer: Consumer::new(&client),
        is_synced: false,
        is_new_history: false,
    };
    for _ in 0..rng.usize(1..4) {
        // A store that was rolled back gets no writes until the client can notice: after writes,
        // the client cannot tell the two histories apart.
        let mut frozen = false;
        for _ in 0..rng.usize(5..40) {
            let action = disturb(&mut rng, &store, &mut frozen);
            check.trace.push(format!("{action}: {}", store.revision()));
            for _ in 0..rng.usize(..4) {
                let patience = Duration::from_millis(rng.u64(1..700));
                check.step(&store, patience, counts).await;
            }
        }
        settle(&store);
        check.trace.push("settle".to_owned());
        while check
            .step(&store, Duration::from_secs(20), counts)
            .await
            .is_some()
        {}
        assert_eq!(
            pairs(&check.consumer.copy),
            store.pairs(),
            "the copy differs"
        );
    }
}

/// Does a random write or fault, and returns its name.
fn disturb(rng: &mut Rng, store: &Store, frozen: &mut bool) -> &'static str {
    let key = |rng: &mut Rng| Bytes::from(format!("k{:03}", rng.u32(..10)));
    let revision = store.revision();
    match rng.u32(..100) {
        0..40 if !*frozen => {
            store.put(key(rng));
            "put"
        }
        40..55 if !*frozen => {
            let keys = [key(rng), key(rng), key(rng)];
            store.state().delete(&keys);
            "delete"
        }
        55..65 => {
            store.cut();
            "cut"
        }
        65..70 => {
            store.state().loses = true;
            "lose"
        }
        70..76 => {
            store.compact((revision - rng.i64(0..4)).max(1));
            "compact"
        }
        76..79 => {
            store.state().cancel_all();
            "cancel"
        }
        79..82 if revision > 1 => {
            *frozen = true;
            store.roll_back(rng.i64(1..revision));
            "roll back"
        }
        82..84 => {
            *frozen = false;
            store.change_cluster(rng.i64(1..60), rng.usize(..10));
            "change cluster"
        }
        84..88 => {
            store.state().revoke_tokens();
            "revoke tokens"
        }
        88 => {
            store.state().oldest_token = u64::MAX;
            "refuse tokens"
        }
        89..92 => {
            store.state().leaderless ^= true;
            "change leader"
        }
        92..95 => {
            let refusal = ("14", "etcdserver: request timed out");
            store.state().range_refusals = vec![refusal; rng.usize(..30)];
            "refuse ranges"
        }
        _ => "nothing",
    }
}

/// Ends all faults.
fn settle(store: &Store) {
    let mut state = store.state();
    state.range_refusals.clear();
    state.leaderless = false;
    if state.oldest_token == u64::MAX {
        state.revoke_tokens();
    }
    let loses = state.loses;
    drop(state);
    if loses {
        store.cut();
    }
}

struct Check {
    /// The actions and messages, printed if the round fails.
    trace: Vec<String>,
    consumer: Consumer,
    /// Whether the copy is the state of a single revision.
    is_synced: bool,
    /// Whether all keys are delivered again, as the consumer's copy is of another history.
    is_new_history: bool,
}

impl Drop for Check {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.trace.join("\n"));
        }
    }
}

impl Check {
    async fn step(
        &mut self,
        store: &Store,
        patience: Duration,
        counts: &mut Counts,
    ) -> Option<WatchListMessage> {
        let before = pairs(&self.consumer.copy);
        let message = self.consumer.step(patience).await?;
        self.trace.push(told(&message));
        match &message {
            WatchListMessage::Changes {
                revision, events, ..
            } => {
                assert!(!events.is_empty());
                counts.events += events.len();
                let mut before = before;
                for event in events {
                    let kv = &event.kv;
                    let news = (kv.mod_revision, kv.value.clone());
                    let had = match event.kind {
                        EventKind::Put => before.insert(kv.key.clone(), news.clone()),
                        EventKind::Delete => {
                            let had = before.remove(&kv.key);
                            assert!(had.is_some(), "a delete of a key that is not in the copy");
                            had
                        }
                    };
                    let is_again = had.as_ref() == Some(&news);
                    assert!(
                        !is_again || self.is_new_history,
                        "delivered twice: {event:?}"
                    );
                }
                let copy = pairs(&self.consumer.copy);
                let is_whole = !self.is_synced || store.was(*revision, &copy);
                assert!(is_whole, "not the state at {revision}: {copy:?}");
            }
            WatchListMessage::Synced { revision } => {
                let copy = pairs(&self.consumer.copy);
                assert!(store.was(*revision, &copy), "not the state at {revision}");
                (self.is_synced, self.is_new_history) = (true, false);
            }
            WatchListMessage::Resync { cause } => {
                self.is_synced = false;
                match cause {
                    WatchEnd::Compacted { .. } => counts.compacted += 1,
                    WatchEnd::ClusterChanged => counts.changed += 1,
                    WatchEnd::RolledBack { .. } => counts.rolled_back += 1,
                    WatchEnd::Cancelled { .. } => counts.cancelled += 1,
                    other => panic!("{other}"),
                }
                self.is_new_history |= matches!(
                    cause,
                    WatchEnd::ClusterChanged | WatchEnd::RolledBack { .. }
                );
            }
        }
        Some(message)
    }
}

fn told(message: &WatchListMessage) -> String {
    match message {
        WatchListMessage::Changes { revision, events } => {
            let event = |event: &Event| {
                let sign = if event.kind == EventKind::Put {
                    '+'
                } else {
                    '-'
                };
                format!("{sign}{:?}@{}", event.kv.key, event.kv.mod_revision)
            };
            let events: Vec<_> = events.iter().map(event).collect();
            format!("    {revision}: {}", events.join(" "))
        }
        WatchListMessage::Synced { revision } => format!("    {revision}: synced"),
        WatchListMessage::Resync { cause } => format!("    {cause:?}"),
    }
}
