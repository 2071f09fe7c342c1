//! The checkers that need more than the history, each against a recording with the violation that
//! it has to find; and excuses.

use super::super::{
    Guarantee, Violation, Wire, check, dropped, grounded, mirrored, needless, owner,
};
use crate::history::{
    Body, Compaction, End, Event, History, Message, Moment, Op, Query, Recording,
};

/// The key `a` changes at each revision from 2 to 9, `b` at 5 as well.
fn history() -> History {
    let mut history = History::since(1);
    for revision in 2..10 {
        let mut ops = vec![Op::Put("a".into(), 1)];
        if revision == 5 {
            ops.push(Op::Put("b".into(), 1));
        }
        history.append(ops);
        // The writes begin at 1.0 s, 2.0 s and so on, and are acknowledged half a second later.
        let began = u64::try_from(revision).unwrap() * 1_000;
        history.date(Moment {
            revision,
            began: Some(began),
            known: began + 500,
        });
    }
    history.compact(Compaction { at: 0, revision: 6 });
    history
}

/// Returns the change of a key, as in a watch without `prev_kv`.
fn event(key: &str, revision: i64) -> Option<Event> {
    let mut event = history().find(key, revision).cloned()?;
    event.prev = None;
    Some(event)
}

fn batch(key: &str, revision: i64) -> Body {
    Body::Batch {
        header: revision,
        revision,
        events: event(key, revision).into_iter().collect(),
    }
}

fn recording(name: &str, key: &str, start: i64, bodies: Vec<(u64, Body)>) -> Recording {
    let messages = bodies.into_iter().map(|(at, body)| Message { at, body });
    Recording {
        name: name.to_owned(),
        query: Query::key(key, start),
        messages: messages.collect(),
    }
}

/// Makes the recording of a server, from a request on.
fn stretch(start: i64, at: u64, bodies: Vec<(u64, Body)>) -> Recording {
    let head = [
        (at, Body::Asked { revision: start }),
        (at, Body::Created { revision: start }),
    ];
    let bodies = head.into_iter().chain(bodies).collect();
    recording("one n1 link 1 stream 1 watch 1", "a", start, bodies)
}

/// Makes the recording of a consumer that opened its watch at 100.
fn told(start: i64, bodies: Vec<(u64, Body)>) -> Recording {
    let head = [
        (100, Body::Asked { revision: start }),
        (110, Body::Created { revision: start }),
    ];
    let bodies = head.into_iter().chain(bodies).collect();
    recording("one/watch#1", "a", start, bodies)
}

fn guarantees(violations: &[Violation]) -> Vec<Guarantee> {
    let guarantees = violations.iter().map(|violation| violation.guarantee);
    guarantees.collect()
}

#[test]
fn a_watch_from_now_on_begins_between_its_call_and_its_creation() {
    // Called at 4.6 s, when 4 was known; in force at 6.2 s, when 7 was not yet begun.
    let started = |start: i64| {
        let bodies = vec![
            (4_600, Body::Asked { revision: 0 }),
            (6_200, Body::Created { revision: start }),
        ];
        let watch = recording("one/watch#1", "a", start, bodies);
        guarantees(&check(&history(), &watch))
    };
    for right in [5, 6, 7] {
        assert_eq!(started(right), [], "{right}");
    }
    assert_eq!(
        started(4),
        [Guarantee::Started],
        "delivers an event from before the call"
    );
    assert_eq!(
        started(8),
        [Guarantee::Started],
        "leaves out an event from after the creation"
    );
}

