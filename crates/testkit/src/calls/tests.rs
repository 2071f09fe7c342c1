//! Tests that each rule finds its violation.

use super::*;
use crate::history::{EventKind, History, Op};

const KEY: &str = "a";

/// The store of all tests: revision 2 writes 20, 3 writes 30, 4 deletes, 5 writes 50 to two keys.
fn history() -> History {
    let mut history = History::since(1);
    history.append([Op::Put(KEY.into(), 20)]);
    history.append([Op::Put(KEY.into(), 30)]);
    history.append([Op::Delete(KEY.into())]);
    history.append([Op::Put(KEY.into(), 50), Op::Put("b".into(), 50)]);
    history
}

/// The pair of the key at a revision of that history.
fn pair(revision: i64) -> Option<Pair> {
    let history = history();
    let event = history.find(KEY, revision).unwrap();
    (event.kind == EventKind::Put).then_some(event.pair)
}

fn call(began: u64, ended: u64, action: Action, answer: Answer) -> Call {
    Call {
        caller: "caller".into(),
        began,
        ended,
        action,
        answer,
    }
}

fn put(value: u64) -> Action {
    Action::Put {
        keys: vec![KEY.into()],
        value,
    }
}

fn both(value: u64) -> Action {
    Action::Put {
        keys: vec![KEY.into(), "b".into()],
        value,
    }
}

fn get() -> Action {
    Action::Get {
        key: KEY.into(),
        serializable: false,
    }
}

fn serializable() -> Action {
    Action::Get {
        key: KEY.into(),
        serializable: true,
    }
}

fn delete() -> Action {
    Action::Delete { key: KEY.into() }
}

fn swap(value: u64, expected: i64) -> Action {
    Action::Swap {
        key: KEY.into(),
        value,
        expected,
    }
}

fn read(revision: i64, pair: Option<Pair>) -> Answer {
    Answer::Read { revision, pair }
}

fn written(revision: i64, prev: Option<Pair>) -> Answer {
    Answer::Written { revision, prev }
}

fn failed(effect: Effect) -> Answer {
    Answer::Failed {
        effect,
        error: "an error".to_owned(),
    }
}

/// The calls that make that history, one after the other.
fn true_calls() -> Vec<Call> {
    vec![
        call(0, 10, put(20), written(2, None)),
        call(20, 30, swap(30, 2), written(3, None)),
        call(40, 50, delete(), written(4, pair(3))),
        call(60, 70, both(50), written(5, None)),
    ]
}

fn rules(calls: &[Call]) -> Vec<Rule> {
    let breaches = check(&history(), calls);
    breaches.iter().map(|breach| breach.rule).collect()
}

/// Returns the rules that are broken when these calls are added to the true ones.
fn with(more: impl IntoIterator<Item = Call>) -> Vec<Rule> {
    let mut calls = true_calls();
    calls.extend(more);
    rules(&calls)
}

/// Returns the rules that are broken when one of the true calls is replaced.
fn instead(place: usize, other: Call) -> Vec<Rule> {
    let mut calls = true_calls();
    calls[place] = other;
    rules(&calls)
}

#[test]
fn true_calls_break_no_rule() {
    assert_eq!(rules(&true_calls()), []);
    let reads = [
        call(11, 19, get(), read(2, pair(2))),
        // Concurrent with the swap: the read may be before or after it.
        call(21, 29, get(), read(2, pair(2))),
        call(21, 29, get(), read(3, pair(3))),
        call(51, 59, get(), read(4, None)),
        call(51, 59, delete(), read(4, None)),
        call(71, 79, swap(1, 3), read(5, pair(5))),
        // A serializable read may return a past state.
        call(71, 79, serializable(), read(2, pair(2))),
        call(71, 79, get(), failed(Effect::Unknown)),
        call(71, 79, put(2), failed(Effect::NotSent)),
        call(71, 79, swap(3, 5), failed(Effect::Rejected)),
        call(71, 79, put(4), failed(Effect::Unknown)),
        call(71, 79, delete(), failed(Effect::Unknown)),
    ];
    assert_eq!(with(reads), []);
}

