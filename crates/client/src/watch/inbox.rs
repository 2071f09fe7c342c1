//! Messages that wait for the owner of watches to take them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::backlog::HeldGuard;
use super::demand::Demand;
use super::end::WatchEnd;
use super::message::{WatchMessage, WatchRef};
use crate::error::{Error, ErrorKind};
use crate::kv::ResponseHeader;

/// A queue with one consumer.
///
/// INVARIANT: its length is bounded by the backlogs of the watches: of what is not an event,
/// two of a kind never lie in it without an event between them.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<InboxState>,
    /// Its consumer wants to hear of one watch, and not of the stream.
    quiet: bool,
    demand: Arc<Demand>,
}

#[derive(Debug, Default)]
struct InboxState {
    queue: VecDeque<Item>,
    /// How many items were taken, and so the number of the first one in the queue.
    taken: u64,
    /// The numbers of those that tell progress, as long as no event and no end came after them.
    progress: BTreeMap<Option<WatchRef>, u64>,
    waker: Option<Waker>,
    /// The reason why nothing comes any more.
    over: Option<InboxEnd>,
}

/// The reason why nothing comes any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InboxEnd {
    /// The client was closed.
    Closed,
    /// The runtime of the watches has ended.
    Interrupted,
    /// The consumer is gone.
    Abandoned,
}

impl InboxEnd {
    fn text(self) -> &'static str {
        match self {
            Self::Closed => "the client was closed",
            Self::Interrupted => "the tokio runtime of the watches has ended",
            Self::Abandoned => "the watcher was dropped",
        }
    }
}

#[derive(Debug)]
pub(super) struct Item {
    pub(super) message: WatchMessage,
    /// What the events in it count for.
    pub(super) held: Option<HeldGuard>,
}

impl Inbox {
    pub(super) fn quiet() -> Self {
        Self {
            quiet: true,
            ..Self::default()
        }
    }

    pub(super) fn demand(&self) -> &Arc<Demand> {
        &self.demand
    }

