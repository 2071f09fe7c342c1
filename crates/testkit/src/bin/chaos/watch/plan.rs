//! The watches of a run.

use std::time::Duration;

use etcdex::watch::OpenWatch;
use etcdex::{Client, Watch};
use etcdex_testkit::history::Query;

use crate::watch::load::{BUSY, CROWD};

/// The options of one watch of a run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) name: String,
    key: String,
    range: Range,
    /// The first revision; 0 is from now on.
    start_revision: i64,
    no_put: bool,
    no_delete: bool,
    prev_kv: bool,
    progress_notify: bool,
    buffer: Option<usize>,
    pub(crate) pace: Pace,
}

#[derive(Clone, Debug)]
enum Range {
    Key,
    Prefix,
    To(String),
    From,
}

/// How the consumer of a watch reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// At once.
    Keen,
    /// Nothing for this time, then all that has come.
    Bursts(Duration),
}

/// Sets the options of a plan. `Watch` and `OpenWatch` have the same methods, and no common trait.
macro_rules! dressed {
    ($plan:expr, $watch:expr) => {{
        let plan = $plan;
        let mut watch = $watch.start_revision(plan.start_revision);
        watch = match &plan.range {
            Range::Key => watch,
            Range::Prefix => watch.prefix(),
            Range::To(end) => watch.range_end(end.as_str()),
            Range::From => watch.from_key(),
        };
        if plan.no_put {
            watch = watch.no_put();
        }
        if plan.no_delete {
            watch = watch.no_delete();
        }
        if plan.prev_kv {
            watch = watch.prev_kv();
        }
        if plan.progress_notify {
            watch = watch.progress_notify();
        }
        match plan.buffer {
            Some(bytes) => watch.buffer(bytes),
            None => watch,
        }
    }};
}

impl Plan {
    fn new(name: &str, key: &str, range: Range) -> Self {
        Self {
            name: name.to_owned(),
            key: key.to_owned(),
            range,
            start_revision: 0,
            no_put: false,
            no_delete: false,
            prev_kv: false,
            progress_notify: false,
            buffer: None,
            pace: Pace::Keen,
        }
    }

    /// Delivers this revision first.
    fn starting_at(mut self, revision: i64) -> Self {
        self.start_revision = revision;
        self
    }

    fn no_put(mut self) -> Self {
        self.no_put = true;
        self
    }

    fn no_delete(mut self) -> Self {
        self.no_delete = true;
        self
    }

    fn prev_kv(mut self) -> Self {
        self.prev_kv = true;
        self
    }

    fn progress_notify(mut self) -> Self {
        self.progress_notify = true;
        self
    }

    /// Reads in bursts, with a small buffer.
    fn slow(mut self, pause: Duration) -> Self {
        self.pace = Pace::Bursts(pause);
        self.buffer = Some(64 << 10);
        self
    }

    /// Returns the first revision that the watch asks for; 0 is from now on.
    pub(crate) fn start_revision(&self) -> i64 {
        self.start_revision
    }

    /// Returns the same plan, from now on.
    pub(crate) fn anew(&self) -> Self {
        self.clone().starting_at(0)
    }

    /// Returns the watch for a watcher.
    pub(crate) fn watch(&self) -> Watch {
        dressed!(self, Watch::new(self.key.as_str()))
    }

    /// Returns the watch as a stream of its own.
    pub(crate) fn open(&self, client: &Client) -> OpenWatch {
        dressed!(self, client.watch(self.key.as_str()))
    }

    /// Returns the query for the checkers, with the first revision that the watch has reported.
    pub(crate) fn query(&self, told: i64) -> Query {
        let range_end = match &self.range {
            Range::Key => None,
            // The keys of a run are ASCII: the last byte has a successor.
            Range::Prefix => Some(successor(&self.key)),
            Range::To(end) => Some(end.clone()),
            Range::From => Some("\0".to_owned()),
        };
        Query {
            key: self.key.as_str().into(),
            range_end: range_end.map(Into::into),
            start_revision: if self.start_revision == 0 {
                told
            } else {
                self.start_revision
            },
            no_put: self.no_put,
            no_delete: self.no_delete,
            prev_kv: self.prev_kv,
        }
    }
}

