//! Takers that get their locks again after the last fault, and excuses by a server that loses
//! locks.

use super::*;

/// The end of the last fault.
const CALM: u64 = 100 * SECOND;

fn turn(key: &str, began: u64, ended: u64, end: TurnEnd) -> Turn {
    Turn {
        taker: "one".into(),
        lock: "lock".into(),
        key: format!("lock/{key}").into(),
        began,
        ended,
        end,
    }
}

/// Makes reads of 10 ms each, every 50 ms, with the same keys.
fn queue(from: u64, to: u64, keys: &[&str]) -> Vec<Queue> {
    let looks = (from..to).step_by(50_000);
    let looks = looks.map(|at| Queue {
        began: at,
        ended: at + 10_000,
        keys: keys.iter().map(|key| (*key).into()).collect(),
    });
    looks.collect()
}

/// Makes reads at these moments, with these terms.
fn terms(terms: &[(u64, u64)]) -> Vec<Look> {
    let looks = terms.iter().map(|(at, term)| Look {
        began: *at,
        ended: *at,
        term: *term,
        keys: BTreeSet::new(),
    });
    looks.collect()
}

fn judge_with(turns: &[Turn], queues: &[Queue], replies: &[Reply], loses: bool) -> Vec<bool> {
    judge_all(Turns {
        turns,
        queues,
        replies,
        looks: &[],
        calm: CALM,
        loses_waiting_locks: loses,
    })
}

fn judge_all(run: Turns<'_>) -> Vec<bool> {
    let faults = check_turns(run);
    let faults = promises(&faults).into_iter();
    let faults = faults.inspect(|(promise, _)| assert_eq!(*promise, Promise::Available));
    faults.map(|(_, excused)| excused).collect()
}

fn judge(turns: &[Turn], queues: &[Queue], replies: &[Reply]) -> Vec<bool> {
    judge_with(turns, queues, replies, true)
}

#[test]
fn a_taker_has_its_lock_within_the_time_after_the_last_fault() {
    let granted = |began, ended| [turn("1", began, ended, TurnEnd::Granted)];
    assert!(judge(&granted(CALM + 1, CALM + 2), &[], &[]).is_empty());
    // Begun during the faults.
    assert!(judge(&granted(CALM - 1, CALM + 2), &[], &[]).is_empty());
    assert!(judge(&granted(CALM + 1, CALM + TURN), &[], &[]).is_empty());
    // Too early, and too late.
    assert_eq!(judge(&granted(CALM - 2, CALM - 1), &[], &[]), [false]);
    assert_eq!(
        judge(&granted(CALM + 1, CALM + TURN + 1), &[], &[]),
        [false]
    );
    // Each taker separately.
    let mut both = granted(CALM + 1, CALM + 2).to_vec();
    both.push(Turn {
        taker: "other".into(),
        ..turn("2", CALM + 1, CALM + 3, TurnEnd::Failed)
    });
    assert_eq!(judge(&both, &[], &[]), [false]);
}

#[test]
fn a_lock_that_the_server_has_lost_is_excused() {
    let began = CALM + SECOND;
    let ended = began + SECOND;
    let turns = [turn("1", began, ended, TurnEnd::GaveUp)];
    // The taker's own key is the first, or a key of another taker that no server has granted.
    let first = queue(began, ended, &["lock/1"]);
    assert_eq!(judge(&turns, &first, &[]), [true]);
    let behind = queue(began, ended, &["other/7", "lock/9", "lock/1"]);
    assert_eq!(judge(&turns, &behind, &[]), [true]);
    // No excuse on a server that loses no locks.
    assert_eq!(judge_with(&turns, &first, &[], false), [false]);
}

#[test]
fn faults_of_the_client_are_not_excused() {
    let began = CALM + SECOND;
    let ended = began + SECOND;
    let gave_up = [turn("1", began, ended, TurnEnd::GaveUp)];
    let first = queue(began, ended, &["lock/1"]);
    // The server has answered.
    let reply = |at| Reply {
        key: "lock/1".into(),
        at,
    };
    assert_eq!(judge(&gave_up, &first, &[reply(began + 100_000)]), [false]);
    assert_eq!(judge(&gave_up, &first, &[reply(began + 899_999)]), [false]);
    // The server has answered too late.
    assert_eq!(judge(&gave_up, &first, &[reply(began + 900_000)]), [true]);
    // The request never reached the server, or the first key is that of another lock.
    assert_eq!(
        judge(&gave_up, &queue(began, ended, &["lock/9"]), &[]),
        [false]
    );
    assert_eq!(
        judge(&gave_up, &queue(began, ended, &["other/9"]), &[]),
        [false]
    );
    assert_eq!(judge(&gave_up, &[], &[]), [false]);
    // The call has failed.
    let failed = [turn("1", began, ended, TurnEnd::Failed)];
    assert_eq!(judge(&failed, &first, &[]), [false]);
    // The lock was granted to one taker and then to the other.
    let mut busy = Vec::new();
    for (number, at) in (began..ended).step_by(100_000).enumerate() {
        let key = format!("lock/9{number}");
        busy.extend(queue(at, at + 100_000, &[&key, "lock/1"]));
    }
    let told: Vec<Reply> = (0..10)
        .map(|number| Reply {
            key: format!("lock/9{number}").into(),
            at: began,
        })
        .collect();
    assert_eq!(judge(&gave_up, &busy, &told), [false]);
    // Lost for less than half of the time.
    let mut short = queue(began, began + 400_000, &["lock/9", "lock/1"]);
    short.extend(queue(began + 400_000, ended, &["lock/8", "lock/1"]));
    let had = [Reply {
        key: "lock/8".into(),
        at: began,
    }];
    assert_eq!(judge(&gave_up, &short, &had), [false]);
}

