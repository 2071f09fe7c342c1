//! Where watchers and the tasks that watch for them meet: one for a client.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::backlog::Meter;
use super::driver::{Command, run};
use crate::call::{Core, Scope};
use crate::config::WatchLimits;

/// What has to be the same for watches that share a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Route {
    pub(super) member: Option<usize>,
    pub(super) require_leader: bool,
}

impl Route {
    pub(super) fn of(scope: &Scope) -> Self {
        Self {
            member: scope.member,
            // A member without a leader would keep the stream open and tell nothing.
            require_leader: scope.require_leader.unwrap_or(true),
        }
    }
}

pub(crate) struct Hub {
    lines: Mutex<Lines>,
    numbers: AtomicU64,
    meter: Arc<Meter>,
}

#[derive(Default)]
struct Lines {
    /// To the tasks that run.
    tasks: HashMap<Route, mpsc::UnboundedSender<Command>>,
    closed: bool,
}

impl Hub {
    pub(crate) fn new(limits: WatchLimits) -> Self {
        Self {
            lines: Mutex::default(),
            numbers: AtomicU64::new(1),
            meter: Arc::new(Meter::new(limits)),
        }
    }

    pub(super) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// A number that no watch or watcher of the client has.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Has something done, by a new task if there is none.
    pub(super) fn ask(self: &Arc<Self>, core: &Arc<Core>, route: Route, mut command: Command) {
        let mut lines = self.lines();
        if let Some(task) = lines.tasks.get(&route) {
            match task.send(command) {
                Ok(()) => return,
                Err(refused) => command = refused.0,
            }
        }
        let (task, commands) = mpsc::unbounded_channel();
        // The receiver is in hand.
        let _ = task.send(command);
        if lines.closed {
            let _ = task.send(Command::Close);
        }
        tokio::spawn(run(Arc::clone(self), Arc::downgrade(core), route, commands));
        lines.tasks.insert(route, task);
    }

    /// Tells the task, if there is one.
    pub(super) fn tell(&self, route: Route, command: Command) {
        if let Some(task) = self.lines().tasks.get(&route) {
            // It is gone when its runtime is; then nothing is watched either.
            let _ = task.send(command);
        }
    }

    /// Ends all watches, and those that are asked for later.
    pub(crate) fn close(&self) {
        let mut lines = self.lines();
        lines.closed = true;
        for task in lines.tasks.values() {
            let _ = task.send(Command::Close);
        }
    }

    /// Whether a task may end: nobody has asked for anything meanwhile.
    // ORDER: commands are sent under the same lock, so none is lost.
    pub(super) fn ends(&self, route: Route, commands: &mpsc::UnboundedReceiver<Command>) -> bool {
        let mut lines = self.lines();
        let ends = commands.is_empty();
        if ends {
            lines.tasks.remove(&route);
        }
        ends
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        // Nothing that panics leaves it half done.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
