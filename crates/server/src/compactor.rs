//! Compactions that the server makes by itself.
//!
//! Source: etcd, `server/etcdserver/api/v3compactor/periodic.go` and `revision.go`.

use std::collections::VecDeque;
use std::time::Duration;

use crate::node::Node;
use crate::store::StoreError;

/// The longest interval between two compactions by time.
const LONGEST_INTERVAL: Duration = Duration::from_secs(3_600);

/// Revisions that are noted in an interval.
const NOTES: u32 = 10;

/// The interval of compactions by revision.
const REVISION_INTERVAL: Duration = Duration::from_secs(300);

const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// The history that a server keeps when it compacts by itself; the argument of
/// [`ServerBuilder::auto_compaction`](crate::ServerBuilder::auto_compaction).
///
/// The server's [`Clock`](crate::Clock) decides about the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCompaction {
    /// Keeps the history of this time. The server compacts at this interval, or each hour if that is
    /// shorter.
    Periodic(Duration),
    /// Keeps this number of revisions. The server compacts every five minutes.
    Revision(i64),
}

impl AutoCompaction {
    /// Compacts as long as the server runs.
    pub(crate) async fn run(self, node: &Node) {
        let (mut periodic, mut revision);
        let plan: &mut dyn Plan = match self {
            Self::Periodic(period) => {
                periodic = Periodic::new(period, node.now());
                &mut periodic
            }
            Self::Revision(kept) => {
                revision = Revision { kept, last: 0 };
                &mut revision
            }
        };
        loop {
            plan.note(node.store().revision());
            let pause = plan.pause().max(SHORTEST_PAUSE);
            node.time().sleep_until(node.now() + pause).await;
            let now = node.now();
            let mut store = node.store();
            let Some(revision) = plan.due(store.revision(), now) else {
                continue;
            };
            match store.compact(revision) {
                Ok(()) => {
                    tracing::info!(target: "etcdex_server", revision, "compacted by itself");
                    node.compacted().notify_one();
                }
                Err(StoreError::Compacted) => {}
                // The next attempt follows after the pause.
                Err(cause) => {
                    tracing::warn!(target: "etcdex_server", revision, %cause, "cannot compact");
                    continue;
                }
            }
            plan.done(revision, now);
        }
    }
}

/// When to compact, and at which revision.
trait Plan: Send {
    /// Notes the present revision, before a pause.
    fn note(&mut self, revision: i64);

    fn pause(&self) -> Duration;

    /// Returns the revision to compact at now, if there is one.
    fn due(&self, revision: i64, now: Duration) -> Option<i64>;

    fn done(&mut self, revision: i64, now: Duration);
}

struct Periodic {
    period: Duration,
    /// The revisions of the last period, the oldest first.
    revisions: VecDeque<i64>,
    /// When the last compaction was, or the start.
    since: Duration,
    last: Option<i64>,
}

impl Periodic {
    fn new(period: Duration, now: Duration) -> Self {
        Self {
            period,
            revisions: VecDeque::new(),
            since: now,
            last: None,
        }
    }

    fn interval(&self) -> Duration {
        match self.last {
            // The first compaction comes when the first revision is older than the period.
            None => self.period,
            Some(_) => self.period.min(LONGEST_INTERVAL),
        }
    }
}

impl Plan for Periodic {
    fn note(&mut self, revision: i64) {
        self.revisions.push_back(revision);
        let kept = self.period.as_nanos() / self.pause().as_nanos().max(1) + 1;
        if self.revisions.len() as u128 > kept {
            self.revisions.pop_front();
        }
    }

    fn pause(&self) -> Duration {
        self.period.min(LONGEST_INTERVAL) / NOTES
    }

    fn due(&self, _: i64, now: Duration) -> Option<i64> {
        let oldest = *self.revisions.front()?;
        let is_due = now.saturating_sub(self.since) >= self.interval();
        (is_due && self.last != Some(oldest)).then_some(oldest)
    }

    fn done(&mut self, revision: i64, now: Duration) {
        self.last = Some(revision);
        self.since = now;
    }
}

struct Revision {
    kept: i64,
    last: i64,
}

impl Plan for Revision {
    fn note(&mut self, _: i64) {}

    fn pause(&self) -> Duration {
        REVISION_INTERVAL
    }

    fn due(&self, revision: i64, _: Duration) -> Option<i64> {
        let revision = revision.saturating_sub(self.kept);
        (revision > 0 && revision != self.last).then_some(revision)
    }

    fn done(&mut self, revision: i64, _: Duration) {
        self.last = revision;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets a store go on by one revision a minute, and returns the minutes and revisions of compactions.
    fn compactions(plan: &mut dyn Plan, minutes: u64) -> Vec<(u64, i64)> {
        let mut compactions = Vec::new();
        let mut now = Duration::ZERO;
        while now.as_secs() / 60 < minutes {
            let revision = |now: Duration| i64::try_from(now.as_secs() / 60).unwrap() + 1;
            plan.note(revision(now));
            now += plan.pause();
            if let Some(due) = plan.due(revision(now), now) {
                plan.done(due, now);
                compactions.push((now.as_secs() / 60, due));
            }
        }
        compactions
    }

    /// A revision is noted before each pause, so the oldest one is older than the period by a pause.
    #[test]
    fn a_period_is_kept_and_the_interval_is_no_longer_than_an_hour() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let mut plan = Periodic::new(minutes(10), Duration::ZERO);
        let expected = [(10, 1), (20, 10), (30, 20)];
        assert_eq!(compactions(&mut plan, 30), expected);
        let mut plan = Periodic::new(minutes(120), Duration::ZERO);
        let expected = [(120, 1), (180, 55), (240, 115)];
        assert_eq!(compactions(&mut plan, 240), expected);
    }

    #[test]
    fn an_idle_store_is_not_compacted_again() {
        let mut plan = Periodic::new(Duration::from_secs(10), Duration::ZERO);
        plan.note(5);
        assert_eq!(plan.due(5, Duration::from_secs(9)), None);
        assert_eq!(plan.due(5, Duration::from_secs(10)), Some(5));
        plan.done(5, Duration::from_secs(10));
        assert_eq!(plan.due(5, Duration::from_secs(30)), None);
        let mut plan = Revision { kept: 3, last: 0 };
        assert_eq!(plan.due(3, Duration::ZERO), None);
        assert_eq!(plan.due(5, Duration::ZERO), Some(2));
        plan.done(2, Duration::ZERO);
        assert_eq!(plan.due(5, Duration::ZERO), None);
    }

    #[test]
    fn revisions_are_kept_by_number() {
        let mut plan = Revision { kept: 8, last: 0 };
        assert_eq!(compactions(&mut plan, 20), [(10, 3), (15, 8), (20, 13)]);
    }
}
