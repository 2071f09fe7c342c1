//! Whether an endpoint serves, as the ends of calls tell it.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use super::link::Link;
use super::report::{Attempt, End, Report, report};

/// What the calls to one endpoint have found out about it; all connections to it share it.
#[derive(Default)]
pub(crate) struct Serving {
    /// The endpoint does not serve, and the choice avoids it.
    not_serving: AtomicBool,
    /// A call had no answer: whether the endpoint serves has to be asked.
    silent: AtomicBool,
    /// Wakes the watcher of the endpoint's unary connection.
    pub(crate) changed: Notify,
}

impl Serving {
    /// Whether the choice avoids the endpoint.
    pub(crate) fn is_not_serving(&self) -> bool {
        self.not_serving.load(Ordering::Relaxed)
    }

    fn set(&self, not_serving: bool) {
        if self.not_serving.swap(not_serving, Ordering::Relaxed) != not_serving {
            self.changed.notify_one();
        }
    }

    fn ask(&self) {
        if !self.silent.swap(true, Ordering::Relaxed) {
            self.changed.notify_one();
        }
    }
}

/// The begin of an attempt, for the report about its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    local: bool,
    /// How many replies had shown by then that the member serves.
    served: u64,
}

impl Link {
    /// Marks the begin of an attempt. `local` says that the member answers the request without
    /// asking its quorum.
    pub(crate) fn begun(&self, local: bool) -> Begun {
        Begun {
            local,
            served: self.pulse.served(),
        }
    }

    /// Takes note of how an attempt has ended. A good reply costs an atomic operation.
    pub(crate) fn report(&self, begun: Begun, end: End<'_>) {
        let attempt = Attempt {
            local: begun.local,
            served_since: self.pulse.served() != begun.served,
            connected: self.pulse.is_connected(),
        };
        match report(end, attempt) {
            Report::Serving => {
                self.pulse.serve();
                if self.serving.is_not_serving() {
                    self.serving.set(false);
                }
            }
            Report::NotServing => self.serving.set(true),
            Report::Silent => self.serving.ask(),
            Report::Unknown => {}
        }
    }
}
