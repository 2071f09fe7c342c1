//! Whether an endpoint serves, as the ends of calls show. All connections to the endpoint share it.

use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use super::balance::EndpointIndex;
use super::link::Link;
use super::pool::Pool;
use super::report::{Attempt, End, Report, report};

/// Whether one endpoint serves, as calls and probes have found out.
pub(crate) struct Serving {
    /// The index of the endpoint among the client's.
    index: EndpointIndex,
    pool: Weak<Pool>,
    /// Whether the choice avoids the endpoint.
    not_serving: AtomicBool,
    /// Whether calls leave the endpoint: others have served for some time, and this one has not.
    left: AtomicBool,
    /// Whether a probe was asked for, as a call had no answer.
    silent: AtomicBool,
    /// Wakes the monitors of the endpoint's connections.
    signal: watch::Sender<Signal>,
}

/// Signal to the monitors of an endpoint's connections.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Signal {
    /// Number of times that streams and waiting calls were told to leave the endpoint.
    pub(crate) left: u64,
}

impl Serving {
    pub(crate) fn new(index: EndpointIndex, pool: Weak<Pool>) -> Self {
        Self {
            index,
            pool,
            not_serving: AtomicBool::new(false),
            left: AtomicBool::new(false),
            silent: AtomicBool::new(false),
            signal: watch::Sender::default(),
        }
    }

    pub(crate) fn index(&self) -> EndpointIndex {
        self.index
    }

    /// Whether the choice avoids the endpoint.
    pub(crate) fn is_not_serving(&self) -> bool {
        self.not_serving.load(Ordering::Relaxed)
    }

    /// Returns the signal that wakes the monitor of a connection.
    pub(crate) fn signal(&self) -> watch::Receiver<Signal> {
        self.signal.subscribe()
    }

    /// Wakes the monitors of the endpoint's connections.
    pub(crate) fn wake(&self) {
        self.signal.send_modify(|_| {});
    }

    /// Makes the calls that are under way leave the endpoint, and the streams: their connections
    /// are ended.
    pub(crate) fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
        self.signal.send_modify(|signal| signal.left += 1);
    }

    /// Whether calls that are under way are to leave the endpoint.
    pub(crate) fn is_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }

    /// Notes whether the endpoint serves.
    pub(crate) fn set_not_serving(&self, not_serving: bool) {
        if self.is_not_serving() != not_serving {
            // Without a pool, the client was dropped.
            if let Some(pool) = self.pool.upgrade() {
                pool.note_serving(self, not_serving);
            }
        }
    }

    /// Sets the flag; returns whether that changed it.
    ///
    /// ORDER: only the pool calls this, with the balance locked. The balance has a copy of the flag,
    /// and two changes at once must reach both in the same order.
    pub(super) fn swap(&self, not_serving: bool) -> bool {
        self.left.store(false, Ordering::Relaxed);
        self.not_serving.swap(not_serving, Ordering::Relaxed) != not_serving
    }

    /// Asks for a probe.
    pub(crate) fn ask(&self) {
        if !self.silent.swap(true, Ordering::Relaxed) {
            self.wake();
        }
    }

    /// Whether a probe was asked for since the last time.
    pub(crate) fn take_silent(&self) -> bool {
        self.silent.swap(false, Ordering::Relaxed)
    }
}

/// The beginning of an attempt, for the report about its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    local: bool,
    /// Number of replies that had shown by then that the member serves.
    served: u64,
}

impl Begun {
    /// Whether the member answers the request without asking its quorum.
    pub(crate) fn is_local(self) -> bool {
        self.local
    }
}

impl Link {
    /// Notes the beginning of an attempt. `local` says that the member answers the request without
    /// asking its quorum.
    pub(crate) fn begun(&self, local: bool) -> Begun {
        Begun {
            local,
            served: self.state.served(),
        }
    }

    /// Whether new calls should be sent over the link while there is a choice.
    pub(crate) fn serves(&self) -> bool {
        self.state.is_fit() && !self.serving.is_not_serving()
    }

    /// Notes how an attempt has ended. A good reply costs one atomic operation.
    pub(crate) fn report(&self, begun: Begun, end: End<'_>) {
        let attempt = Attempt {
            local: begun.local,
            served_since: self.state.served() != begun.served,
            connected: self.state.is_connected(),
        };
        match report(end, attempt) {
            Report::Serving => {
                self.state.serve();
                self.serving.set_not_serving(false);
            }
            Report::NotServing => self.serving.set_not_serving(true),
            Report::Silent => self.serving.ask(),
            Report::Unknown => {}
        }
    }
}