    fn state(&self) -> MutexGuard<'_, InboxState> {
        // Nothing that panics leaves it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, message: WatchMessage, held: Option<HeldGuard>) {
        let told = matches!(
            message,
            WatchMessage::Notify { .. }
                | WatchMessage::Progress { .. }
                | WatchMessage::Cancelled { .. }
        );
        if self.quiet && !told {
            return;
        }
        let mut state = self.state();
        if state.over.is_none() {
            if held.is_some() {
                self.demand.end();
            }
            state.put(Item { message, held });
        }
        wake(state);
    }

    /// Says that all is over; after that nothing comes.
    pub(super) fn close(&self) {
        self.end(InboxEnd::Closed);
    }

    /// Says that all is over, as the runtime of the watches has ended.
    pub(super) fn interrupt(&self) {
        self.end(InboxEnd::Interrupted);
    }

    /// Why nothing comes any more.
    pub(super) fn ending(&self) -> WatchEnd {
        match self.state().over {
            Some(InboxEnd::Interrupted) => WatchEnd::RuntimeEnded,
            _ => WatchEnd::ClientClosed,
        }
    }

    /// The text that says why nothing comes any more, if that is so.
    pub(super) fn reason(&self) -> Option<&'static str> {
        self.state().over.map(InboxEnd::text)
    }

    fn end(&self, over: InboxEnd) {
        let mut state = self.state();
        let is_first = state.over.is_none();
        state.over.get_or_insert(over);
        if is_first && !self.quiet {
            let kind = match over {
                InboxEnd::Interrupted => ErrorKind::Unavailable,
                InboxEnd::Closed | InboxEnd::Abandoned => ErrorKind::Closed,
            };
            let error = Error::new(kind, over.text());
            let message = WatchMessage::Closed(error);
            let held = None;
            state.queue.push_back(Item { message, held });
        }
        wake(state);
    }

    /// Nobody reads it any more.
    pub(super) fn abandon(&self) {
        let mut state = self.state();
        state.over.get_or_insert(InboxEnd::Abandoned);
        let left = std::mem::take(&mut state.queue);
        drop(state);
        drop(left);
    }

    pub(super) fn is_over(&self) -> bool {
        self.state().over.is_some()
    }

    /// Throws away what has come of some watches.
    pub(super) fn purge(&self, gone: impl Fn(WatchRef) -> bool) {
        let mut state = self.state();
        let is_gone = |item: &Item| item.message.watch().is_some_and(&gone);
        let all = std::mem::take(&mut state.queue);
        state.progress.clear();
        for item in all.into_iter().filter(|item| !is_gone(item)) {
            state.put(item);
        }
    }

    pub(super) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        let mut state = self.state();
        match state.queue.pop_front() {
            Some(item) => {
                self.demand.end();
                state.taken += 1;
                if let WatchMessage::Progress { watch, .. } = &item.message {
                    state.progress.remove(watch);
                }
                // After a burst, an idle watch is to hold nothing.
                if state.queue.is_empty() && state.queue.capacity() > 64 {
                    state.queue = VecDeque::new();
                }
                Poll::Ready(Some(item))
            }
            None if state.over.is_some() => Poll::Ready(None),
            None => {
                self.demand.begin();
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl InboxState {
    fn put(&mut self, item: Item) {
        match &item.message {
            WatchMessage::Progress {
                watch,
                revision,
                header,
            } => {
                if let Some((told, by)) = self.progress_of(*watch) {
                    if *revision >= *told {
                        (*told, *by) = (*revision, *header);
                    }
                    return;
                }
                let number = self.taken + self.queue.len() as u64;
                self.progress.insert(*watch, number);
            }
            WatchMessage::Notify { watch, .. } => {
                self.progress.remove(&Some(*watch));
                self.progress.remove(&None);
            }
            // What is told later of all watches is not about this one.
            WatchMessage::Cancelled { .. } => {
                self.progress.remove(&None);
            }
            // Who has not yet heard that it is over is disconnected still.
            WatchMessage::Disconnected { .. } => {
                let last = self.queue.back().map(|item| &item.message);
                if matches!(last, Some(WatchMessage::Resumed { .. })) {
                    self.queue.pop_back();
                    return;
                }
            }
            _ => {}
        }
        self.queue.push_back(item);
    }

    /// The progress that waits to be taken and may be moved on: no event came after it.
    fn progress_of(&mut self, watch: Option<WatchRef>) -> Option<Told<'_>> {
        let place = self.progress.get(&watch)?.checked_sub(self.taken)?;
        let item = self.queue.get_mut(usize::try_from(place).ok()?)?;
        match &mut item.message {
            WatchMessage::Progress {
                revision, header, ..
            } => Some((revision, header)),
            _ => None,
        }
    }
}

/// A progress that waits to be taken: the revision, and the header that it is known by.
type Told<'a> = (&'a mut i64, &'a mut ResponseHeader);

// ORDER: the lock is released before: a task that is woken may run at once, or be dropped, and
// with it what locks this again.
fn wake(mut state: MutexGuard<'_, InboxState>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::task::Wake;

    use super::*;
    use crate::watch::amount::Amount;
    use crate::watch::backlog::Backlog;
    use crate::watch::budget::MemoryBudget;
    use crate::watch::event::Batch;

    /// A waker that finds its inbox open: what a task does when it is woken, and also when it is
    /// dropped by that, may be to take from the inbox.
    struct Looks(Arc<Inbox>, AtomicUsize);

    impl Wake for Looks {
        fn wake(self: Arc<Self>) {
            let open = self.0.state.try_lock().is_ok();
            self.1.fetch_add(usize::from(open), SeqCst);
        }
    }

    #[test]
    fn nobody_is_woken_under_the_lock() {
        let inbox = Arc::new(Inbox::default());
        let looks = Arc::new(Looks(Arc::clone(&inbox), AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&looks));
        let poll = || inbox.poll_take(&mut Context::from_waker(&waker));
        assert!(poll().is_pending());
        inbox.push(WatchMessage::Resumed { revision: 1 }, None);
        assert!(poll().is_ready());
        assert!(poll().is_pending());
        inbox.close();
        assert_eq!(looks.1.load(SeqCst), 2);
    }

    fn take(inbox: &Inbox) -> Option<Item> {
        match inbox.poll_take(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(item) => item,
            Poll::Pending => None,
        }
    }

    fn event(revision: i64) -> WatchMessage {
        let watch = WatchRef(3);
        let batch = Batch {
            revision,
            ..Batch::default()
        };
        WatchMessage::Notify { watch, batch }
    }

    fn held() -> (Arc<Backlog>, HeldGuard) {
        let limits = crate::WatchLimits::default();
        let amount = Amount {
            bytes: 100,
            events: 1,
        };
        let backlog = Arc::new(Backlog::new(amount, Arc::new(MemoryBudget::new(limits))));
        let held = backlog.hold(amount);
        (backlog, held)
    }

    /// Progress says that everything before it was delivered.
    #[test]
    fn progress_does_not_overtake_events() {
        for watch in [None, Some(WatchRef(3))] {
            let inbox = Inbox::default();
            let progress = |revision| WatchMessage::Progress {
                watch,
                revision,
                header: ResponseHeader::default(),
            };
            inbox.push(progress(10), None);
            inbox.push(progress(11), None);
            inbox.push(event(12), None);
            inbox.push(progress(12), None);
            inbox.purge(|watch| watch == WatchRef(4));
            inbox.push(progress(13), None);
            let told = std::iter::from_fn(|| take(&inbox)).map(|item| match item.message {
                WatchMessage::Progress { revision, .. } => revision,
                _ => 0,
            });
            assert_eq!(told.collect::<Vec<_>>(), [11, 0, 13], "{watch:?}");
        }
    }

    /// What was told of a watch that is gone stood where something else stands now.
    #[test]
    fn progress_of_a_purged_watch_moves_no_other() {
        let inbox = Inbox::default();
        let push = |watch, revision| {
            let message = WatchMessage::Progress {
                watch: Some(WatchRef(watch)),
                revision,
                header: ResponseHeader::default(),
            };
            inbox.push(message, None);
        };
        push(3, 10);
        push(4, 20);
        inbox.purge(|watch| watch == WatchRef(3));
        push(3, 30);
        let told = std::iter::from_fn(|| take(&inbox)).map(|item| match item.message {
            WatchMessage::Progress {
                watch, revision, ..
            } => (watch, revision),
            _ => (None, 0),
        });
        let expected = [(Some(WatchRef(4)), 20), (Some(WatchRef(3)), 30)];
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn an_inbox_without_a_consumer_holds_nothing() {
        let inbox = Inbox::default();
        let (backlog, held) = held();
        inbox.push(event(5), Some(held));
        assert_eq!(backlog.lag().events, 1);
        inbox.abandon();
        assert_eq!(backlog.lag().events, 0);
        inbox.push(event(6), Some(backlog.hold(Amount::default())));
        assert!(take(&inbox).is_none());
    }

    /// Only a consumer that found nothing waits, until something comes or is taken.
    #[test]
    fn a_consumer_waits_while_its_inbox_is_empty() {
        let inbox = Inbox::default();
        assert!(!inbox.demand().waits());
        assert!(take(&inbox).is_none());
        assert!(inbox.demand().waits());
        inbox.push(event(5), Some(held().1));
        assert!(!inbox.demand().waits(), "events lie in it");
        assert!(take(&inbox).is_some() && take(&inbox).is_none());
        assert!(inbox.demand().waits());
        inbox.push(WatchMessage::Resumed { revision: 1 }, None);
        assert!(take(&inbox).is_some());
        assert!(!inbox.demand().waits(), "its consumer is at work");
    }

    /// What is said of all watches is not said before the end of one of them that it is not
    /// about.
    #[test]
    fn progress_does_not_overtake_an_end() {
        let inbox = Inbox::default();
        let progress = |revision| WatchMessage::Progress {
            watch: None,
            revision,
            header: ResponseHeader::default(),
        };
        let (watch, end) = (WatchRef(3), WatchEnd::Compacted { revision: 15 });
        inbox.push(progress(10), None);
        inbox.push(WatchMessage::Cancelled { watch, end }, None);
        inbox.push(progress(20), None);
        let mut told = Vec::new();
        while let Poll::Ready(Some(item)) = inbox.poll_take(&mut Context::from_waker(Waker::noop()))
        {
            told.push(match item.message {
                WatchMessage::Progress { revision, .. } => revision,
                _ => 0,
            });
        }
        assert_eq!(told, [10, 0, 20]);
    }
}
