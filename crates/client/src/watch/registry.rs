//! The registry of watches: it connects subscribers with the tasks that hold their streams.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, Weak};

use tokio::sync::mpsc;

use super::budget::MemoryBudget;
use super::driver::{WatchCommand, run};
use super::entry::{OwnerId, WatchRef};
use super::inbox::Inbox;
use crate::call::{Core, Scope};
use crate::config::WatchLimits;
use crate::error::Error;
use crate::mutex::Mutex;
use crate::transport::EndpointTarget;

/// Properties that all watches of one stream have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Route {
    pub(super) member: Option<EndpointTarget>,
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

/// Connects the subscribers of a client with the tasks that watch for them, one task for each
/// [`Route`].
pub(crate) struct WatchRegistry {
    state: Mutex<RegistryState>,
    /// The next number of a watch or of a subscriber.
    numbers: AtomicU64,
    budget: Arc<MemoryBudget>,
}

#[derive(Default)]
struct RegistryState {
    /// Channels to the tasks that run.
    tasks: HashMap<Route, mpsc::UnboundedSender<WatchCommand>>,
    /// The inboxes of watchers. A watcher is told of the client's end also while it has no watches.
    inboxes: HashMap<OwnerId, (Route, Weak<Inbox>)>,
    /// The last errors of the tasks.
    errors: HashMap<Route, LastErrors>,
    closed: bool,
}

/// The errors that keep watches from being created, until the work succeeds. Each is stored with the
/// next number of the registry at the time of the error.
#[derive(Clone, Default)]
struct LastErrors {
    stream: Option<(u64, Arc<Error>)>,
    pin: Option<(u64, Arc<Error>)>,
}

/// Work of a task that can fail for all its watches.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    /// It opens the stream and keeps it open.
    Stream,
    /// It reads the revision that stands for now.
    Pin,
}

impl WatchRegistry {
    pub(crate) fn new(limits: WatchLimits) -> Self {
        Self {
            state: Mutex::default(),
            numbers: AtomicU64::new(1),
            budget: Arc::new(MemoryBudget::new(limits)),
        }
    }

    pub(crate) fn budget(&self) -> &Arc<MemoryBudget> {
        &self.budget
    }

    /// Returns a name that no other watch of the client has.
    pub(super) fn next_watch(&self) -> WatchRef {
        WatchRef(self.next_number())
    }

    /// Returns a number that no other subscriber of the client has.
    pub(super) fn next_owner(&self) -> OwnerId {
        OwnerId(self.next_number())
    }

    fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a command to the task of a route, and starts the task if there is none.
    pub(super) fn send_or_start(
        self: &Arc<Self>,
        core: &Arc<Core>,
        route: Route,
        mut command: WatchCommand,
    ) {
        let mut state = self.state();
        if let Some(task) = state.tasks.get(&route) {
            match task.send(command) {
                Ok(()) => return,
                Err(refused) => command = refused.0,
            }
        }
        let (task, commands) = mpsc::unbounded_channel();
        // INVARIANT: this cannot fail, because `commands` is still here.
        let _ = task.send(command);
        if state.closed {
            let _ = task.send(WatchCommand::Close(Vec::new()));
        }
        tokio::spawn(run(Arc::clone(self), Arc::downgrade(core), route, commands));
        state.tasks.insert(route, task);
    }

    /// Sends a command to the task of a route, if there is one.
    pub(super) fn send(&self, route: Route, command: WatchCommand) {
        if let Some(task) = self.state().tasks.get(&route) {
            // The task may have ended with its runtime. Its watches have ended then, too.
            let _ = task.send(command);
        }
    }

