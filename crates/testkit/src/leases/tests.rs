//! Tests that each broken promise is found.

use super::*;
use crate::calls::Period;
use crate::history::{History, Op};

mod deposed;
mod turns;

const SECOND: u64 = 1_000_000;
const TTL: u64 = 3 * SECOND;

/// A lease that is kept for a minute, with these states of its keeper.
fn lease(words: impl IntoIterator<Item = (u64, State)>) -> KeptLease {
    let words = words.into_iter();
    KeptLease {
        way: 0,
        key: "leases/1".into(),
        ttl: TTL,
        began: 0,
        ended: 60 * SECOND,
        words: words
            .map(|(second, state)| Word {
                at: second * SECOND,
                state,
            })
            .collect(),
    }
}

/// Reports each second, up to this one, that the lease lives for its time-to-live.
fn lives(to: u64) -> impl Iterator<Item = (u64, State)> {
    (0..to).map(|second| (second, State::Lives(second * SECOND + TTL)))
}

/// Makes a read each second, which finds the lease up to this second.
fn looks(to: u64) -> Vec<Look> {
    (0..60)
        .map(|second| Look {
            began: second * SECOND,
            ended: second * SECOND + 1,
            term: 3,
            keys: (second <= to)
                .then(|| "leases/1".into())
                .into_iter()
                .collect(),
        })
        .collect()
}

fn served(from: u64, to: u64) -> Vec<(usize, Period)> {
    let period = Period {
        from: from * SECOND,
        to: to * SECOND,
        what: Period::CALM.to_owned(),
    };
    vec![(0, period)]
}

/// Each promise that was broken, and whether a server is proven to have broken it.
fn promises(faults: &[Fault]) -> Vec<(Promise, bool)> {
    let faults = faults.iter();
    faults
        .map(|fault| (fault.promise, fault.excuse.is_some()))
        .collect()
}

fn check(
    leases: &[KeptLease],
    looks: &[Look],
    left: &[Left],
    served: &[(usize, Period)],
) -> Vec<Fault> {
    check_leases(Leases {
        leases,
        looks,
        left,
        served,
        deposed: &Deposed::default(),
    })
}

#[test]
fn a_lease_that_lives_and_one_that_expires_without_servers_break_no_promise() {
    let lived = lease(lives(60));
    let faults = check(&[lived], &looks(60), &[], &served(0, 60));
    assert_eq!(faults, []);
    let words = lives(20).chain([(24, State::Unknown), (40, State::Lost)]);
    let faults = check(&[lease(words)], &looks(30), &[], &served(0, 20));
    assert_eq!(faults, []);
}

#[test]
fn a_lease_lives_for_as_long_as_its_keeper_says() {
    let faults = check(&[lease(lives(30))], &looks(28), &[], &[]);
    assert_eq!(promises(&faults), [(Promise::Alive, false)]);
    // Reported long before, for the time after.
    let word = [(1, State::Lives(40 * SECOND))];
    let faults = check(&[lease(word)], &looks(28), &[], &[]);
    assert_eq!(promises(&faults), [(Promise::Alive, false)]);
}

#[test]
fn a_lease_that_could_be_renewed_does_not_expire() {
    let judge = |served: &[_]| {
        let words = lives(20).chain([(25, State::Unknown), (29, State::Lost)]);
        let faults = check(&[lease(words)], &looks(28), &[], served);
        promises(&faults)
    };
    assert_eq!(judge(&served(10, 60)), [(Promise::Kept, false)]);
    // Served until just before the end of the lease.
    assert_eq!(judge(&served(10, 28)), [(Promise::Kept, false)]);
    // Served for too short a time, or too long ago, or over another way.
    assert_eq!(judge(&served(20, 60)), []);
    assert_eq!(judge(&served(0, 20)), []);
    let mut other = served(10, 60);
    other[0].0 = 1;
    assert_eq!(judge(&other), []);
}

#[test]
fn a_lease_that_is_gone_is_reported_as_lost_in_time() {
    let judge = |said: Option<u64>, served: &[_]| {
        let said = said.map(|second| (second, State::Lost));
        let words = lives(1).chain([(25, State::Unknown)]).chain(said);
        let faults = check(&[lease(words)], &looks(20), &[], served);
        promises(&faults)
    };
    assert_eq!(judge(None, &served(25, 60)), [(Promise::Told, false)]);
    assert_eq!(judge(Some(50), &served(25, 60)), [(Promise::Told, false)]);
    assert_eq!(judge(Some(30), &served(25, 60)), []);
    assert_eq!(judge(None, &served(25, 30)), []);
}

