//! What waits for the owner of watches to take it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::backlog::Held;
use super::message::{WatchMessage, WatchRef};

/// A queue with one consumer. Its length is bounded by the backlogs of the watches.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    /// Its consumer wants to hear of one watch, and not of the stream.
    quiet: bool,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Item>,
    waker: Option<Waker>,
    /// Nothing comes any more.
    over: bool,
}

#[derive(Debug)]
pub(super) struct Item {
    pub(super) message: WatchMessage,
    /// What the events in it count for.
    pub(super) held: Option<Held>,
}

impl Inbox {
    pub(super) fn quiet() -> Self {
        Self {
            quiet: true,
            ..Self::default()
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that panics leaves it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, message: WatchMessage, held: Option<Held>) {
        let told = matches!(
            message,
            WatchMessage::Notify { .. }
                | WatchMessage::Progress { .. }
                | WatchMessage::Canceled { .. }
        );
        if self.quiet && !told {
            return;
        }
        let mut state = self.state();
        state.queue.push_back(Item { message, held });
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// After what is there, nothing comes.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.over = true;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// Throws away what has come of a watch.
    pub(super) fn purge(&self, watch: WatchRef) {
        let mut state = self.state();
        state
            .queue
            .retain(|item| item.message.watch() != Some(watch));
    }

    pub(super) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        let mut state = self.state();
        match state.queue.pop_front() {
            Some(item) => {
                // After a burst, an idle watch is to hold nothing.
                if state.queue.is_empty() && state.queue.capacity() > 64 {
                    state.queue = VecDeque::new();
                }
                Poll::Ready(Some(item))
            }
            None if state.over => Poll::Ready(None),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
