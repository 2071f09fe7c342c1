//! Each checker against a recording with the violation that it has to find.

mod evidence;

use std::sync::Arc;

use super::{Guarantee, check};
use crate::history::{
    Body, Compaction, End, Event, EventKind, History, Message, Op, Pair, Query, Recording, hash,
};

const SEEDS: u64 = 20;

/// Makes a store with few keys, so that each is written, deleted and created again.
fn history(random: &mut fastrand::Rng) -> History {
    let mut history = History::since(1);
    let keys: Vec<Arc<str>> = (0..8).map(|number| format!("k{number}").into()).collect();
    for _ in 0..200 {
        let mut ops = Vec::new();
        for key in &keys {
            match random.u8(..10) {
                0..3 => ops.push(Op::Put(Arc::clone(key), random.u64(..))),
                3 if history.present().contains_key(key) => ops.push(Op::Delete(Arc::clone(key))),
                _ => {}
            }
        }
        history.append(ops);
    }
    history
}

fn query(random: &mut fastrand::Rng) -> Query {
    Query {
        range_end: Some(if random.bool() { "k8" } else { "\0" }.into()),
        no_delete: random.u8(..4) == 0,
        prev_kv: true,
        ..Query::key("k1", random.i64(2..20))
    }
}

/// Makes the recording of a correct client.
fn faithful(history: &History, query: &Query, random: &mut fastrand::Rng) -> Recording {
    let mut bodies = vec![Body::Created {
        revision: query.start_revision,
    }];
    let expected = history.expected(query);
    let mut rest = expected.as_slice();
    while let Some(first) = rest.first() {
        // Some complete revisions in a message.
        let last = first.revision() + random.i64(0..4);
        let count = rest.partition_point(|event| event.revision() <= last);
        let events: Vec<Event> = rest[..count].iter().copied().cloned().collect();
        rest = &rest[count..];
        let revision = events.last().map_or(0, Event::revision);
        bodies.push(Body::Batch {
            header: history.revision(),
            revision,
            events,
        });
        match random.u8(..8) {
            0 => bodies.push(Body::Progress { revision: last }),
            1 => bodies.extend([Body::Disconnected, Body::Resumed]),
            _ => {}
        }
    }
    bodies.push(Body::Drained {
        revision: history.revision(),
    });
    Recording {
        name: "test".to_owned(),
        query: query.clone(),
        messages: (1..)
            .zip(bodies)
            .map(|(at, body)| Message { at, body })
            .collect(),
    }
}

/// A flaw that is added to a correct recording. Flaws of a batch change one in the middle.
#[derive(Clone, Copy, Debug)]
enum Flaw {
    LosesAnEvent,
    LosesABatch,
    LosesTheRest,
    RepeatsABatch,
    RepeatsAfterAResume,
    SkipsAfterAResume,
    SwapsBatches,
    SwapsWithinABatch,
    SplitsARevision,
    ClaimsMoreThanIsThere,
    ClaimsLessThanIsThere,
    StartsTooEarly,
    TellsAnotherStart,
    LetsStrangersThrough,
    LetsFilteredThrough,
    ForgetsWhatWasBefore,
    LiesAboutWhatWasBefore,
    TellsWhatWasBeforeUnasked,
    TellsAWriteAsACreation,
    TellsAnotherValue,
    MakesAnEventUp,
    MarksTooFar,
    EndsForNoReason,
    EndsForACompactionThatNobodyAsked,
    EndsForACompactionOfThePast,
}

impl Flaw {
    const ALL: [(Self, Guarantee); 25] = [
        (Self::LosesAnEvent, Guarantee::Reliable),
        (Self::LosesABatch, Guarantee::Reliable),
        (Self::LosesTheRest, Guarantee::Reliable),
        (Self::RepeatsABatch, Guarantee::Unique),
        (Self::RepeatsAfterAResume, Guarantee::Resumable),
        (Self::SkipsAfterAResume, Guarantee::Resumable),
        (Self::SwapsBatches, Guarantee::Ordered),
        (Self::SwapsWithinABatch, Guarantee::Ordered),
        (Self::SplitsARevision, Guarantee::Atomic),
        (Self::ClaimsMoreThanIsThere, Guarantee::Bookmarkable),
        (Self::ClaimsLessThanIsThere, Guarantee::Atomic),
        (Self::StartsTooEarly, Guarantee::Resumable),
        (Self::TellsAnotherStart, Guarantee::Resumable),
        (Self::LetsStrangersThrough, Guarantee::Filter),
        (Self::LetsFilteredThrough, Guarantee::Filter),
        (Self::ForgetsWhatWasBefore, Guarantee::PrevKv),
        (Self::LiesAboutWhatWasBefore, Guarantee::PrevKv),
        (Self::TellsWhatWasBeforeUnasked, Guarantee::PrevKv),
        (Self::TellsAWriteAsACreation, Guarantee::IsCreate),
        (Self::TellsAnotherValue, Guarantee::Reliable),
        (Self::MakesAnEventUp, Guarantee::Reliable),
        (Self::MarksTooFar, Guarantee::Bookmarkable),
        (Self::EndsForNoReason, Guarantee::Ended),
        (Self::EndsForACompactionThatNobodyAsked, Guarantee::Ended),
        (Self::EndsForACompactionOfThePast, Guarantee::Ended),
    ];