#[test]
fn writes_of_an_unknown_outcome_may_be_in_the_store() {
    for place in 0..4 {
        let mut calls = true_calls();
        calls[place].answer = failed(Effect::Unknown);
        assert_eq!(rules(&calls), [], "{place}");
    }
    // Applied long after the call has ended.
    let late = call(0, 1, both(50), failed(Effect::Unknown));
    assert_eq!(instead(3, late), []);
}

#[test]
fn a_read_shows_the_pair_at_its_revision() {
    let wrong = call(11, 19, get(), read(2, None));
    assert_eq!(with([wrong]), [Rule::Content]);
    let wrong = call(31, 39, get(), read(3, pair(2)));
    assert_eq!(with([wrong]), [Rule::Content]);
    let wrong = call(71, 79, serializable(), read(3, pair(5)));
    assert_eq!(with([wrong]), [Rule::Content]);
    let wrong = call(71, 79, get(), read(6, pair(5)));
    assert_eq!(with([wrong]), [Rule::Content]);
    let wrong = call(71, 79, get(), written(5, None));
    assert_eq!(with([wrong]), [Rule::Content]);
    let wrong = call(61, 79, delete(), read(5, None));
    assert_eq!(with([wrong]), [Rule::Content]);
}

#[test]
fn a_write_returns_the_pair_before_it() {
    let wrong = call(0, 10, put(20), written(2, pair(2)));
    assert_eq!(instead(0, wrong), [Rule::Content]);
    let wrong = call(40, 50, delete(), written(4, pair(2)));
    assert_eq!(instead(2, wrong), [Rule::Content]);
}

#[test]
fn a_read_is_not_older_than_revisions_from_before_it_began() {
    let stale = call(31, 39, get(), read(2, pair(2)));
    assert_eq!(with([stale]), [Rule::Order]);
    let stale = call(71, 79, swap(1, 3), read(4, None));
    assert_eq!(with([stale]), [Rule::Order]);
    let stale = call(71, 79, delete(), read(4, None));
    assert_eq!(with([stale]), [Rule::Order]);
    // Returned by a serializable read, and for another key.
    let mut calls = true_calls();
    calls[1].ended = 1_000;
    calls.push(call(22, 25, serializable(), read(3, pair(3))));
    calls.push(call(26, 29, get(), read(2, pair(2))));
    assert_eq!(rules(&calls), [Rule::Order]);
}

#[test]
fn a_write_stands_after_revisions_from_before_it_began() {
    // A later write had ended before this one began.
    let late = call(35, 38, put(20), written(2, None));
    assert_eq!(instead(0, late), [Rule::Order]);
    let late = call(35, 38, put(20), failed(Effect::Unknown));
    assert_eq!(instead(0, late), [Rule::Order]);
    let late = call(75, 78, delete(), written(4, pair(3)));
    assert_eq!(instead(2, late), [Rule::Order]);
    // A read cannot have seen a write that had not begun.
    let early = call(52, 55, serializable(), read(5, pair(5)));
    assert_eq!(with([early]), [Rule::Order]);
}

#[test]
fn an_acknowledged_write_is_in_the_store_at_its_revision() {
    let lost = call(71, 79, put(99), written(5, None));
    assert_eq!(with([lost]), [Rule::Missing]);
    let elsewhere = call(0, 10, put(20), written(1, None));
    assert_eq!(instead(0, elsewhere), [Rule::Missing]);
    let kept = call(71, 79, delete(), written(5, pair(5)));
    assert_eq!(with([kept]), [Rule::Missing]);
}