/// Returns the first key after a prefix.
pub(crate) fn successor(prefix: &str) -> String {
    let mut bytes = prefix.as_bytes().to_vec();
    if let Some(last) = bytes.last_mut() {
        *last += 1;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A thousand watches on one stream, of one key each; some keys are never written.
pub(crate) fn crowd() -> Vec<Plan> {
    (0..CROWD)
        .map(|number| {
            let key = format!("crowd/{number:04}");
            let plan = match number % 20 {
                0 => Plan::new(&key, &format!("idle/{number:04}"), Range::Key),
                _ => Plan::new(&key, &key, Range::Key),
            };
            match number % 7 {
                3 => plan.prev_kv(),
                5 => plan.no_delete(),
                _ => plan,
            }
        })
        .collect()
}

/// Watches of every kind, on one watcher. `first` is the first revision of the load, `then` a later
/// one.
pub(crate) fn mixed(first: i64, then: i64) -> Vec<Plan> {
    let middle = format!("busy/{:02}", BUSY / 2);
    vec![
        Plan::new("prefix", "busy/", Range::Prefix),
        Plan::new("prefix, before", "busy/", Range::Prefix).prev_kv(),
        Plan::new("prefix, deletes", "busy/", Range::Prefix)
            .no_put()
            .prev_kv(),
        Plan::new("prefix, puts", "busy/", Range::Prefix).no_delete(),
        Plan::new("range", "busy/10", Range::To(middle.clone())),
        Plan::new("from a key", &middle, Range::From),
        Plan::new("one key", "busy/00", Range::Key),
        Plan::new("one key, before", "busy/01", Range::Key).prev_kv(),
        Plan::new("leases", "lease/", Range::Prefix).prev_kv(),
        Plan::new("bulk", "bulk/", Range::Prefix).prev_kv(),
        Plan::new("from the past", "busy/1", Range::Prefix).starting_at(first),
        Plan::new("from the past, before", "busy/2", Range::Prefix)
            .starting_at(then)
            .prev_kv(),
        Plan::new("idle", "idle/key", Range::Key),
        Plan::new("idle prefix", "idle-too/", Range::Prefix).progress_notify(),
        Plan::new("busy, progress", "busy/3", Range::Prefix).progress_notify(),
    ]
}

/// Watches as streams of batches; some consumers are slow.
pub(crate) fn streams(first: i64) -> Vec<Plan> {
    let second = Duration::from_secs(1);
    vec![
        Plan::new("everything", "\0", Range::From).starting_at(first),
        Plan::new("slow", "busy/", Range::Prefix).slow(second),
        Plan::new("slower, before", "busy/", Range::Prefix)
            .prev_kv()
            .slow(second * 3),
        Plan::new("slow crowd", "crowd/", Range::Prefix)
            .no_delete()
            .slow(second * 2),
        Plan::new("small", "small/", Range::Prefix).starting_at(first),
        Plan::new("idle stream", "idle-three/", Range::Prefix).progress_notify(),
    ]
}

/// A watch of the churn; no two of them have the same query.
pub(crate) fn passing(number: usize, random: &mut fastrand::Rng, past: i64) -> Plan {
    let end = format!("busy/9{number:08}");
    let plan = Plan::new(&format!("passing {number}"), "busy/", Range::To(end));
    let plan = match random.u8(..4) {
        0 => plan.starting_at(random.i64(2..past.max(3))),
        _ => plan,
    };
    match random.u8(..3) {
        0 => plan.prev_kv(),
        1 => plan.progress_notify(),
        _ => plan,
    }
}

/// Watches that stay during the churn.
pub(crate) fn staying() -> Vec<Plan> {
    vec![
        Plan::new("stays", "busy/", Range::Prefix).prev_kv(),
        Plan::new("stays idle", "idle-four/", Range::Prefix),
        Plan::new("stays, crowd", "crowd/", Range::Prefix),
    ]
}

/// A client with a single watch.
pub(crate) fn solo(prefix: &str) -> Vec<Plan> {
    vec![Plan::new("alone", prefix, Range::Prefix).prev_kv()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_watches_of_a_client_have_the_same_query() {
        for plans in [crowd(), mixed(2, 3), streams(2)] {
            let queries: Vec<Query> = plans.iter().map(|plan| plan.query(7)).collect();
            for (number, query) in queries.iter().enumerate() {
                let same = queries[..number].iter().find(|other| other.is_like(query));
                assert_eq!(
                    same, None,
                    "the recording of the wire could not tell them apart"
                );
            }
        }
    }

    #[test]
    fn a_prefix_ends_where_the_next_one_begins() {
        assert_eq!(successor("busy/"), "busy0");
        let plan = Plan::new("", "busy/", Range::Prefix);
        assert!(plan.query(1).covers("busy/39"));
        assert!(!plan.query(1).covers("busy0"));
    }
}