#[test]
fn a_lease_that_exists_is_not_reported_as_lost() {
    let words = lives(20).chain([(20, State::Lost)]);
    let faults = check(&[lease(words)], &looks(60), &[], &[]);
    assert_eq!(promises(&faults), [(Promise::Lost, false)]);
    let words = lives(20).chain([(20, State::Lost)]);
    let faults = check(&[lease(words)], &looks(20), &[], &[]);
    assert_eq!(promises(&faults), [(Promise::Alive, false)]);
}

#[test]
fn a_server_has_as_much_time_left_as_the_keeper_says() {
    let judge = |seconds: Option<u64>, served: &[_]| {
        let left = Left {
            key: "leases/1".into(),
            began: 10 * SECOND + 1,
            ended: 10 * SECOND + 2,
            left: seconds.map(|seconds| seconds * SECOND),
        };
        let faults = check(&[lease(lives(60))], &looks(60), &[left], served);
        promises(&faults)
    };
    assert_eq!(judge(Some(3), &served(0, 60)), []);
    // Truncated to whole seconds.
    assert_eq!(judge(Some(2), &served(0, 60)), []);
    assert_eq!(judge(Some(1), &served(0, 60)), [(Promise::Left, false)]);
    assert_eq!(judge(None, &served(0, 60)), [(Promise::Left, false)]);
    // Reported by a server that may have been stopped.
    assert_eq!(judge(Some(1), &[]), []);
}

/// Two keys of a lock: the first holds it from 2 to 4, the second until 5.
fn queue() -> History {
    let mut history = History::since(1);
    history.append([Op::Put("lock/a".into(), 0)]);
    history.append([Op::Put("lock/b".into(), 0)]);
    history.append([Op::Delete("lock/a".into())]);
    history.append([Op::Delete("lock/b".into())]);
    history
}

fn grant(key: &str, at: u64, until: u64, fenced: Option<i64>) -> Grant {
    Grant {
        name: "lock".into(),
        key: key.into(),
        at,
        until,
        fenced,
    }
}

fn judge(grants: &[Grant], gives_lost_locks: bool) -> Vec<(Promise, bool)> {
    let grants = Grants {
        grants,
        gives_lost_locks,
        deposed: &Deposed::default(),
    };
    promises(&check_locks(&queue(), grants))
}

#[test]
fn a_lock_is_held_by_the_key_that_was_created_first() {
    let good = [
        grant("lock/a", 10, 20, Some(3)),
        grant("lock/b", 20, 30, Some(4)),
    ];
    assert_eq!(judge(&good, false), []);
    // Written while the other key held the lock, or after the lock was released.
    for revision in [3, 5] {
        let early = grant("lock/b", 20, 30, Some(revision));
        assert_eq!(judge(&[early], false), [(Promise::First, false)]);
    }
    let never = grant("lock/c", 20, 30, None);
    assert_eq!(
        judge(std::slice::from_ref(&never), false),
        [(Promise::First, false)]
    );
    assert_eq!(judge(&[never], true), [(Promise::First, true)]);
    let never = grant("lock/c", 20, 30, Some(4));
    assert_eq!(judge(&[never], true), [(Promise::First, false)]);
}

#[test]
fn no_two_takers_hold_a_lock_at_a_time() {
    let both = [
        grant("lock/a", 10, 20, Some(3)),
        grant("lock/b", 19, 30, Some(4)),
    ];
    assert_eq!(judge(&both, false), [(Promise::Alone, false)]);
    // The first taker holds the lock while two others take and release it.
    let three = [
        grant("lock/a", 10, 50, Some(3)),
        grant("lock/b", 20, 30, Some(4)),
        grant("lock/b", 40, 45, Some(4)),
    ];
    let found = [(Promise::Alone, false), (Promise::Alone, false)];
    assert_eq!(judge(&three, false), found);
    // The answer came so late that the second taker never took itself for the holder.
    let late = [
        grant("lock/a", 10, 20, Some(3)),
        grant("lock/b", 15, 15, None),
    ];
    assert_eq!(judge(&late, false), []);
    let mut other = both;
    other[1].name = "other".into();
    other[1].key = "lock/b".into();
    assert_eq!(judge(&other[..1], false), []);
}