#[test]
fn a_write_that_was_not_sent_or_rejected_is_not_in_the_store() {
    for effect in [Effect::NotSent, Effect::Rejected] {
        let put = call(0, 10, put(20), failed(effect));
        assert_eq!(instead(0, put), [Rule::Outcome]);
        let swap = call(20, 30, swap(30, 2), failed(effect));
        assert_eq!(instead(1, swap), [Rule::Outcome]);
        let delete = call(40, 50, delete(), failed(effect));
        assert_eq!(instead(2, delete), [Rule::Invented]);
    }
}

#[test]
fn a_swap_is_applied_only_on_its_condition_and_its_answer_says_so() {
    let wrong = call(20, 30, swap(30, 1), written(3, None));
    assert_eq!(instead(1, wrong), [Rule::Condition]);
    let wrong = call(20, 30, swap(30, 0), failed(Effect::Unknown));
    assert_eq!(instead(1, wrong), [Rule::Condition]);
    // Sent twice: the first attempt was applied, and the second answered.
    let twice = call(20, 30, swap(30, 2), read(3, pair(3)));
    assert_eq!(instead(1, twice), [Rule::Condition]);
    let wrong = call(31, 39, swap(1, 3), read(3, pair(3)));
    assert_eq!(with([wrong]), [Rule::Condition]);
}

#[test]
fn a_write_is_applied_once_and_whole() {
    let mut twice = history();
    twice.append([Op::Put(KEY.into(), 20)]);
    let breaches = check(&twice, &true_calls());
    assert_eq!(breaches[0].rule, Rule::Twice);
    let half = call(60, 70, put(50), written(5, None));
    assert_eq!(instead(3, half), [Rule::Atomic]);
    let half = call(20, 30, both(30), failed(Effect::Unknown));
    assert_eq!(instead(1, half), [Rule::Atomic]);
}

#[test]
fn the_store_has_no_change_without_a_call() {
    let mut calls = true_calls();
    calls.remove(0);
    assert_eq!(rules(&calls), [Rule::Invented]);
    // A deletion without a possible call: the deletes are too late, of another key, or used
    // already.
    let mut calls = true_calls();
    calls.remove(2);
    assert_eq!(rules(&calls), [Rule::Invented]);
    calls.push(call(71, 79, delete(), failed(Effect::Unknown)));
    assert_eq!(rules(&calls), [Rule::Invented]);
    let other = Action::Delete { key: "b".into() };
    calls.push(call(0, 1, other, failed(Effect::Unknown)));
    assert_eq!(rules(&calls), [Rule::Invented]);
    calls.push(call(0, 1, delete(), failed(Effect::Unknown)));
    assert_eq!(rules(&calls), []);
    let mut again = history();
    again.append([Op::Delete(KEY.into())]);
    calls.retain(|call| call.began != 71);
    let breaches = check(&again, &calls);
    assert_eq!(breaches.len(), 1, "{breaches:?}");
    // Each deletion is assigned to a call that had begun, independently of the order of the
    // answers.
    again.append([Op::Put(KEY.into(), 80)]);
    again.append([Op::Delete(KEY.into())]);
    let mut calls = true_calls();
    calls.remove(2);
    calls.push(call(80, 90, put(80), written(7, None)));
    calls.push(call(100, 101, delete(), failed(Effect::Unknown)));
    calls.push(call(75, 76, delete(), failed(Effect::Unknown)));
    calls.push(call(0, 1, delete(), failed(Effect::Unknown)));
    assert_eq!(check(&again, &calls), []);
    // A call makes one deletion.
    let same = call(40, 50, delete(), written(4, pair(3)));
    assert_eq!(with([same]), [Rule::Content]);
}

#[test]
fn a_gap_is_measured_within_the_period_only() {
    let period = |from, to| Period {
        from,
        to,
        what: String::new(),
    };
    let answers = [5, 10, 40, 90];
    assert_eq!(longest_gap(&period(0, 100), &answers), (50, 40));
    assert_eq!(longest_gap(&period(41, 89), &answers), (48, 41));
    assert_eq!(longest_gap(&period(91, 200), &answers), (109, 91));
    assert_eq!(longest_gap(&period(10, 10), &answers), (0, 10));
}
