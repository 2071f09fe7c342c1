//! Events that were delivered to a consumer and not taken by it yet, counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::SeqCst};

use super::amount::{Amount, Count};
use super::budget::MemoryBudget;
use super::demand::Demand;

/// The events that a watch holds; its consumer and the task that fills it share it.
#[derive(Debug)]
pub(crate) struct Backlog {
    held: Count,
    limit: Amount,
    /// It is paused, and goes on when it holds no more than this.
    paused: AtomicBool,
    low: Count,
    /// How far its consumer has come.
    taken: AtomicI64,
    /// It may take a part of the reserve once: its consumer has waited for it.
    granted: AtomicBool,
    number: u64,
    demand: Arc<Demand>,
    budget: Arc<MemoryBudget>,
}

impl Backlog {
    /// A backlog whose consumer always waits.
    #[cfg(test)]
    pub(crate) fn new(limit: Amount, budget: Arc<MemoryBudget>) -> Self {
        Self::of(0, limit, budget, Arc::new(Demand::constant()))
    }

    /// The backlog of a watch with this number.
    pub(super) fn of(
        number: u64,
        limit: Amount,
        budget: Arc<MemoryBudget>,
        demand: Arc<Demand>,
    ) -> Self {
        // With no room at all, nothing would ever come.
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
            number,
            demand,
            budget,
        }
    }

    /// How much more it takes before it is full; `None` when it should be paused right away.
    pub(super) fn room(&self) -> Option<Amount> {
        let held = self.held.amount();
        if held.reaches(self.limit) {
            return None;
        }
        // The consumer only makes it less.
        let own = self.limit.minus(held);
        let granted = self.granted.load(SeqCst) || self.demand.waits();
        match self.budget.room() {
            Some(room) => Some(own.min(room)),
            None if held.events == 0 && granted => Some(own.min(self.budget.share())),
            None => None,
        }
    }

    /// Counts the beginning of a revision, which is no batch yet.
    pub(super) fn claim(&self, amount: Amount) -> Claim {
        self.budget.add(amount);
        Claim {
            budget: Arc::clone(&self.budget),
            amount,
        }
    }

    /// The consumer waits: the watch may take some of the reserve. Says whether it was paused
    /// and goes on now.
    pub(super) fn grant(&self) -> bool {
        self.granted.store(true, SeqCst);
        self.paused.swap(false, SeqCst)
    }

    /// Counts what is handed over to the consumer.
    pub(super) fn hold(self: &Arc<Self>, amount: Amount) -> HeldGuard {
        self.granted.store(false, SeqCst);
        self.held.add(amount);
        self.budget.add(amount);
        HeldGuard {
            backlog: Arc::clone(self),
            amount,
        }
    }

    /// Notes that no more comes until [`HeldGuard::take`] says that it may. False when the consumer
    /// has taken so much meanwhile that it may at once.
    // ORDER: a consumer that took the last of it before the pause was noted did not see it, and
    // would never say anything: so it is looked at once more after.
    #[must_use]
    pub(super) fn pause(&self) -> bool {
        self.low.set(self.held.amount().half());
        self.paused.store(true, SeqCst);
        self.demand.pause(self.number);
        !self.goes_on()
    }

    /// Ends the pause if little enough is left; true for one caller of each pause.
    fn goes_on(&self) -> bool {
        let held = self.held.amount();
        let low = self.low.amount();
        let drained = held.bytes <= low.bytes && held.events <= low.events;
        // Where it could take nothing, the server would send in vain.
        drained && self.room().is_some() && self.paused.swap(false, SeqCst)
    }

    /// Notes how far the consumer has come without an event; gives how far that is, which never
    /// goes back.
    pub(super) fn reached(&self, revision: i64) -> i64 {
        self.taken.fetch_max(revision, SeqCst).max(revision)
    }

    pub(super) fn lag(&self) -> Lag {
        let held = self.held.amount();
        let newest = self.budget.newest();
        let behind = if held.events == 0 && !self.paused.load(SeqCst) {
            // Nothing waits: what the store has come ahead by was not about this watch.
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

/// The events of a revision that is not whole yet: counted as long as they are kept.
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

/// Events under way to a consumer: counted until they are taken or thrown away.
#[derive(Debug)]
pub(crate) struct HeldGuard {
    backlog: Arc<Backlog>,
    amount: Amount,
}

impl HeldGuard {
    /// The consumer has them, and has come that far; says whether the watch, being paused, is
    /// to go on now.
    pub(super) fn take(self, revision: i64) -> bool {
        let backlog = Arc::clone(&self.backlog);
        drop(self);
        backlog.reached(revision);
        backlog.goes_on()
    }
}

impl Drop for HeldGuard {
    // INVARIANT: with `Claim`, the only place where the counts go down, once for each time they
    // went up.
    fn drop(&mut self) {
        self.backlog.held.take(self.amount);
        self.backlog.budget.take(self.amount);
    }
}

/// How far the consumer of a watch is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lag {
    /// How far the store is ahead of what was taken, as far as this client knows; 0 when
    /// nothing waits to be taken.
    pub revisions: i64,
    /// Events that wait to be taken.
    pub events: usize,
    /// The memory that they take, in bytes.
    pub bytes: usize,
    /// Whether the watch was stopped at the server until more is taken.
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

    /// The consumer takes the last of it just before the pause is noted: nobody would ever wake
    /// the watch again.
    #[test]
    fn a_pause_that_comes_too_late_is_none() {
        let backlog = backlog(WatchLimits::default());
        let held = backlog.hold(some(4));
        assert_eq!(backlog.room(), None);
        assert!(!held.take(1), "it was not paused yet");
        assert!(!backlog.pause(), "it would be paused for ever");
        assert!(!backlog.lag().paused);
    }

    #[test]
    fn a_paused_watch_goes_on_once_when_half_is_taken() {
        let backlog = backlog(WatchLimits::default());
        let mut all: Vec<HeldGuard> = (0..4).map(|_| backlog.hold(some(1))).collect();
        assert!(backlog.pause());
        let go: Vec<bool> = all.drain(..).map(|held| held.take(1)).collect();
        assert_eq!(go, [false, true, false, false]);
    }

    /// A budget of 320 bytes and 32 events, of which a sixteenth is the reserve, and the backlogs
    /// of two watches with their consumers.
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
        [1, 2].map(|number| {
            let backlog = Backlog::of(number, limit, Arc::clone(&budget), Arc::default());
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

    /// It takes its part of the reserve, once for each time that its consumer has waited.
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
        assert_eq!(two.room(), None, "it has had its part");
        one.demand.begin();
        assert_eq!(one.room(), None, "it holds something");
    }

    /// Readers take half of what is left of the reserve, one after the other, and never more.
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

    /// Whichever comes first, the pause or the wait, the watch goes on.
    #[test]
    fn a_pause_ends_when_the_consumer_waits() {
        let [one, two] = two();
        let _kept = one.hold(some(30));
        assert!(two.pause());
        two.demand.begin();
        assert!(two.demand.take_paused().contains(&2));
        assert!(two.grant());
        assert!(!two.grant() && !two.lag().paused);
        // The consumer waits and looks; then the watch is paused.
        assert!(two.demand.take_paused().is_empty());
        assert!(!two.pause(), "it would be paused for ever");
    }

    /// The server would send again what the watch cannot take.
    #[test]
    fn a_watch_does_not_go_on_while_the_client_is_full() {
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

    /// Events that are thrown away count no more than events that are taken.
    #[test]
    fn what_is_gone_is_not_counted() {
        let backlog = backlog(WatchLimits::default());
        drop(backlog.hold(some(2)));
        backlog.hold(some(2)).take(7);
        assert_eq!(backlog.lag(), Lag::default());
        assert_eq!(backlog.budget.held(), 0);
    }

    /// The revision that a consumer stores to go on from later must not go back: a member that lags tells of
    /// less than was delivered.
    #[test]
    fn a_consumer_never_comes_back_from_where_it_was() {
        let backlog = backlog(WatchLimits::default());
        backlog.hold(some(1)).take(9);
        assert_eq!(backlog.reached(5), 9);
        assert_eq!(backlog.reached(12), 12);
    }
}