#[test]
fn a_watch_resumes_only_from_justified_revisions() {
    let resumed = |from: i64, binding: bool| {
        let answered = Body::Answered {
            revision: 6,
            binding,
        };
        let wire = [
            stretch(
                2,
                120,
                vec![(200, batch("a", 2)), (210, batch("a", 3)), (300, answered)],
            ),
            stretch(from, 400, Vec::new()),
        ];
        let wire: Vec<&Recording> = wire.iter().collect();
        grounded(&told(2, vec![(220, batch("a", 2))]), &wire)
    };
    assert_eq!(resumed(4, false), []);
    assert_eq!(resumed(3, false), [], "an earlier revision is safe");
    assert_eq!(resumed(7, true), [], "answers of this server are exact");
    let late = resumed(5, false);
    assert_eq!(guarantees(&late), [Guarantee::Grounded]);
    assert!(late[0].what.contains("nothing that came"), "{late:?}");
    let believed = resumed(7, false);
    assert_eq!(guarantees(&believed), [Guarantee::Grounded]);
    assert!(
        believed[0].what.contains("may give too early"),
        "{believed:?}"
    );
    // A later message does not justify an earlier request.
    let wire = [
        stretch(2, 120, vec![(450, batch("a", 5))]),
        stretch(6, 400, Vec::new()),
    ];
    let wire: Vec<&Recording> = wire.iter().collect();
    let early = grounded(&told(2, Vec::new()), &wire);
    assert_eq!(guarantees(&early), [Guarantee::Grounded]);
}

#[test]
fn a_watch_ends_as_compacted_only_if_it_had_to() {
    let end = Body::Ended(End::Compacted { revision: 6 });
    let watch = told(2, vec![(900, end.clone())]);
    let ended = |wire: Vec<Recording>| {
        let wire: Vec<&Recording> = wire.iter().collect();
        guarantees(&needless(&watch, &wire))
    };
    let first = |bodies| stretch(2, 120, bodies);
    let refused = stretch(3, 800, vec![(810, end)]);
    let settled = |at, revision| (at, Body::Settled { revision });
    assert_eq!(ended(vec![first(Vec::new()), refused.clone()]), []);
    let knew_less = first(vec![settled(700, 4)]);
    assert_eq!(
        ended(vec![knew_less, refused.clone()]),
        [],
        "5 was compacted"
    );
    let knew_late = first(vec![settled(850, 8)]);
    assert_eq!(ended(vec![knew_late, refused.clone()]), []);
    let knew = first(vec![settled(700, 8)]);
    assert_eq!(
        ended(vec![knew, refused]),
        [Guarantee::Ended],
        "stood still"
    );
    assert_eq!(
        ended(vec![first(Vec::new())]),
        [Guarantee::Ended],
        "made up"
    );
}

#[test]
fn a_cancelled_watch_delivers_nothing_and_is_removed() {
    let bare = told(2, vec![(200, Body::Cancelled)]);
    let server = |at| vec![stretch(2, 120, vec![(at, Body::Progress { revision: 9 })])];
    let judge = |watch: &Recording, wire: Vec<Recording>| {
        let wire: Vec<&Recording> = wire.iter().collect();
        guarantees(&dropped(watch, &wire))
    };
    assert_eq!(judge(&bare, server(300)), []);
    assert_eq!(judge(&bare, server(20_000_000)), [Guarantee::Dropped]);
    let asked_late = stretch(2, 300, vec![(20_000_000, batch("a", 2))]);
    assert_eq!(judge(&bare, vec![asked_late]), [Guarantee::Dropped]);
    let chatty = told(2, vec![(200, Body::Cancelled), (201, batch("a", 2))]);
    assert_eq!(judge(&chatty, Vec::new()), [Guarantee::Dropped]);
}

