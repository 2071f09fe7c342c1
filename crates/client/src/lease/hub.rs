//! Where keepers meet the task that renews their leases, and what they ask of it.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::cause::LeaseCause;
use super::clocks::Reading;
use super::driver::{self, Parked};
use super::renewal::Standing;
use crate::call::{Core, LeaseObserver};
use crate::kv::LeaseId;
use crate::runtime;

/// How many leases' times-to-live are remembered until somebody keeps them.
const MOST_GRANTED: usize = 1_024;

/// Where keepers and the task that renews their leases meet: one for a client.
#[derive(Default)]
pub(crate) struct Hub {
    /// To the task, while there is one.
    commands: Mutex<Option<mpsc::UnboundedSender<Command>>>,
    tickets: AtomicU64,
    granted: Mutex<Granted>,
    health: Mutex<Health>,
    /// The state of a task whose runtime has ended.
    parked: Mutex<Option<Parked>>,
    /// Told when something was parked.
    pub(super) interrupted: Notify,
}

/// What keepers ask of the task.
pub(super) enum Command {
    /// Keeps a lease, with its time-to-live if this client has granted it.
    Keep(LeaseId, Option<Duration>, u64, watch::Sender<Standing>),
    Release(LeaseId, u64),
    /// The client sends a request that revokes the lease.
    Revoking(LeaseId),
    Revoked(LeaseId),
    /// Asks which leases are kept.
    Kept(oneshot::Sender<Vec<LeaseId>>),
}

/// How the renewals of a client are going, for the states of its keepers.
#[derive(Clone, Default)]
pub(super) struct Health {
    /// Whether the task waits for a connection or a token.
    pub(super) opening: bool,
    /// What went wrong since the last answer.
    pub(super) cause: Option<LeaseCause>,
    /// What the clocks said when the task last looked.
    pub(super) clocks: Option<Reading>,
}

/// The times-to-live of the leases that the client has granted last.
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

/// One keeper's hold on a lease; dropping it lets go.
pub(crate) struct Ticket {
    pub(crate) id: LeaseId,
    number: u64,
    commands: mpsc::UnboundedSender<Command>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // The task is gone when its runtime is; then nothing is renewed either.
        let _ = self.commands.send(Command::Release(self.id, self.number));
    }
}

impl Hub {
    /// Has a lease kept, by a new task if there is none.
    pub(crate) fn keep(
        self: &Arc<Self>,
        core: &Arc<Core>,
        id: LeaseId,
        state: watch::Sender<Standing>,
    ) -> Ticket {
        let number = self.tickets.fetch_add(1, Ordering::Relaxed);
        let ttl = self.granted().ttls.get(&id.as_i64()).copied();
        let mut command = Command::Keep(id, ttl, number, state);
        let mut slot = self.commands();
        if let Some(commands) = &*slot {
            let commands = commands.clone();
            match commands.send(command) {
                Ok(()) => {
                    drop(slot);
                    self.revive();
                    return Ticket {
                        id,
                        number,
                        commands,
                    };
                }
                Err(refused) => command = refused.0,
            }
        }
        let (commands, receiver) = mpsc::unbounded_channel();
        // The receiver is in hand.
        let _ = commands.send(command);
        *slot = Some(commands.clone());
        drop(slot);
        *self.parked() = Some(Parked::new(core, receiver));
        self.revive();
        Ticket {
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
        // ORDER: the lock is released before: a runtime that is ending drops the task at once, and
        // that parks it again.
        let parked = self.parked().take();
        if let Some(parked) = parked {
            runtime.spawn(driver::task(Arc::clone(self), parked));
        }
    }

    pub(super) fn park(&self, parked: Parked) {
        *self.parked() = Some(parked);
        self.interrupted.notify_waiters();
    }

    fn parked(&self) -> MutexGuard<'_, Option<Parked>> {
        // Nothing that panics leaves it half done.
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The leases that somebody keeps.
    pub(crate) async fn kept(self: &Arc<Self>) -> Vec<LeaseId> {
        self.revive();
        let (answer, kept) = oneshot::channel();
        match self.tell(Command::Kept(answer)) {
            true => kept.await.unwrap_or_default(),
            false => Vec::new(),
        }
    }

    /// Tells the task, if there is one; without the task, nobody keeps a lease.
    fn tell(&self, command: Command) -> bool {
        let commands = self.commands();
        commands
            .as_ref()
            .is_some_and(|commands| commands.send(command).is_ok())
    }

    /// Whether the task may end: nobody has asked for anything meanwhile.
    // ORDER: commands that keep are sent under the same lock, so none is lost.
    pub(super) fn ends(&self, commands: &mpsc::UnboundedReceiver<Command>) -> bool {
        let mut slot = self.commands();
        let ends = commands.is_empty();
        if ends {
            *slot = None;
            *self.lock_health() = Health::default();
        }
        ends
    }

    pub(super) fn health(&self) -> Health {
        self.lock_health().clone()
    }

    pub(super) fn change_health(&self, change: impl FnOnce(&mut Health)) {
        change(&mut self.lock_health());
    }

    fn lock_health(&self) -> MutexGuard<'_, Health> {
        // Nothing that panics leaves it half done.
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn granted(&self) -> MutexGuard<'_, Granted> {
        // Nothing that panics leaves it half done.
        self.granted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commands(&self) -> MutexGuard<'_, Option<mpsc::UnboundedSender<Command>>> {
        // Nothing that panics leaves it half done.
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LeaseObserver for Hub {
    fn granted(&self, id: i64, ttl: Duration) {
        Hub::granted(self).note(id, ttl);
    }

    fn revoking(&self, id: i64) {
        if let Some(id) = LeaseId::new(id) {
            self.tell(Command::Revoking(id));
        }
    }

    fn revoked(&self, id: i64) {
        if let Some(id) = LeaseId::new(id) {
            self.tell(Command::Revoked(id));
        }
    }
}

/// Reads both clocks, those of the system: tests may stop that of the runtime.
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
        /// How long the machine has slept, as far as the clocks of this thread can tell.
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
