//! The clock of a call: its deadline, and when it has to be polled next.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;
use tokio::time::Sleep;

use crate::error::Error;
use crate::runtime;

pin_project! {
    /// The clock starts with the first poll of the call.
    #[derive(Default)]
    pub(super) struct Clock {
        timeout: Option<Duration>,
        deadline: Option<Instant>,
        // When the timer fires.
        wake: Option<Instant>,
        #[pin]
        timer: Option<Sleep>,
    }
}

impl Clock {
    pub(super) fn start(self: Pin<&mut Self>, timeout: Option<Duration>, moment: Instant) {
        let this = self.project();
        *this.timeout = timeout;
        // A deadline that the clock cannot represent means no deadline.
        *this.deadline = timeout.and_then(|timeout| moment.checked_add(timeout));
    }

    pub(super) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Returns the time until the deadline; `None` without one.
    pub(super) fn left(&self, moment: Instant) -> Option<Duration> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(moment))
    }

    pub(super) fn is_over(&self, moment: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= moment)
    }

    /// Sets the timer to the deadline.
    pub(super) fn wake_at_deadline(self: Pin<&mut Self>) {
        let this = self.project();
        *this.wake = *this.deadline;
    }

    /// Sets the timer to `next`, if given, or to the deadline if that is earlier.
    pub(super) fn wake_at_or_deadline(self: Pin<&mut Self>, next: Option<Instant>) {
        match next {
            Some(next) => self.wake_at(next),
            None => self.wake_at_deadline(),
        }
    }

    /// Sets the timer to `next`, or to the deadline if that is earlier.
    pub(super) fn wake_at(self: Pin<&mut Self>, next: Instant) {
        let this = self.project();
        *this.wake = Some(this.deadline.map_or(next, |deadline| deadline.min(next)));
    }

    /// Completes when the timer fires.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) when a timer is to be created outside of a
    /// tokio runtime. An existing timer belongs to its runtime, and panics when that has ended.
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