#[test]
fn a_watcher_gets_outages_in_pairs_and_answers() {
    let judge = |bodies: Vec<(u64, Body)>| {
        let recording = recording("one/*", "", 0, bodies);
        guarantees(&owner(&recording))
    };
    let (down, up) = (Body::Disconnected, Body::Resumed);
    let end = Body::Drained { revision: 9 };
    let pair = vec![(1, down.clone()), (2, up.clone()), (3, end.clone())];
    assert_eq!(judge(pair), []);
    assert_eq!(judge(vec![(1, up.clone())]), [Guarantee::Paired]);
    assert_eq!(
        judge(vec![(1, down.clone()), (2, down.clone())]),
        [Guarantee::Paired]
    );
    assert_eq!(
        judge(vec![(1, down.clone()), (2, end.clone())]),
        [Guarantee::Paired]
    );

    let late = 40_000_000;
    let ask = Body::Requested;
    let answer = Body::Progress { revision: 9 };
    assert_eq!(
        judge(vec![(1, ask.clone()), (2, answer), (late, end.clone())]),
        []
    );
    assert_eq!(
        judge(vec![(late - 1, ask.clone()), (late, end.clone())]),
        []
    );
    assert_eq!(
        judge(vec![(1, ask.clone()), (late, end.clone())]),
        [Guarantee::Answered]
    );
    let outage = vec![(1, ask), (late - 2, down), (late - 1, up), (late, end)];
    assert_eq!(
        judge(outage),
        [],
        "the answer may be lost with the connection"
    );
    let stray = Body::Ended(End::Other("of a dropped watch".to_owned()));
    assert_eq!(judge(vec![(1, stray)]), [Guarantee::Dropped]);
}

#[test]
fn a_watched_list_is_a_copy_and_delivers_each_difference_once() {
    let judge = |bodies: Vec<Body>| {
        let bodies = (1..).zip(bodies).collect();
        let list = recording("lists/a", "a", 0, bodies);
        let violations = mirrored(&history(), &list);
        violations
            .into_iter()
            .map(|one| one.what)
            .collect::<Vec<_>>()
    };
    let drained = Body::Drained { revision: 9 };
    let synced = |revision| Body::Synced { revision };
    let resync = || Body::Resync(End::Compacted { revision: 6 });
    let rest = || (5..10).map(|revision| batch("a", revision));
    let whole = || {
        let mut bodies = vec![batch("a", 4), synced(4)];
        bodies.extend(rest());
        bodies
    };
    let ended = |mut bodies: Vec<Body>| {
        bodies.push(drained.clone());
        bodies
    };
    assert_eq!(judge(ended(whole())), [""; 0]);
    let again = [batch("a", 4), synced(4), resync(), batch("a", 9), synced(9)];
    assert_eq!(judge(ended(again.to_vec())), [""; 0]);
    // A lease has expired after the end of the history.
    let mut late = event("a", 9).unwrap();
    late.pair.mod_revision = 10;
    let mut longer = whole();
    longer.push(Body::Batch {
        header: 0,
        revision: 10,
        events: vec![late],
    });
    assert_eq!(judge(ended(longer)), [""; 0]);
    // The list was read only after the expiry.
    assert_eq!(judge(ended(vec![synced(10)])), [""; 0]);
    let one = |bodies: Vec<Body>, part: &str| {
        let told = judge(bodies);
        assert!(told.len() == 1 && told[0].contains(part), "{told:?}");
    };
    let without = |place: usize| {
        let mut bodies = whole();
        bodies.remove(place);
        bodies
    };
    one(ended(without(3)), "comes next");
    one(ended(without(6)), "never came");
    one(ended(without(0)), "not what the store was");
    one(ended(vec![synced(9)]), "not what the store was");
    let mut twice = whole();
    twice.push(batch("a", 9));
    one(ended(twice), "nothing is left");
    let same = [
        batch("a", 4),
        synced(4),
        resync(),
        batch("a", 4),
        batch("a", 9),
        synced(9),
    ];
    one(ended(same.to_vec()), "is no difference");
    one(ended(vec![batch("a", 4)]), "never told a whole state");
    let mut needless = whole();
    needless.extend([Body::Resync(End::Compacted { revision: 9 }), synced(9)]);
    one(ended(needless), "read everything again");
    one(
        vec![Body::Ended(End::Other("a whim".to_owned()))],
        "it ended",
    );
}

/// Returns the excuse of the first violation of this watch.
fn excuse(watch: &Recording, wire: &[Recording]) -> Result<String, Option<String>> {
    let history = history();
    let wire = Wire::new(&history, wire);
    let violations = check(&history, watch);
    let excuse = wire.excuse(watch, &violations[0])?;
    Ok(excuse.proof())
}