    fn disturb(self, history: &mut History, recording: &mut Recording) {
        let messages = &mut recording.messages;
        let batches: Vec<usize> = (0..messages.len())
            .filter(|number| matches!(messages[*number].body, Body::Batch { .. }))
            .collect();
        let at = batches[batches.len() / 2];
        let next = batches[batches.len() / 2 + 1];
        let message = |body| Message { at: 1_000, body };
        match self {
            Self::LosesAnEvent => {
                // An event with others in its message, so that the message itself stays.
                let at = batches[batches.len() / 3..]
                    .iter()
                    .find(|number| batch(&mut messages[**number]).len() > 1);
                batch(&mut messages[*at.unwrap()]).remove(0);
            }
            Self::LosesABatch => drop(messages.remove(at)),
            Self::LosesTheRest => drop(messages.drain(at..messages.len() - 1)),
            Self::RepeatsABatch => messages.insert(at, messages[at].clone()),
            Self::RepeatsAfterAResume => {
                messages.insert(at + 1, messages[at].clone());
                messages.insert(at + 1, message(Body::Resumed));
            }
            Self::SkipsAfterAResume => messages[at] = message(Body::Resumed),
            Self::SwapsBatches => messages.swap(at, next),
            Self::SwapsWithinABatch => {
                let events = batch(&mut messages[next]).clone();
                batch(&mut messages[at]).splice(..0, events);
            }
            Self::SplitsARevision => {
                let whole = batches.iter().find(|number| {
                    let events = batch(&mut messages[**number]);
                    let last = events.last().unwrap().revision();
                    events
                        .iter()
                        .filter(|event| event.revision() == last)
                        .count()
                        > 1
                });
                let whole = *whole.unwrap();
                let end = batch(&mut messages[whole]).pop().unwrap();
                let rest = Body::Batch {
                    header: 0,
                    revision: end.revision(),
                    events: vec![end],
                };
                messages.insert(whole + 1, message(rest));
            }
            Self::ClaimsMoreThanIsThere => {
                let later = batch(&mut messages[next])[0].revision();
                *through(&mut messages[at]) = later;
            }
            Self::ClaimsLessThanIsThere => *through(&mut messages[at]) -= 1,
            Self::StartsTooEarly => {
                let old = history
                    .events()
                    .iter()
                    .find(|event| event.revision() < 20 && recording.query.lets_through(event));
                recording.query.start_revision = old.unwrap().revision() + 1;
                messages[0].body = Body::Created {
                    revision: recording.query.start_revision,
                };
                let early = Body::Batch {
                    header: 0,
                    revision: old.unwrap().revision(),
                    events: vec![old.unwrap().clone()],
                };
                messages.insert(1, message(early));
            }
            Self::TellsAnotherStart => {
                let revision = recording.query.start_revision + 1;
                messages[0].body = Body::Created { revision };
            }
            Self::LetsStrangersThrough => batch(&mut messages[at])[0].key = "j".into(),
            Self::LetsFilteredThrough => recording.query.no_put = true,
            Self::ForgetsWhatWasBefore => change(messages, at).prev = None,
            Self::LiesAboutWhatWasBefore => {
                let prev = change(messages, at).prev.as_mut();
                prev.unwrap().value ^= 1;
            }
            Self::TellsWhatWasBeforeUnasked => recording.query.prev_kv = false,
            Self::TellsAWriteAsACreation => {
                let event = change(messages, at);
                event.pair.create_revision = event.revision();
            }
            Self::TellsAnotherValue => batch(&mut messages[at])[0].pair.value ^= 1,
            Self::MakesAnEventUp => {
                let mut event = batch(&mut messages[at])[0].clone();
                event.key = "k1x".into();
                batch(&mut messages[at]).insert(0, event);
            }
            Self::MarksTooFar => {
                let revision = batch(&mut messages[at])[0].revision();
                messages.insert(at, message(Body::Progress { revision }));
            }
            Self::EndsForNoReason => {
                messages.truncate(at);
                messages.push(message(Body::Ended(End::Other("a whim".to_owned()))));
            }
            Self::EndsForACompactionThatNobodyAsked => {
                messages.truncate(at);
                let revision = history.revision();
                messages.push(message(Body::Ended(End::Compacted { revision })));
            }
            Self::EndsForACompactionOfThePast => {
                let revision = batch(&mut messages[at])[0].revision();
                history.compact(Compaction { at: 0, revision });
                messages.truncate(at + 1);
                messages.push(message(Body::Ended(End::Compacted { revision })));
            }
        }
    }
}

