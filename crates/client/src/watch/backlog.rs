//! The count of the events of a watch that its consumer has not taken yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::SeqCst};

use super::amount::{Amount, Count};
use super::budget::MemoryBudget;
use super::demand::Demand;
use super::entry::WatchRef;

/// The amount of events that a watch holds, and its pause. The consumer and the task that delivers
/// share it.
#[derive(Debug)]
pub(crate) struct Backlog {
    held: Count,
    limit: Amount,
    /// Whether the watch is paused.
    paused: AtomicBool,
    /// A paused watch is resumed when it holds no more than this.
    low: Count,
    /// The last revision that the consumer has taken.
    taken: AtomicI64,
    /// Whether the watch may take a part of the reserve once, because its consumer has waited.
    granted: AtomicBool,
    /// The number of the watch.
    watch: WatchRef,
    demand: Arc<Demand>,
    budget: Arc<MemoryBudget>,
}

impl Backlog {
    /// Makes a backlog whose consumer always waits.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn new(limit: Amount, budget: Arc<MemoryBudget>) -> Self {
        Self::of(WatchRef(0), limit, budget, Arc::new(Demand::constant()))
    }

    /// Makes the backlog of the watch with this number.
    pub(super) fn of(
        watch: WatchRef,
        limit: Amount,
        budget: Arc<MemoryBudget>,
        demand: Arc<Demand>,
    ) -> Self {
        // With a limit of 0, the watch would never deliver an event.
        let limit = Amount {
            bytes: limit.bytes.max(1),
            events: limit.events.max(1),
        };
        Self {
            held: Count::default(),
            limit,
            paused: AtomicBool::new(false),
            low: Count::default(),
            taken: AtomicI64::new(0),
            granted: AtomicBool::new(false),
            watch,
            demand,
            budget,
        }
    }

    /// Returns how much more the watch may hold; `None` when it has to be paused.
    pub(super) fn room(&self) -> Option<Amount> {
        let held = self.held.amount();
        if held.reaches(self.limit) {
            return None;
        }
        // The consumer changes `held` at the same time, but only reduces it.
        let own = self.limit.minus(held);
        let granted = self.granted.load(SeqCst) || self.demand.waits();
        match self.budget.room() {
            Some(room) => Some(own.min(room)),
            None if held.events == 0 && granted => Some(own.min(self.budget.share())),
            None => None,
        }
    }

    /// Counts the beginning of a revision that is not complete yet.
    pub(super) fn claim(&self, amount: Amount) -> Claim {
        self.budget.add(amount);
        Claim {
            budget: Arc::clone(&self.budget),
            amount,
        }
    }

    /// Lets the watch take a part of the reserve, because its consumer waits. Returns whether the watch
    /// was paused and is to be resumed now.
    pub(super) fn grant(&self) -> bool {
        self.granted.store(true, SeqCst);
        self.paused.swap(false, SeqCst)
    }

    /// Counts events that are delivered to the consumer.
    pub(super) fn hold(self: &Arc<Self>, amount: Amount) -> HeldGuard {
        self.granted.store(false, SeqCst);
        self.held.add(amount);
        self.budget.add(amount);
        HeldGuard {
            backlog: Arc::clone(self),
            amount,
        }
    }

    /// Pauses the watch until [`HeldGuard::take`] returns true. Returns false if the watch is not
    /// paused, because the consumer has taken enough meanwhile.
    // ORDER: the check comes after the pause was set. A consumer that took the last events before that
    // did not see the pause, and would never resume the watch.
    #[must_use]
    pub(super) fn pause(&self) -> bool {
        self.low.set(self.held.amount().half());
        self.paused.store(true, SeqCst);
        self.demand.pause(self.watch);
        !self.try_resume()
    }

    /// Ends the pause if the watch holds little enough. Returns true to one caller for each pause.
    fn try_resume(&self) -> bool {
        let held = self.held.amount();
        let low = self.low.amount();
        let drained = held.bytes <= low.bytes && held.events <= low.events;
        // Without room the server would send the events in vain.
        drained && self.room().is_some() && self.paused.swap(false, SeqCst)
    }

    /// Records that the consumer has come to `revision`, without an event. Returns how far the consumer
    /// has come, which never goes back.
    pub(super) fn reached(&self, revision: i64) -> i64 {
        self.taken.fetch_max(revision, SeqCst).max(revision)
    }

    /// Returns how far the consumer is behind.
    pub(super) fn lag(&self) -> Lag {
        let held = self.held.amount();
        let newest = self.budget.newest();
        let behind = if held.events == 0 && !self.paused.load(SeqCst) {
            // No event waits, so the newer revisions did not concern this watch.
            0
        } else {
            newest.saturating_sub(self.taken.load(SeqCst)).max(0)
        };
        Lag {
            revisions: behind,
            events: held.events,
            bytes: held.bytes,
            paused: self.paused.load(SeqCst),
        }
    }
}

