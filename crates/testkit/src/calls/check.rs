//! PURE: the rules of calls, applied to a run.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{Action, Answer, Breach, Call, Effect, Rule};
use crate::history::{EventKind, History, Pair};

/// Returns each rule that a call broke, in the order of the calls.
///
/// The history has to be complete: every change of the keys of these calls.
pub fn check(history: &History, calls: &[Call]) -> Vec<Breach> {
    let mut judge = Judge {
        store: Store::of(history),
        floors: Floors::of(calls),
        breaches: Vec::new(),
    };
    for (place, call) in calls.iter().enumerate() {
        judge.call(place, call);
    }
    judge.values(calls);
    judge.deletions(calls);
    judge.breaches
}

struct Judge<'a> {
    store: Store<'a>,
    floors: Floors,
    breaches: Vec<Breach>,
}

/// The history by key and by value.
struct Store<'a> {
    last: i64,
    /// For each key, the pair after each of its changes; none after a deletion.
    keys: HashMap<&'a str, BTreeMap<i64, Option<Pair>>>,
    /// For each value, the changes that wrote it: keys by revision.
    values: HashMap<u64, BTreeMap<i64, BTreeSet<&'a str>>>,
}

impl<'a> Store<'a> {
    fn of(history: &'a History) -> Self {
        let mut store = Self {
            last: history.revision(),
            keys: HashMap::new(),
            values: HashMap::new(),
        };
        for event in history.events() {
            let revision = event.revision();
            let key: &str = &event.key;
            let pair = (event.kind == EventKind::Put).then_some(event.pair);
            store.keys.entry(key).or_default().insert(revision, pair);
            if let Some(pair) = pair {
                let revisions = store.values.entry(pair.value).or_default();
                revisions.entry(revision).or_default().insert(key);
            }
        }
        store
    }

    fn at(&self, key: &str, revision: i64) -> Option<Pair> {
        let changes = self.keys.get(key)?;
        *changes.range(..=revision).next_back()?.1
    }

    fn is_deletion(&self, key: &str, revision: i64) -> bool {
        let changes = self.keys.get(key);
        changes.and_then(|changes| changes.get(&revision)) == Some(&None)
    }

    fn written(&self, value: u64) -> Vec<(i64, &BTreeSet<&'a str>)> {
        let revisions = self.values.get(&value).into_iter().flatten();
        revisions
            .map(|(revision, keys)| (*revision, keys))
            .collect()
    }
}

/// The highest revision that was returned up to each moment.
struct Floors(Vec<(u64, i64)>);

impl Floors {
    fn of(calls: &[Call]) -> Self {
        let told = calls.iter();
        let told = told.filter_map(|call| Some((call.ended, call.answer.revision()?)));
        let mut told: Vec<(u64, i64)> = told.collect();
        told.sort_unstable();
        let mut highest = 0;
        for (_, revision) in &mut told {
            highest = highest.max(*revision);
            *revision = highest;
        }
        Self(told)
    }

    /// Returns the highest revision of all answers from before this moment.
    fn before(&self, moment: u64) -> i64 {
        let count = self.0.partition_point(|(ended, _)| *ended < moment);
        count.checked_sub(1).map_or(0, |last| self.0[last].1)
    }
}

