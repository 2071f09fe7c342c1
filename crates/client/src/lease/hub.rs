//! Where keepers meet the task that renews their leases, and what they ask of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};

use super::driver;
use super::renewal::Standing;
use crate::call::Core;
use crate::kv::LeaseId;

/// Where keepers and the task that renews their leases meet: one for a client.
#[derive(Default)]
pub(crate) struct Hub {
    /// To the task, while there is one.
    commands: Mutex<Option<mpsc::UnboundedSender<Command>>>,
    tickets: AtomicU64,
}

/// What keepers ask of the task.
pub(super) enum Command {
    Keep(LeaseId, u64, watch::Sender<Standing>),
    Release(LeaseId, u64),
    Revoked(LeaseId),
    /// Asks which leases are kept.
    Kept(oneshot::Sender<Vec<LeaseId>>),
}

/// One keeper's hold on a lease; dropping it lets go.
pub(crate) struct Ticket {
    pub(crate) id: LeaseId,
    number: u64,
    commands: mpsc::UnboundedSender<Command>,
}

impl Ticket {
    pub(crate) fn revoked(&self) {
        self.tell(Command::Revoked(self.id));
    }

    fn tell(&self, command: Command) {
        // The task is gone when its runtime is; then nothing is renewed either.
        let _ = self.commands.send(command);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.tell(Command::Release(self.id, self.number));
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
        let mut command = Command::Keep(id, number, state);
        let mut slot = self.commands();
        if let Some(commands) = &*slot {
            let commands = commands.clone();
            match commands.send(command) {
                Ok(()) => {
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
        let closing = core.closing.stages();
        tokio::spawn(driver::run(
            Arc::clone(self),
            Arc::downgrade(core),
            receiver,
            closing,
        ));
        *slot = Some(commands.clone());
        Ticket {
            id,
            number,
            commands,
        }
    }

    /// The leases that somebody keeps.
    pub(crate) async fn kept(&self) -> Vec<LeaseId> {
        let (answer, kept) = oneshot::channel();
        let told = match &*self.commands() {
            Some(commands) => commands.send(Command::Kept(answer)).is_ok(),
            None => false,
        };
        match told {
            true => kept.await.unwrap_or_default(),
            false => Vec::new(),
        }
    }

    /// A lease was revoked by the client.
    pub(crate) fn revoked(&self, id: LeaseId) {
        if let Some(commands) = &*self.commands() {
            // Without the task, nobody keeps it.
            let _ = commands.send(Command::Revoked(id));
        }
    }

    /// Whether the task may end: nobody has asked for anything meanwhile.
    // ORDER: commands that keep are sent under the same lock, so none is lost.
    pub(super) fn ends(&self, commands: &mpsc::UnboundedReceiver<Command>) -> bool {
        let mut slot = self.commands();
        let ends = commands.is_empty();
        if ends {
            *slot = None;
        }
        ends
    }

    fn commands(&self) -> MutexGuard<'_, Option<mpsc::UnboundedSender<Command>>> {
        // Nothing that panics leaves it half done.
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