#[test]
fn a_loss_is_excused_only_if_the_server_lost_it_everywhere() {
    let lossy = || vec![(200, batch("a", 2)), (210, batch("a", 4))];
    let watch = told(2, lossy());
    let proof = excuse(&watch, &[stretch(2, 120, lossy())]).unwrap();
    assert!(proof.contains("from 2 to 4"), "{proof}");
    assert!(
        proof.contains("Reliable: Put of a never came (revision 3)"),
        "{proof}"
    );

    // The same loss after an outage has the same excuse.
    let mut resumed = watch.clone();
    resumed.messages.insert(
        3,
        Message {
            at: 205,
            body: Body::Resumed,
        },
    );
    let violations = check(&history(), &resumed);
    assert_eq!(
        guarantees(&violations),
        [Guarantee::Reliable, Guarantee::Resumable]
    );
    let wire = [stretch(2, 120, lossy())];
    let history = history();
    let wire = Wire::new(&history, &wire);
    assert!(
        violations
            .iter()
            .all(|one| wire.excuse(&resumed, one).is_ok())
    );

    // A stretch carries the event.
    let later = stretch(3, 300, vec![(310, batch("a", 3))]);
    let why = excuse(&watch, &[stretch(2, 120, lossy()), later]).unwrap_err();
    assert!(why.unwrap().contains("carries it, message 2"));
    // The event was lost with a connection, the client asked again, and then the server lost it.
    let before = stretch(2, 120, vec![(200, batch("a", 2)), (210, batch("a", 3))]);
    let again = stretch(3, 300, vec![(310, batch("a", 4))]);
    let proof = excuse(&watch, &[before.clone(), again]).unwrap();
    assert!(proof.contains("from 3 to 4"), "{proof}");
    let behind = stretch(4, 300, vec![(310, batch("a", 4))]);
    assert!(
        excuse(&watch, &[before, behind]).is_err(),
        "the client did not ask again"
    );
    // The wire has no violation.
    assert_eq!(
        excuse(&watch, &[stretch(2, 120, vec![(200, batch("a", 2))])]),
        Err(None)
    );
    // Recordings of another client or query are no excuse.
    let other = |change: fn(&mut Recording)| {
        let mut other = stretch(2, 120, lossy());
        change(&mut other);
        excuse(&watch, &[other])
    };
    assert_eq!(
        other(|stretch| stretch.name = "two n1 link 1".to_owned()),
        Err(None)
    );
    assert_eq!(other(|stretch| stretch.query.prev_kv = true), Err(None));
}

/// An event that a server left out is excused only for a fault that servers are known to have.
#[test]
fn a_loss_is_excused_only_where_a_compaction_explains_it() {
    let judge = |lossy: Vec<(u64, Body)>, compaction: Compaction| {
        let mut history = History::since(1);
        for revision in 2..10 {
            history.append([match revision {
                8 => Op::Delete("a".into()),
                _ => Op::Put("a".into(), 1),
            }]);
        }
        history.compact(compaction);
        let watch = told(2, lossy.clone());
        let wire = [stretch(2, 120, lossy)];
        let wire = Wire::new(&history, &wire);
        let violations = check(&history, &watch);
        let lost = violations.iter().find(|one| one.revision == 8);
        let excuse = wire.excuse(&watch, lost.expect("it is lost"));
        excuse.map(|excuse| excuse.proof())
    };
    let put = |revision| {
        let mut body = batch("a", 2);
        if let Body::Batch {
            header,
            revision: through,
            events,
        } = &mut body
        {
            (*header, *through) = (revision, revision);
            events[0].pair.mod_revision = revision;
        }
        body
    };
    // It goes on behind a compaction that it is not told of.
    let jump = || vec![(200, put(2)), (300, put(9))];
    let proof = judge(
        jump(),
        Compaction {
            at: 250,
            revision: 4,
        },
    )
    .unwrap();
    assert!(
        proof.contains("it had to go on from 3 and was not told of the compaction to 4"),
        "{proof}"
    );
    let no_reason = |lossy, at, revision| {
        let why = judge(lossy, Compaction { at, revision }).unwrap_err();
        assert!(why.unwrap().contains("no known reason"));
    };
    no_reason(jump(), 301, 4);
    no_reason(jump(), 250, 3);
    // It had sent all that was compacted.
    let whole = || (2..8).map(|revision| (200, put(revision)));
    let late: Vec<_> = whole()
        .chain([(300, Body::Progress { revision: 9 })])
        .collect();
    no_reason(late.clone(), 250, 7);
    let proof = judge(
        late,
        Compaction {
            at: 250,
            revision: 8,
        },
    )
    .unwrap();
    assert!(
        proof.contains("was removed by the compaction to 8"),
        "{proof}"
    );
    // It was about to send it.
    let Body::Batch { events: more, .. } = put(9) else {
        unreachable!()
    };
    let mut amid = put(2);
    if let Body::Batch {
        revision, events, ..
    } = &mut amid
    {
        *revision = 9;
        events.extend(more);
    }
    no_reason(vec![(300, amid)], 250, 4);
}

