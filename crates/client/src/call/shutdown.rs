//! The shutdown of a client: its stage, and the number of calls in progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, watch};

/// The stage of a shutdown. Stages only advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ShutdownStage {
    Open,
    /// New calls are refused. Calls in progress continue, and so do the tasks that renew leases.
    Draining,
    /// Everything that still runs for the client ends now.
    Over,
}

/// The signal that a client is shutting down, and the number of its calls.
///
/// ```text
///        close()              all calls have ended, or the grace is over
///  Open ─────────► Draining ────────────────────────────────────────────► Over
/// ```
///
/// Tasks of a client (such as the driver of leases) follow [`stages`](Shutdown::stages) and end by
/// themselves.
#[derive(Debug)]
pub(crate) struct Shutdown {
    stage: watch::Sender<ShutdownStage>,
    calls: AtomicUsize,
    idle: Notify,
}

impl Shutdown {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            stage: watch::Sender::new(ShutdownStage::Open),
            calls: AtomicUsize::new(0),
            idle: Notify::new(),
        })
    }

    /// Counts a call, unless the client accepts no more.
    ///
    /// ORDER: the count is raised before the stage is read. `close` advances the stage before it
    /// reads the count. So either the call sees the new stage, or `close` sees the call.
    pub(crate) fn begin_call(self: &Arc<Self>) -> Option<CallGuard> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let guard = CallGuard(Arc::clone(self));
        (self.stage() == ShutdownStage::Open).then_some(guard)
    }

    pub(crate) fn stage(&self) -> ShutdownStage {
        *self.stage.borrow()
    }

    /// Returns a receiver of the present stage and of later ones.
    pub(crate) fn stages(&self) -> watch::Receiver<ShutdownStage> {
        self.stage.subscribe()
    }

    pub(crate) fn advance(&self, stage: ShutdownStage) {
        self.stage.send_if_modified(|present| {
            let later = *present < stage;
            *present = (*present).max(stage);
            later
        });
    }

    /// Returns the number of calls in progress.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Waits until no call is in progress.
    pub(crate) async fn drained(&self) {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            // ORDER: registers for the notification before it reads the count.
            idle.as_mut().enable();
            if self.calls() == 0 {
                return;
            }
            idle.await;
        }
    }
}

/// Counts a call as in progress until it is dropped.
#[derive(Debug)]
pub(crate) struct CallGuard(Arc<Shutdown>);

impl Drop for CallGuard {
    fn drop(&mut self) {
        if self.0.calls.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}