impl Judge<'_> {
    fn breach(&mut self, rule: Rule, call: usize, what: String) {
        let call = Some(call);
        self.breaches.push(Breach { rule, what, call });
    }

    fn call(&mut self, place: usize, call: &Call) {
        match (&call.action, &call.answer) {
            (Action::Get { key, serializable }, Answer::Read { revision, pair }) => {
                self.read(place, key, *revision, *pair);
                if !serializable {
                    self.order(place, call, *revision, false);
                }
            }
            (Action::Delete { key }, Answer::Read { revision, pair }) => {
                self.read(place, key, *revision, *pair);
                self.order(place, call, *revision, false);
            }
            (Action::Delete { key }, Answer::Written { revision, prev }) => {
                if self.store.is_deletion(key, *revision) {
                    self.previous(place, key, *revision, *prev);
                    self.order(place, call, *revision, true);
                } else {
                    let what = format!("{key} was not deleted at {revision}");
                    self.breach(Rule::Missing, place, what);
                }
            }
            (Action::Put { keys, value }, answer) => self.write(place, call, keys, *value, answer),
            (
                Action::Swap {
                    key,
                    value,
                    expected,
                },
                answer,
            ) => self.swap(place, call, key, (*value, *expected), answer),
            (Action::Get { .. }, Answer::Written { .. }) => {
                let what = "a read was answered as a write".to_owned();
                self.breach(Rule::Content, place, what);
            }
            (Action::Get { .. } | Action::Delete { .. }, Answer::Failed { .. }) => {}
        }
    }

    fn read(&mut self, place: usize, key: &str, revision: i64, pair: Option<Pair>) {
        let there = self.store.at(key, revision);
        if revision > self.store.last || revision < 1 {
            let what = format!("the answer has revision {revision}, which does not exist");
            self.breach(Rule::Content, place, what);
        } else if there != pair {
            let what = format!("{key} was {there:?} at {revision}, and read as {pair:?}");
            self.breach(Rule::Content, place, what);
        }
    }

    fn previous(&mut self, place: usize, key: &str, revision: i64, prev: Option<Pair>) {
        let there = self.store.at(key, revision - 1);
        if there != prev {
            let what = format!("{key} was {there:?} before {revision}, and returned as {prev:?}");
            self.breach(Rule::Content, place, what);
        }
    }

    fn order(&mut self, place: usize, call: &Call, revision: i64, writes: bool) {
        let floor = self.floors.before(call.began);
        let stands = if writes {
            revision > floor
        } else {
            revision >= floor
        };
        if !stands {
            let what = format!(
                "a call that began at {} stands at revision {revision}, and {floor} was returned before",
                call.began
            );
            self.breach(Rule::Order, place, what);
        }
    }

    fn write(&mut self, place: usize, call: &Call, keys: &[Arc<str>], value: u64, answer: &Answer) {
        let Some(revision) = self.effect(place, call, keys, value, answer) else {
            return;
        };
        if let (Answer::Written { prev, .. }, [key]) = (answer, keys) {
            self.previous(place, key, revision, *prev);
        }
    }

    fn swap(
        &mut self,
        place: usize,
        call: &Call,
        key: &Arc<str>,
        (value, expected): (u64, i64),
        answer: &Answer,
    ) {
        if let Answer::Read { revision, pair } = answer {
            self.read(place, key, *revision, *pair);
            self.order(place, call, *revision, false);
            if pair.map_or(0, |pair| pair.mod_revision) == expected {
                let what = format!("{key} was as expected, and answered as a conflict");
                self.breach(Rule::Condition, place, what);
            }
        }
        let keys = std::slice::from_ref(key);
        let Some(revision) = self.effect(place, call, keys, value, answer) else {
            return;
        };
        let before = self.store.at(key, revision - 1);
        let before = before.map_or(0, |pair| pair.mod_revision);
        if before != expected {
            let what = format!("{key} was swapped at {revision}: of {before}, not {expected}");
            self.breach(Rule::Condition, place, what);
        }
    }

    /// Compares the effect of a write with its answer. Returns the revision of the write, if it is
    /// allowed.
    fn effect(
        &mut self,
        place: usize,
        call: &Call,
        keys: &[Arc<str>],
        value: u64,
        answer: &Answer,
    ) -> Option<i64> {
        let written = self.store.written(value);
        let revisions: Vec<i64> = written.iter().map(|(revision, _)| *revision).collect();
        let asked: BTreeSet<&str> = keys.iter().map(|key| &**key).collect();
        let is_whole = written.iter().all(|(_, keys)| **keys == asked);
        let first = revisions.first().copied();
        let broken = match answer {
            _ if revisions.len() > 1 => Some(Rule::Twice),
            _ if !is_whole => Some(Rule::Atomic),
            Answer::Written { revision, .. } if first != Some(*revision) => Some(Rule::Missing),
            Answer::Read { .. } if first.is_some() => Some(Rule::Condition),
            Answer::Failed {
                effect: Effect::NotSent | Effect::Rejected,
                ..
            } if first.is_some() => Some(Rule::Outcome),
            _ => None,
        };
        if let Some(rule) = broken {
            let what = format!("the value is in the store at {revisions:?}; {answer:?}");
            self.breach(rule, place, what);
            return None;
        }
        let revision = first?;
        self.order(place, call, revision, true);
        Some(revision)
    }

    /// Finds values that no call wrote.
    fn values(&mut self, calls: &[Call]) {
        let asked: BTreeSet<u64> = calls.iter().filter_map(value).collect();
        let strange = self.store.values.iter();
        let strange = strange.filter(|(value, _)| !asked.contains(value));
        let mut found: Vec<String> = strange
            .map(|(_, places)| format!("no call wrote the value at {places:?}"))
            .collect();
        found.sort_unstable();
        self.breaches.extend(found.into_iter().map(invented));
    }

    /// Finds deletions that no call made.
    fn deletions(&mut self, calls: &[Call]) {
        let mut acknowledged: BTreeSet<(&str, i64)> = BTreeSet::new();
        let mut unknown: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
        for (place, call) in calls.iter().enumerate() {
            let Action::Delete { key } = &call.action else {
                continue;
            };
            match &call.answer {
                Answer::Written { revision, .. } if !acknowledged.insert((key, *revision)) => {
                    let what =
                        format!("two calls have the answer that they deleted {key} at {revision}");
                    self.breach(Rule::Content, place, what);
                }
                Answer::Failed {
                    effect: Effect::Unknown,
                    ..
                } => {
                    let floor = self.floors.before(call.began);
                    unknown.entry(&**key).or_default().push(floor);
                }
                _ => {}
            }
        }
        let mut found = Vec::new();
        for (key, changes) in &self.store.keys {
            let mut floors = unknown.remove(key).unwrap_or_default();
            // The call that began first has the lowest floor: if any call may have made the first
            // deletion, it may.
            floors.sort_unstable();
            let mut floors = floors.into_iter();
            let gone = changes.iter().filter(|(_, pair)| pair.is_none());
            for (revision, _) in gone.filter(|(at, _)| !acknowledged.contains(&(*key, **at))) {
                if floors.next().is_none_or(|floor| floor >= *revision) {
                    found.push(format!("no call may have deleted {key} at {revision}"));
                }
            }
        }
        found.sort_unstable();
        self.breaches.extend(found.into_iter().map(invented));
    }
}

fn invented(what: String) -> Breach {
    Breach {
        rule: Rule::Invented,
        what,
        call: None,
    }
}

fn value(call: &Call) -> Option<u64> {
    match call.action {
        Action::Put { value, .. } | Action::Swap { value, .. } => Some(value),
        Action::Get { .. } | Action::Delete { .. } => None,
    }
}