/// The client of finding G1: a server of 3.4.23 answers a request for progress while events are
/// under way, the client believes it, and the connection ends.
#[test]
fn an_answer_that_is_not_exact_excuses_nothing() {
    let answered = Body::Answered {
        revision: 4,
        binding: false,
    };
    let first = stretch(2, 120, vec![(200, batch("a", 2)), (210, answered.clone())]);
    let second = stretch(5, 300, vec![(310, batch("a", 5))]);
    let watch = told(2, vec![(220, batch("a", 2)), (320, batch("a", 5))]);
    let wire = [first, second];
    assert_eq!(excuse(&watch, &wire), Err(None));
    let wire: Vec<&Recording> = wire.iter().collect();
    assert_eq!(guarantees(&grounded(&watch, &wire)), [Guarantee::Grounded]);

    // The answer does not excuse a progress message that comes too early either.
    let early = vec![
        (210, answered),
        (220, batch("a", 2)),
        (230, batch("a", 3)),
        (240, batch("a", 4)),
    ];
    let wire = [stretch(2, 120, early)];
    let mark = Body::Progress { revision: 4 };
    let rest = [2, 3, 4].map(|revision| (230, batch("a", revision)));
    let watch = told(2, [(215, mark)].into_iter().chain(rest).collect());
    let violations = check(&history(), &watch);
    assert!(
        violations
            .iter()
            .all(|one| one.guarantee == Guarantee::Bookmarkable)
    );
    assert_eq!(excuse(&watch, &wire), Err(None));
}

#[test]
fn only_a_violation_of_the_same_guarantee_and_key_is_an_excuse() {
    let twice = vec![(200, batch("a", 2)), (210, batch("a", 2))];
    let watch = told(2, twice.clone());
    // A violation of Unique at 2, and no loss of 2.
    assert!(excuse(&watch, &[stretch(2, 120, twice.clone())]).is_ok());
    let lossy = stretch(2, 120, vec![(200, batch("a", 3))]);
    assert_eq!(
        excuse(&watch, &[lossy]),
        Err(None),
        "the violation at 2 is another one"
    );

    // Both keys change at 5, and the server loses the other one.
    let prefix = |name: &str, events: &[&str]| {
        let mut recording = recording(name, "a", 5, Vec::new());
        recording.query.range_end = Some("c".into());
        let found: Vec<Event> = events.iter().filter_map(|key| event(key, 5)).collect();
        let body = Body::Batch {
            header: 5,
            revision: 5,
            events: found,
        };
        recording.messages.push(Message { at: 1, body });
        recording
    };
    let watch = prefix("one/watch#1", &["a"]);
    let why = excuse(&watch, &[prefix("one n1", &["a"])]).unwrap_err();
    assert!(
        why.unwrap().contains("no known reason"),
        "it sent half of 5"
    );
    assert!(excuse(&watch, &[prefix("one n1", &[])]).is_ok());
    let other = [prefix("one n1", &["b"])];
    assert!(excuse(&watch, &other).is_err());
}
