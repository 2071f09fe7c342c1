//! The queue of messages from the task to the consumer of watches.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, MutexGuard};
use std::task::{Context, Poll, Waker};

use super::backlog::HeldGuard;
use super::demand::Demand;
use super::end::WatchEnd;
use super::entry::WatchRef;
use super::message::WatchMessage;
use crate::error::{Error, ErrorKind};
use crate::kv::ResponseHeader;
use crate::mutex::Mutex;

/// A queue with one consumer.
///
/// INVARIANT: the backlogs of the watches bound its length, because between two other messages of
/// one kind there is always an event.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<InboxState>,
    /// Whether the consumer reads one watch, and wants no messages about the stream.
    quiet: bool,
    demand: Arc<Demand>,
}

#[derive(Debug, Default)]
struct InboxState {
    queue: VecDeque<Item>,
    /// Number of items that were taken. This is also the number of the first item in the queue.
    taken: u64,
    /// The numbers of the progress messages that no event and no end follows.
    progress: BTreeMap<Option<WatchRef>, u64>,
    waker: Option<Waker>,
    /// The reason why no message follows.
    over: Option<InboxEnd>,
}

/// The reason why no message follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InboxEnd {
    /// The client was closed.
    Closed,
    /// The runtime of the watches has ended.
    Interrupted,
    /// The consumer was dropped.
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
    /// Counts the events of the message.
    pub(super) held: Option<HeldGuard>,
}

impl Inbox {
    /// Makes the inbox of one watch: only messages about the watch are delivered.
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
        self.state.lock()
    }

    pub(super) fn push(&self, message: WatchMessage, held: Option<HeldGuard>) {
        let is_about_watch = matches!(
            message,
            WatchMessage::Notify { .. }
                | WatchMessage::Progress { .. }
                | WatchMessage::Cancelled { .. }
        );
        if self.quiet && !is_about_watch {
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

    /// Ends the inbox because the client was closed.
    pub(super) fn close(&self) {
        self.end(InboxEnd::Closed);
    }

    /// Ends the inbox because the runtime of the watches has ended.
    pub(super) fn interrupt(&self) {
        self.end(InboxEnd::Interrupted);
    }

    /// Returns how the watch of this inbox has ended, if the inbox has ended.
    pub(super) fn ending(&self) -> WatchEnd {
        match self.state().over {
            Some(InboxEnd::Interrupted) => WatchEnd::RuntimeEnded,
            _ => WatchEnd::ClientClosed,
        }
    }

    /// Returns the reason why no message follows, if the inbox has ended.
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

    /// Ends the inbox because its consumer was dropped.
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

    /// Removes the messages of the watches for which `gone` returns true.
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
                // After a burst, the memory of the queue is released.
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
                if let Some((waiting, its_header)) = self.progress_of(*watch) {
                    if *revision >= *waiting {
                        (*waiting, *its_header) = (*revision, *header);
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
            // A later progress of all watches does not include this watch.
            WatchMessage::Cancelled { .. } => {
                self.progress.remove(&None);
            }
            // A consumer that has not taken the `Resumed` yet still takes itself for disconnected.
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

    /// Returns the waiting progress of a watch that no event follows. Its revision may be raised.
    fn progress_of(&mut self, watch: Option<WatchRef>) -> Option<WaitingProgress<'_>> {
        let index = self.progress.get(&watch)?.checked_sub(self.taken)?;
        let item = self.queue.get_mut(usize::try_from(index).ok()?)?;
        match &mut item.message {
            WatchMessage::Progress {
                revision, header, ..
            } => Some((revision, header)),
            _ => None,
        }
    }
}

/// The revision and the header of a progress message in the queue.
type WaitingProgress<'a> = (&'a mut i64, &'a mut ResponseHeader);

/// Wakes the consumer.
// ORDER: the lock is released first. Waking may run or drop the task at once, and both may lock the
// state again.
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

    /// A waker that counts how often the inbox was not locked when it was woken. A task that is
    /// woken, or dropped by the wake-up, may lock the inbox.
    struct Looks(Arc<Inbox>, AtomicUsize);

    impl Wake for Looks {
        fn wake(self: Arc<Self>) {
            let open = self.0.state.try_lock().is_some();
            self.1.fetch_add(usize::from(open), SeqCst);
        }
    }

    #[test]
    fn no_task_is_woken_under_the_lock() {
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

    /// A progress message says that all events up to its revision came before it.
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

    /// After a purge, another item has the place of the removed one.
    #[test]
    fn progress_of_a_purged_watch_changes_no_other() {
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

    /// A consumer waits from the time that it finds the inbox empty until it is given an event, or
    /// takes a message.
    #[test]
    fn a_consumer_waits_while_its_inbox_is_empty() {
        let inbox = Inbox::default();
        assert!(!inbox.demand().waits());
        assert!(take(&inbox).is_none());
        assert!(inbox.demand().waits());
        inbox.push(event(5), Some(held().1));
        assert!(!inbox.demand().waits(), "there are events in it");
        assert!(take(&inbox).is_some() && take(&inbox).is_none());
        assert!(inbox.demand().waits());
        inbox.push(WatchMessage::Resumed { revision: 1 }, None);
        assert!(take(&inbox).is_some());
        assert!(!inbox.demand().waits(), "its consumer is at work");
    }

    /// A progress of all watches does not include an ended watch, so it comes after the end.
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