/// Returns the events of a batch.
fn batch(message: &mut Message) -> &mut Vec<Event> {
    match &mut message.body {
        Body::Batch { events, .. } => events,
        other => panic!("{other:?} is no batch"),
    }
}

/// Returns the revision up to which a batch is complete.
fn through(message: &mut Message) -> &mut i64 {
    match &mut message.body {
        Body::Batch { revision, .. } => revision,
        other => panic!("{other:?} is no batch"),
    }
}

/// Returns the first put from this message on that changes a key.
fn change(messages: &mut [Message], from: usize) -> &mut Event {
    let batches = messages[from..].iter_mut();
    let mut events = batches.flat_map(|message| match &mut message.body {
        Body::Batch { events, .. } => events.as_mut_slice(),
        _ => &mut [],
    });
    let found = events.find(|event| event.kind == EventKind::Put && !event.is_create());
    found.unwrap()
}

#[test]
fn a_correct_client_has_no_violation() {
    for seed in 0..SEEDS {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut history = history(&mut random);
        let query = query(&mut random);
        let mut recording = faithful(&history, &query, &mut random);
        assert_eq!(check(&history, &recording), [], "seed {seed}");

        // A correct end: the next revision is below the compacted one.
        recording.messages.truncate(recording.messages.len() / 2);
        let at = 500;
        let revision = history.revision();
        history.compact(Compaction { at, revision });
        let body = Body::Ended(End::Compacted { revision });
        recording.messages.push(Message { at, body });
        assert_eq!(check(&history, &recording), [], "seed {seed}");
    }
}

#[test]
fn each_flaw_is_found_by_its_checker() {
    for (flaw, guarantee) in Flaw::ALL {
        for seed in 0..SEEDS {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut history = history(&mut random);
            let query = query(&mut random);
            let mut recording = faithful(&history, &query, &mut random);
            flaw.disturb(&mut history, &mut recording);
            let violations = check(&history, &recording);
            let seen = violations.iter().find(|one| one.guarantee == guarantee);
            let seen = seen.unwrap_or_else(|| panic!("{flaw:?}, seed {seed}: {violations:?}"));
            let told = seen.explain(&history, &recording);
            assert!(told.contains("what came"), "{told}");
        }
    }
}

#[test]
fn the_pair_before_may_be_missing_once_it_is_compacted() {
    let mut random = fastrand::Rng::with_seed(1);
    let mut history = history(&mut random);
    let query = query(&mut random);
    let mut recording = faithful(&history, &query, &mut random);
    let event = change(&mut recording.messages, 3);
    event.prev = None;
    let before = event.revision() - 1;
    // A server can still read the pair at the compacted revision itself.
    history.compact(Compaction {
        at: 0,
        revision: before,
    });
    assert_eq!(check(&history, &recording).len(), 1);
    history.compact(Compaction {
        at: 1_000_000,
        revision: before + 1,
    });
    assert_eq!(check(&history, &recording).len(), 1, "not compacted yet");
    history.compact(Compaction {
        at: 0,
        revision: before + 1,
    });
    assert_eq!(check(&history, &recording), []);
}

#[test]
fn a_single_key_is_a_range_of_one() {
    let mut history = History::since(1);
    let put = |key: &str| [Op::Put(key.into(), hash(key.as_bytes()))];
    for key in ["a", "ab", "a", "b"] {
        history.append(put(key));
    }
    history.append([Op::Delete("a".into())]);
    let revisions = |query: &Query| -> Vec<i64> {
        let events = history.expected(query).into_iter();
        events.map(Event::revision).collect()
    };
    let key = Query::key("a", 3);
    assert_eq!(revisions(&key), [4, 6]);
    let to = |end: &str| Query {
        range_end: Some(end.into()),
        ..Query::key("a", 2)
    };
    assert_eq!(revisions(&to("b")), [2, 3, 4, 6]);
    assert_eq!(revisions(&to("\0")), [2, 3, 4, 5, 6]);
    let puts = Query {
        no_delete: true,
        ..key
    };
    assert_eq!(revisions(&puts), [4]);
    let event = history.find("a", 6).unwrap();
    let gone = Pair {
        create_revision: 0,
        mod_revision: 6,
        version: 0,
        value: hash(b""),
    };
    assert_eq!(event.pair, gone);
    let last = event.prev.as_deref().unwrap();
    assert_eq!(
        (last.create_revision, last.mod_revision, last.version),
        (2, 4, 2)
    );
}
