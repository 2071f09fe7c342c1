//! The registry of kept leases: it connects keepers with the task that renews.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::cause::LeaseCause;
use super::clocks::Reading;
use super::driver::{self, SuspendedDriver};
use super::renewal::LeaseStatus;
use crate::call::{Core, LeaseObserver};
use crate::kv::LeaseId;
use crate::mutex::Mutex;
use crate::runtime;

/// Number of granted leases of which the client remembers the time-to-live for a later `keep`.
const MOST_GRANTED: usize = 1_024;

/// Connects the keepers of a client with the task that renews their leases.
#[derive(Default)]
pub(crate) struct LeaseRegistry {
    /// The channel to the task; `None` while there is no task.
    commands: Mutex<Option<mpsc::UnboundedSender<LeaseCommand>>>,
    /// The number of the next handle.
    next_handle: AtomicU64,
    granted: Mutex<Granted>,
    health: Mutex<RenewalHealth>,
    /// The state of a task whose runtime has ended.
    suspended: Mutex<Option<SuspendedDriver>>,
    /// Notified when a task was suspended.
    pub(super) interrupted: Notify,
}

/// A command of a keeper, or of a request of the same client, to the task.
pub(super) enum LeaseCommand {
    /// Keeps a lease, with its time-to-live if this client has granted it.
    Keep(LeaseId, Option<Duration>, u64, watch::Sender<LeaseStatus>),
    Release(LeaseId, u64),
    /// The client sends a request that revokes the lease.
    Revoking(LeaseId),
    Revoked(LeaseId),
    /// Asks which leases are kept.
    Kept(oneshot::Sender<Vec<LeaseId>>),
}

/// The condition of the renewals, from which keepers take the cause of their states.
#[derive(Clone, Default)]
pub(super) struct RenewalHealth {
    /// Whether the task waits for a connection or a token.
    pub(super) opening: bool,
    /// The last error since the last answer.
    pub(super) cause: Option<LeaseCause>,
    /// The clocks when the task last read them.
    pub(super) clocks: Option<Reading>,
}

/// The times-to-live of the leases that the client has granted recently.
#[derive(Default)]
struct Granted {
    ttls: HashMap<i64, Duration>,
    order: VecDeque<i64>,
}

impl Granted {
    fn note(&mut self, id: i64, ttl: Duration) {
        if self.ttls.insert(id, ttl).is_none() {
            self.order.push_back(id);
        }
        if self.order.len() > MOST_GRANTED {
            if let Some(oldest) = self.order.pop_front() {
                self.ttls.remove(&oldest);
            }
        }
    }
}

/// The handle by which one keeper keeps a lease; dropping the handle releases the lease.
pub(crate) struct KeepHandle {
    pub(crate) id: LeaseId,
    number: u64,
    commands: mpsc::UnboundedSender<LeaseCommand>,
}

impl Drop for KeepHandle {
    fn drop(&mut self) {
        // If the task has ended, no lease is renewed anyway.
        let _ = self
            .commands
            .send(LeaseCommand::Release(self.id, self.number));
    }
}

impl LeaseRegistry {
    /// Keeps a lease; starts the task if there is none.
    pub(crate) fn keep(
        self: &Arc<Self>,
        core: &Arc<Core>,
        id: LeaseId,
        state: watch::Sender<LeaseStatus>,
    ) -> KeepHandle {
        let number = self.next_handle.fetch_add(1, Ordering::Relaxed);
        let ttl = self.granted().ttls.get(&id.as_i64()).copied();
        let mut command = LeaseCommand::Keep(id, ttl, number, state);
        let mut slot = self.commands();
        if let Some(commands) = &*slot {
            let commands = commands.clone();
            match commands.send(command) {
                Ok(()) => {
                    drop(slot);
                    self.revive();
                    return KeepHandle {
                        id,
                        number,
                        commands,
                    };
                }
                Err(refused) => command = refused.0,
            }
        }
        let (commands, receiver) = mpsc::unbounded_channel();
        // The send cannot fail: the receiver exists.
        let _ = commands.send(command);
        *slot = Some(commands.clone());
        drop(slot);
        *self.suspended() = Some(SuspendedDriver::new(core, receiver));
        self.revive();
        KeepHandle {
            id,
            number,
            commands,
        }
    }