/// Counts the events of an incomplete revision while it lives.
#[derive(Debug)]
pub(super) struct Claim {
    budget: Arc<MemoryBudget>,
    amount: Amount,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.budget.take(self.amount);
    }
}

/// Counts delivered events until the consumer takes them, or they are dropped.
#[derive(Debug)]
pub(crate) struct HeldGuard {
    backlog: Arc<Backlog>,
    amount: Amount,
}

impl HeldGuard {
    /// Records that the consumer has taken the events, up to `revision`. Returns whether the watch was
    /// paused and is to be resumed now.
    pub(super) fn take(self, revision: i64) -> bool {
        let backlog = Arc::clone(&self.backlog);
        drop(self);
        backlog.reached(revision);
        backlog.try_resume()
    }
}

impl Drop for HeldGuard {
    // INVARIANT: the counts are reduced only here and in the drop of `Claim`, once for each time that
    // they were increased.
    fn drop(&mut self) {
        self.backlog.held.take(self.amount);
        self.backlog.budget.take(self.amount);
    }
}

/// How far the consumer of a watch is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lag {
    /// Number of revisions between the last one that was taken and the newest one that the client
    /// knows; 0 when no event waits.
    pub revisions: i64,
    /// Number of events that wait to be taken.
    pub events: usize,
    /// The memory of these events, in bytes.
    pub bytes: usize,
    /// Whether the watch is cancelled at the server until the consumer has taken more.
    pub paused: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::WatchLimits;

    const LIMIT: Amount = Amount {
        bytes: 100,
        events: 4,
    };

    fn some(events: usize) -> Amount {
        let bytes = 10 * events;
        Amount { bytes, events }
    }

    fn backlog(limits: WatchLimits) -> Arc<Backlog> {
        Arc::new(Backlog::new(LIMIT, Arc::new(MemoryBudget::new(limits))))
    }

    /// The consumer takes the last events just before the pause is set. Without the second check, the
    /// watch would never be resumed.
    #[test]
    fn a_watch_is_not_paused_after_its_consumer_has_taken_all() {
        let backlog = backlog(WatchLimits::default());
        let held = backlog.hold(some(4));
        assert_eq!(backlog.room(), None);
        assert!(!held.take(1), "it was not paused yet");
        assert!(!backlog.pause(), "it would be paused for ever");
        assert!(!backlog.lag().paused);
    }

    #[test]
    fn a_paused_watch_is_resumed_once_when_half_is_taken() {
        let backlog = backlog(WatchLimits::default());
        let mut all: Vec<HeldGuard> = (0..4).map(|_| backlog.hold(some(1))).collect();
        assert!(backlog.pause());
        let go: Vec<bool> = all.drain(..).map(|held| held.take(1)).collect();
        assert_eq!(go, [false, true, false, false]);
    }

    /// Returns the backlogs of two watches and their consumers, with a budget of 320 bytes and 32
    /// events, a sixteenth of which is the reserve.
    fn two() -> [Arc<Backlog>; 2] {
        let budget = Arc::new(MemoryBudget::new(WatchLimits {
            client_bytes: 320,
            client_events: 32,
            ..WatchLimits::default()
        }));
        let limit = Amount {
            bytes: 1_000,
            events: 100,
        };
        [1, 2].map(|watch| {
            let backlog = Backlog::of(WatchRef(watch), limit, Arc::clone(&budget), Arc::default());
            Arc::new(backlog)
        })
    }

    #[test]
    fn a_watch_takes_no_more_than_the_client_may() {
        let [one, two] = two();
        assert_eq!(one.room(), Some(some(30)), "the limit without the reserve");
        let kept = one.hold(some(20));
        assert_eq!(two.room(), Some(some(10)));
        let piece = two.claim(some(10));
        assert_eq!((one.room(), two.room()), (None, None));
        drop(piece);
        assert_eq!(two.room(), Some(some(10)));
        drop(kept);
        assert_eq!(two.room(), Some(some(30)));
    }

    /// A watch takes its part of the reserve once for each time that its consumer has waited.
    #[test]
    fn a_full_client_gives_room_to_consumers_that_wait() {
        let [one, two] = two();
        let share = Some(some(1));
        let _kept = one.hold(some(30));
        assert_eq!(two.room(), None, "its consumer does not wait");
        two.demand.begin();
        assert_eq!(two.room(), share);
        two.demand.end();
        assert_eq!(two.room(), None);
        two.grant();
        assert_eq!(two.room(), share);
        let mine = two.hold(some(1));
        assert_eq!(two.room(), None);
        drop(mine);
        assert_eq!(two.room(), None, "the grant is used up");
        one.demand.begin();
        assert_eq!(one.room(), None, "the watch holds events");
    }

    /// Each consumer takes half of the rest of the reserve, and never more.
    #[test]
    fn a_reader_takes_half_of_what_is_left_of_the_reserve() {
        let limits = WatchLimits {
            client_bytes: 16_000,
            client_events: 1_600,
            ..WatchLimits::default()
        };
        let budget = MemoryBudget::new(limits);
        budget.add(some(1_500));
        let mut shares = Vec::new();
        for _ in 0..8 {
            let share = budget.share();
            budget.add(share);
            shares.push(share.events);
        }
        assert_eq!(shares, [50, 25, 12, 6, 3, 2, 1, 0]);
    }

    /// The watch is resumed whether the pause or the wait comes first.
    #[test]
    fn a_pause_ends_when_the_consumer_waits() {
        let [one, two] = two();
        let _kept = one.hold(some(30));
        assert!(two.pause());
        two.demand.begin();
        assert!(two.demand.take_paused().contains(&WatchRef(2)));
        assert!(two.grant());
        assert!(!two.grant() && !two.lag().paused);
        // The consumer looks for paused watches and waits; then the watch is paused.
        assert!(two.demand.take_paused().is_empty());
        assert!(!two.pause(), "it would be paused for ever");
    }

    /// Without room the server would send events in vain.
    #[test]
    fn a_watch_is_not_resumed_while_the_client_is_at_its_limit() {
        let [one, two] = two();
        let kept = one.hold(some(24));
        let mut mine: Vec<HeldGuard> = (0..6).map(|_| two.hold(some(1))).collect();
        assert!(two.pause());
        let piece = one.claim(some(10));
        let mut take = || mine.pop().expect("there are more").take(1);
        assert_eq!([take(), take(), take(), take()], [false; 4]);
        drop((kept, piece));
        assert!(take());
    }

    /// Dropped events are counted as little as taken ones.
    #[test]
    fn events_are_not_counted_after_they_are_dropped() {
        let backlog = backlog(WatchLimits::default());
        drop(backlog.hold(some(2)));
        backlog.hold(some(2)).take(7);
        assert_eq!(backlog.lag(), Lag::default());
        assert_eq!(backlog.budget.held(), 0);
    }

    /// The revision that a consumer stores to resume from later must not go back. A member that
    /// lags sends a lower revision than was delivered.
    #[test]
    fn the_revision_of_a_consumer_never_goes_back() {
        let backlog = backlog(WatchLimits::default());
        backlog.hold(some(1)).take(9);
        assert_eq!(backlog.reached(5), 9);
        assert_eq!(backlog.reached(12), 12);
    }
}
