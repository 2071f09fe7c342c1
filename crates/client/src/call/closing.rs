//! The end of a client: who is still under way, and who has to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, watch};

/// How far a client is on its way to its end. It only goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Open,
    /// New calls are refused; those under way go on, and so do the tasks that renew leases.
    Draining,
    /// Everything that still runs for the client ends now.
    Over,
}

/// The signal that a client is closing, and the count of its calls.
///
/// The tasks that work for a client on their own (the driver of leases) follow
/// [`stages`](Closing::stages) and end by themselves.
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

    /// Counts a call in, unless the client takes no more.
    ///
    /// ORDER: it counts before it looks, and `advance` is followed by a look at the count: one of
    /// the two sees the other.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<UnderWay> {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let entered = UnderWay(Arc::clone(self));
        (self.stage() == Stage::Open).then_some(entered)
    }

    pub(crate) fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// What the stage is, and becomes.
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

    /// How many calls are under way.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::SeqCst)
    }

    /// Waits until no call is under way.
    pub(crate) async fn drained(&self) {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            // ORDER: it listens before it looks.
            idle.as_mut().enable();
            if self.under_way() == 0 {
                return;
            }
            idle.await;
        }
    }
}

/// A call that is under way, for as long as this lives.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<Closing>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.0.under_way.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}