#[test]
fn an_excuse_needs_a_correct_client_in_each_turn_and_a_lost_lock() {
    let lost = turn("1", CALM + SECOND, CALM + 2 * SECOND, TurnEnd::GaveUp);
    let other = turn("2", CALM + 4 * SECOND, CALM + 5 * SECOND, TurnEnd::GaveUp);
    let mut queues = queue(lost.began, lost.ended, &["lock/1"]);
    let both = [lost.clone(), other.clone()];
    let other_looks = queue(other.began, other.ended, &["lock/9"]);
    assert_eq!(
        judge(&both, &[&queues[..], &other_looks].concat(), &[]),
        [false]
    );
    // The lock was lost in one turn, and another taker had it in the other turn.
    queues.extend(queue(other.began, other.ended, &["lock/9", "lock/2"]));
    let reply = |key: &str, at| Reply {
        key: key.into(),
        at,
    };
    let had = [reply("lock/9", other.began)];
    assert_eq!(judge(&both, &queues, &had), [true]);
    // The lock was lost in no turn.
    let mut had = had.to_vec();
    let busy = queue(lost.began, lost.ended, &["lock/8", "lock/1"]);
    had.push(reply("lock/8", lost.began));
    let none = [busy, queue(other.began, other.ended, &["lock/9", "lock/2"])].concat();
    assert_eq!(judge(&both, &none, &had), [false]);
    // The client sent one of the requests late.
    let early = queue(other.began, other.began + 600_000, &["lock/9"]);
    let late = queue(other.began + 600_000, other.ended, &["lock/9", "lock/2"]);
    let first = queue(lost.began, lost.ended, &["lock/1"]);
    assert_eq!(judge(&both, &[first, early, late].concat(), &[]), [false]);
    // Servers that answer nobody for half of a turn hide whether the key was in the queue.
    let first = queue(lost.began, lost.ended, &["lock/1"]);
    let silent = queue(other.began + 600_000, other.ended + SECOND, &[]);
    assert_eq!(judge(&both, &[&first[..], &silent].concat(), &[]), [true]);
    // They explain the turn, but only between other answers.
    let before = queue(CALM - SECOND, CALM, &[]);
    assert_eq!(
        judge(&both[1..], &[&before[..], &silent].concat(), &[]),
        [true]
    );
    assert_eq!(judge(&both[1..], &silent, &[]), [false]);
    assert_eq!(judge(&both[1..], &before, &[]), [false]);
    // Servers that answer within the half are not silent.
    let quick = queue(other.began + 400_000, other.ended + SECOND, &[]);
    assert_eq!(
        judge(&both[1..], &[&before[..], &quick].concat(), &[]),
        [false]
    );
    // A turn that the last fault has disturbed neither counts nor explains.
    let disturbed = turn("3", CALM - SECOND, CALM + SECOND, TurnEnd::Failed);
    assert_eq!(
        judge(&[disturbed.clone(), lost, other], &queues, &[]),
        [true]
    );
    assert_eq!(judge(&[disturbed], &queues, &[]), [false]);
}

#[test]
fn the_time_of_a_taker_begins_again_with_an_election() {
    let judge = |looks: &[(u64, u64)], granted: Option<u64>| {
        let end = granted.map_or(TurnEnd::Failed, |_| TurnEnd::Granted);
        let ended = granted.unwrap_or(CALM + 2);
        judge_all(Turns {
            turns: &[turn("1", CALM + 1, ended, end)],
            queues: &[],
            replies: &[],
            looks: &terms(looks),
            calm: CALM,
            loses_waiting_locks: false,
        })
    };
    let second = CALM + 40 * SECOND;
    let end = second + TURN;
    // The fault before has caused the election of term 2.
    let one_leader = [(CALM - 1, 1), (CALM, 2), (end, 2)];
    assert!(judge(&one_leader, Some(CALM + TURN)).is_empty());
    assert_eq!(judge(&one_leader, Some(CALM + TURN + 1)), [false]);
    let other_leader = [(CALM, 2), (second, 3), (end, 3)];
    assert!(judge(&other_leader, Some(end)).is_empty());
    assert_eq!(judge(&other_leader, Some(end + 1)), [false]);
    assert_eq!(judge(&other_leader, None), [false]);
    // The run ended too early to show that.
    assert_eq!(judge(&other_leader[..2], None), [true]);
    let never = [
        (CALM, 2),
        (second, 3),
        (second + TURN, 4),
        (end + TURN - 1, 4),
    ];
    assert_eq!(judge(&never, None), [true]);
    // An election after the time of the taker.
    let late = [(CALM, 2), (CALM + TURN + 1, 2), (CALM + TURN + 2, 3)];
    assert_eq!(judge(&late, None), [false]);
    // No server has answered since the election may have begun.
    let silent = [(CALM, 2), (CALM + TURN, 2), (CALM + 2 * TURN, 3)];
    assert_eq!(judge(&silent, None), [true]);
}
