//! PURE: checks that a lock has one holder at a time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{Deposed, Fault, Grant, Promise};
use crate::history::{EventKind, History};

/// The grants of a run, and facts about the servers.
#[derive(Clone, Copy, Debug)]
pub struct Grants<'a> {
    /// All grants.
    pub grants: &'a [Grant],
    /// Whether servers grant a waiting lock whose lease was lost (etcd 3.4).
    pub gives_lost_locks: bool,
    /// Leases that a deposed leader has revoked: the next taker has the lock before the holder can
    /// know that its lease is gone.
    pub deposed: &'a Deposed,
}

/// For each key of a lock, the ranges of revisions at which it held the lock, with exclusive ends.
#[derive(Debug, Default)]
struct Holders(HashMap<Arc<str>, Vec<(i64, i64)>>);

/// Returns each promise that was broken for these locks. A lock's keys are those below its name
/// and a slash.
pub fn check_locks(history: &History, grants: Grants<'_>) -> Vec<Fault> {
    let names: BTreeSet<&str> = grants.grants.iter().map(|grant| &*grant.name).collect();
    let mut holders = Holders::default();
    for name in names {
        holders.add(history, name);
    }
    let mut faults = first(&holders, grants);
    faults.extend(alone(grants));
    faults
}

impl Holders {
    fn add(&mut self, history: &History, name: &str) {
        let prefix = format!("{name}/");
        // The keys that exist, by the revision that created them.
        let mut queue: BTreeMap<i64, Arc<str>> = BTreeMap::new();
        let mut since: Option<(Arc<str>, i64)> = None;
        let events = history.events().iter();
        for event in events.filter(|event| event.key.starts_with(&prefix)) {
            if event.kind == EventKind::Delete {
                queue.retain(|_, key| *key != event.key);
            } else if event.is_create() {
                queue.insert(event.revision(), Arc::clone(&event.key));
            }
            let next = queue.values().next();
            if next != since.as_ref().map(|(key, _)| key) {
                self.end(since.take(), event.revision());
                since = next.map(|key| (Arc::clone(key), event.revision()));
            }
        }
        self.end(since, i64::MAX);
    }

    fn end(&mut self, since: Option<(Arc<str>, i64)>, revision: i64) {
        if let Some((key, from)) = since {
            self.0.entry(key).or_default().push((from, revision));
        }
    }

    fn of(&self, key: &str) -> &[(i64, i64)] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }
}

/// Each grant was to a key that held the lock, at least for a while, and the holder's write was
/// made meanwhile.
fn first(holders: &Holders, grants: Grants<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for grant in grants.grants {
        let held = holders.of(&grant.key);
        if held.is_empty() {
            faults.push(Fault {
                promise: Promise::First,
                what: format!("{} was granted, and never held the lock", grant.key),
                // The condition of its write failed, so nothing was written.
                excuse: (grants.gives_lost_locks && grant.fenced.is_none()).then(|| {
                    "etcd 3.4 answers a waiting lock so when its lease is lost, and nothing was \
                     written under it"
                        .to_owned()
                }),
            });
        } else if let Some(revision) = grant.fenced {
            let meanwhile = |(from, to): &(i64, i64)| *from <= revision && revision < *to;
            if !held.iter().any(meanwhile) {
                faults.push(Fault {
                    promise: Promise::First,
                    what: format!("{} wrote at {revision}, and held {held:?}", grant.key),
                    excuse: None,
                });
            }
        }
    }
    faults
}

/// No two takers of a lock considered themselves its holder at the same time. A lock of 3.4 whose
/// lease was lost is granted with a key that does not exist. The write of its taker fails, and the
/// interval of the grant ends there.
fn alone(grants: Grants<'_>) -> Vec<Fault> {
    // A taker whose keeper does not say that the lease lives when the grant arrives holds nothing: the
    // answer may have been on its way for longer than the lease lived.
    let held = grants.grants.iter().filter(|grant| grant.at < grant.until);
    let mut order: Vec<&Grant> = held.collect();
    order.sort_by_key(|grant| (&grant.name, grant.at));
    let mut last: Option<&Grant> = None;
    let mut faults = Vec::new();
    for grant in order {
        if let Some(last) = last.filter(|last| last.name == grant.name && grant.at < last.until) {
            faults.push(Fault {
                promise: Promise::Alone,
                what: format!(
                    "{} was granted at {}, and {} held until {}",
                    grant.key, grant.at, last.key, last.until
                ),
                excuse: grants.deposed.proof(&last.key).map(str::to_owned),
            });
        }
        last = match last {
            Some(last) if last.name == grant.name && last.until > grant.until => Some(last),
            _ => Some(grant),
        };
    }
    faults
}
