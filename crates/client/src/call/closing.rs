//! The shutdown of a client: its stage, and the number of calls in progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, watch};

/// The stage of a shutdown. Stages only advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
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
/// Tasks of a client (such as the driver of leases) follow [`stages`](Closing::stages) and end by
/// themselves.
#[derive(Debug)]
pub(crate) struct Closing {
    stage: watch::Sender<Stage>,
    under_way: AtomicUsize,
    idle: Notify,
}

impl Closing {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            stage: watch::Sender::new(Stage::Open),
            under_way: AtomicUsize::new(0),
            idle: Notify::new(),
        })
    }

    /// Counts a call, unless the client accepts no more.
    ///
    /// ORDER: the count is raised before the stage is read. `close` advances the stage before it
    /// reads the count. So either the call sees the new stage, or `close` sees the call.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<UnderWay> {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let entered = UnderWay(Arc::clone(self));
        (self.stage() == Stage::Open).then_some(entered)
    }

    pub(crate) fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Returns a receiver of the present stage and of later ones.
    pub(crate) fn stages(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    pub(crate) fn advance(&self, stage: Stage) {
        self.stage.send_if_modified(|present| {
            let later = *present < stage;
            *present = (*present).max(stage);
            later
        });
    }

    /// Returns the number of calls in progress.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::SeqCst)
    }

    /// Waits until no call is in progress.
    pub(crate) async fn drained(&self) {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            // ORDER: registers for the notification before it reads the count.
            idle.as_mut().enable();
            if self.under_way() == 0 {
                return;
            }
            idle.await;
        }
    }
}

/// Counts a call as in progress until it is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<Closing>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.0.under_way.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}