    /// Starts the task again on the runtime of the caller, if its own has ended.
    pub(super) fn revive(self: &Arc<Self>) {
        let Ok(runtime) = runtime::present() else {
            return;
        };
        // ORDER: the lock is released before the task is spawned: a runtime that is ending drops
        // the task at once, and the drop parks the state again.
        let suspended = self.suspended().take();
        if let Some(suspended) = suspended {
            runtime.spawn(driver::task(Arc::clone(self), suspended));
        }
    }

    pub(super) fn suspend(&self, suspended: SuspendedDriver) {
        *self.suspended() = Some(suspended);
        self.interrupted.notify_waiters();
    }

    fn suspended(&self) -> MutexGuard<'_, Option<SuspendedDriver>> {
        self.suspended.lock()
    }

    /// Returns the leases that have keepers.
    pub(crate) async fn kept(self: &Arc<Self>) -> Vec<LeaseId> {
        self.revive();
        let (answer, kept) = oneshot::channel();
        match self.tell(LeaseCommand::Kept(answer)) {
            true => kept.await.unwrap_or_default(),
            false => Vec::new(),
        }
    }

    /// Sends a command to the task, if there is one. Without the task, no lease is kept.
    fn tell(&self, command: LeaseCommand) -> bool {
        let commands = self.commands();
        commands
            .as_ref()
            .is_some_and(|commands| commands.send(command).is_ok())
    }

    /// Returns whether the task may end: no command is left.
    // ORDER: commands that keep a lease are sent under the same lock, so none is lost.
    pub(super) fn ends(&self, commands: &mpsc::UnboundedReceiver<LeaseCommand>) -> bool {
        let mut slot = self.commands();
        let ends = commands.is_empty();
        if ends {
            *slot = None;
            *self.lock_health() = RenewalHealth::default();
        }
        ends
    }

    pub(super) fn health(&self) -> RenewalHealth {
        self.lock_health().clone()
    }

    pub(super) fn change_health(&self, change: impl FnOnce(&mut RenewalHealth)) {
        change(&mut self.lock_health());
    }

    fn lock_health(&self) -> MutexGuard<'_, RenewalHealth> {
        self.health.lock()
    }

    fn granted(&self) -> MutexGuard<'_, Granted> {
        self.granted.lock()
    }

    fn commands(&self) -> MutexGuard<'_, Option<mpsc::UnboundedSender<LeaseCommand>>> {
        self.commands.lock()
    }
}

impl LeaseObserver for LeaseRegistry {
    fn granted(&self, id: i64, ttl: Duration) {
        LeaseRegistry::granted(self).note(id, ttl);
    }

    fn revoking(&self, id: i64) {
        if let Some(id) = LeaseId::new(id) {
            self.tell(LeaseCommand::Revoking(id));
        }
    }

    fn revoked(&self, id: i64) {
        if let Some(id) = LeaseId::new(id) {
            self.tell(LeaseCommand::Revoked(id));
        }
    }
}

/// Reads both system clocks. They do not stop when a test pauses the clock of tokio.
pub(super) fn read_clocks() -> Reading {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH);
    let wall = wall.unwrap_or_default();
    #[cfg(test)]
    let wall = wall + tests::SLEPT.get();
    Reading::new(Instant::now(), wall)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// How long the machine has slept, according to the wall clock of this thread.
        pub(crate) static SLEPT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    #[test]
    fn the_latest_grants_are_remembered() {
        let mut granted = Granted::default();
        let ttl = Duration::from_secs(5);
        (1..=2_000).for_each(|id| granted.note(id, ttl));
        granted.note(2_000, ttl * 2);
        assert_eq!((granted.ttls.len(), granted.order.len()), (1_024, 1_024));
        assert_eq!(granted.ttls.get(&2_000), Some(&(ttl * 2)));
        assert_eq!(granted.ttls.get(&977), Some(&ttl));
        assert_eq!(granted.ttls.get(&976), None);
    }
}