    /// Ends all watches, and each watch that is added later.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let mut idle: HashMap<Route, Vec<Arc<Inbox>>> = HashMap::new();
        for (route, inbox) in std::mem::take(&mut state.inboxes).into_values() {
            idle.entry(route).or_default().extend(inbox.upgrade());
        }
        // ORDER: a task tells the ends of its watches before it closes their inboxes.
        for (route, task) in &state.tasks {
            let inboxes = idle.remove(route).unwrap_or_default();
            if let Err(refused) = task.send(WatchCommand::Close(inboxes)) {
                if let WatchCommand::Close(inboxes) = refused.0 {
                    idle.insert(*route, inboxes);
                }
            }
        }
        drop(state);
        idle.values().flatten().for_each(|inbox| inbox.close());
    }

    /// Registers an inbox that is to be closed with the client, also while its owner has no watches.
    pub(super) fn register(&self, owner: OwnerId, route: Route, inbox: &Arc<Inbox>) {
        let mut state = self.state();
        if state.closed {
            inbox.close();
        } else {
            let inbox = Arc::downgrade(inbox);
            state.inboxes.insert(owner, (route, inbox));
        }
    }

    /// Removes the inbox of an owner.
    pub(super) fn unregister(&self, owner: OwnerId) {
        self.state().inboxes.remove(&owner);
    }

    /// Records why work of a task failed; `None` when it has succeeded.
    pub(super) fn record(&self, route: Route, work: Work, error: Option<Arc<Error>>) {
        let newest = self.numbers.load(Ordering::Relaxed);
        let error = error.map(|error| (newest, error));
        let mut state = self.state();
        let last = state.errors.entry(route).or_default();
        match work {
            Work::Stream => last.stream = error,
            Work::Pin => last.pin = error,
        }
    }

    /// Returns the error that keeps a watch from being created, if one is known. An error from before
    /// the watch got its name does not count.
    pub(super) fn last_error(&self, route: Route, watch: WatchRef) -> Option<Arc<Error>> {
        let last = self.state().errors.get(&route)?.clone();
        let since = |error: &(u64, Arc<Error>)| error.0 > watch.0;
        let (_, error) = last.pin.filter(since).or(last.stream.filter(since))?;
        Some(error)
    }

    /// Removes a task without commands, so that it may end. Returns false if there are commands.
    // ORDER: commands are sent under the same lock, so none is lost.
    pub(super) fn remove_task(
        &self,
        route: Route,
        commands: &mpsc::UnboundedReceiver<WatchCommand>,
    ) -> bool {
        let mut state = self.state();
        let is_done = commands.is_empty();
        if is_done {
            state.tasks.remove(&route);
            state.errors.remove(&route);
        }
        is_done
    }

    /// Number of tasks.
    #[cfg(test)]
    pub(crate) fn tasks(&self) -> usize {
        self.state().tasks.len()
    }

    fn state(&self) -> MutexGuard<'_, RegistryState> {
        self.state.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: Route = Route {
        member: None,
        require_leader: true,
    };

    /// The task, and no other one, executes a command that was sent just before its end.
    #[test]
    fn a_task_does_not_end_while_commands_wait() {
        let registry = WatchRegistry::new(WatchLimits::default());
        let (task, mut commands) = mpsc::unbounded_channel();
        registry.state().tasks.insert(ROUTE, task);
        registry.send(ROUTE, WatchCommand::Cancel(WatchRef(1)));
        assert!(!registry.remove_task(ROUTE, &commands));
        assert_eq!(registry.tasks(), 1);
        assert!(commands.try_recv().is_ok());
        assert!(registry.remove_task(ROUTE, &commands));
        assert_eq!(registry.tasks(), 0);
    }

    /// An error from before a watch was requested does not explain the delay of that watch.
    #[test]
    fn a_watch_is_told_only_errors_of_its_own_time() {
        let registry = WatchRegistry::new(WatchLimits::default());
        let error =
            |text: &'static str| Some(Arc::new(Error::new(crate::ErrorKind::Timeout, text)));
        let told = |number| {
            registry
                .last_error(ROUTE, number)
                .map(|error| error.message().to_owned())
        };
        let old = registry.next_watch();
        registry.record(ROUTE, Work::Stream, error("stream"));
        let new = registry.next_watch();
        assert_eq!((told(old).as_deref(), told(new)), (Some("stream"), None));
        registry.record(ROUTE, Work::Pin, error("pin"));
        assert_eq!(told(new).as_deref(), Some("pin"));
        registry.record(ROUTE, Work::Pin, None);
        assert_eq!(told(old).as_deref(), Some("stream"));
    }
}
