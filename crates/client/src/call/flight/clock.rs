//! The clock of a call: until when it may take, and when to look at it next.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;
use tokio::time::Sleep;

use crate::error::Error;
use crate::runtime;

pin_project! {
    /// It stands still until the first poll of the call.
    #[derive(Default)]
    pub(super) struct Clock {
        timeout: Option<Duration>,
        deadline: Option<Instant>,
        // What the call waits for at the latest.
        wake: Option<Instant>,
        #[pin]
        timer: Option<Sleep>,
    }
}

impl Clock {
    pub(super) fn start(self: Pin<&mut Self>, timeout: Option<Duration>, moment: Instant) {
        let this = self.project();
        *this.timeout = timeout;
        // A time-out beyond what a clock can tell is none.
        *this.deadline = timeout.and_then(|timeout| moment.checked_add(timeout));
    }

    pub(super) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// How much time the call has left; `None` is all of it.
    pub(super) fn left(&self, moment: Instant) -> Option<Duration> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(moment))
    }

    pub(super) fn is_over(&self, moment: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= moment)
    }

    /// To look at the call only when its time is over.
    pub(super) fn wake_at_deadline(self: Pin<&mut Self>) {
        let this = self.project();
        *this.wake = *this.deadline;
    }

    /// To look at the call then, if ever, or when its time is over.
    pub(super) fn wake_at_or_deadline(self: Pin<&mut Self>, next: Option<Instant>) {
        match next {
            Some(next) => self.wake_at(next),
            None => self.wake_at_deadline(),
        }
    }

    /// To look at the call then, or when its time is over.
    pub(super) fn wake_at(self: Pin<&mut Self>, next: Instant) {
        let this = self.project();
        *this.wake = Some(this.deadline.map_or(next, |deadline| deadline.min(next)));
    }

    /// Ready when it is time to look at the call.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) when a timer is to be made outside of a
    /// tokio runtime. A timer that was made belongs to its runtime, and panics when that has ended.
    pub(super) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut this = self.project();
        let Some(wake) = *this.wake else {
            return Poll::Pending;
        };
        let wake = tokio::time::Instant::from_std(wake);
        match this.timer.as_mut().as_pin_mut() {
            Some(timer) if timer.deadline() == wake => {}
            Some(timer) => timer.reset(wake),
            None => {
                runtime::present()?;
                this.timer.set(Some(tokio::time::sleep_until(wake)));
            }
        }
        match this.timer.as_pin_mut() {
            Some(timer) => timer.poll(cx).map(Ok),
            None => Poll::Pending,
        }
    }
}
