//! Where watchers and the tasks that watch for them meet: one for a client.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::mpsc;

use super::driver::{Command, run};
use super::inbox::Inbox;
use super::meter::Meter;
use crate::call::{Core, Scope};
use crate::config::WatchLimits;
use crate::error::Error;
use crate::transport::EndpointTarget;

/// What has to be the same for watches that share a stream.
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

pub(crate) struct Hub {
    lines: Mutex<Lines>,
    numbers: AtomicU64,
    meter: Arc<Meter>,
}

#[derive(Default)]
struct Lines {
    /// To the tasks that run.
    tasks: HashMap<Route, mpsc::UnboundedSender<Command>>,
    /// Those of watchers, which are to hear of the client's end also while nothing is watched.
    inboxes: HashMap<u64, (Route, Weak<Inbox>)>,
    /// What keeps the tasks from their work.
    troubles: HashMap<Route, Trouble>,
    closed: bool,
}

/// What keeps watches from being in force, each with the newest number there was.
#[derive(Clone, Default)]
struct Trouble {
    stream: Option<(u64, Arc<Error>)>,
    pin: Option<(u64, Arc<Error>)>,
}

/// What a task does for its watches.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    /// It has a stream.
    Stream,
    /// It learns which revision is now.
    Pin,
}

impl Hub {
    pub(crate) fn new(limits: WatchLimits) -> Self {
        Self {
            lines: Mutex::default(),
            numbers: AtomicU64::new(1),
            meter: Arc::new(Meter::new(limits)),
        }
    }

    pub(crate) fn meter(&self) -> &Arc<Meter> {
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
            let _ = task.send(Command::Close(Vec::new()));
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
        let mut idle: HashMap<Route, Vec<Arc<Inbox>>> = HashMap::new();
        for (route, inbox) in std::mem::take(&mut lines.inboxes).into_values() {
            idle.entry(route).or_default().extend(inbox.upgrade());
        }
        // ORDER: a task tells the ends of its watches before it closes their inboxes.
        for (route, task) in &lines.tasks {
            let inboxes = idle.remove(route).unwrap_or_default();
            if let Err(refused) = task.send(Command::Close(inboxes)) {
                if let Command::Close(inboxes) = refused.0 {
                    idle.insert(*route, inboxes);
                }
            }
        }
        drop(lines);
        idle.values().flatten().for_each(|inbox| inbox.close());
    }

    /// Somebody wants to hear when the client is closed.
    pub(super) fn enter(&self, owner: u64, route: Route, inbox: &Arc<Inbox>) {
        let mut lines = self.lines();
        if lines.closed {
            inbox.close();
        } else {
            let inbox = Arc::downgrade(inbox);
            lines.inboxes.insert(owner, (route, inbox));
        }
    }

    pub(super) fn leave(&self, owner: u64) {
        self.lines().inboxes.remove(&owner);
    }

    /// A task tells how it fares.
    pub(super) fn note(&self, route: Route, work: Work, trouble: Option<Arc<Error>>) {
        let newest = self.numbers.load(Ordering::Relaxed);
        let trouble = trouble.map(|trouble| (newest, trouble));
        let mut lines = self.lines();
        let noted = lines.troubles.entry(route).or_default();
        match work {
            Work::Stream => noted.stream = trouble,
            Work::Pin => noted.pin = trouble,
        }
    }

    /// Why a watch with this number does not come into force, as far as that is known.
    pub(super) fn trouble(&self, route: Route, number: u64) -> Option<Arc<Error>> {
        let noted = self.lines().troubles.get(&route)?.clone();
        let since = |trouble: &(u64, Arc<Error>)| trouble.0 > number;
        let trouble = noted.pin.filter(since).or(noted.stream.filter(since))?;
        Some(trouble.1)
    }

    /// Whether a task may end: nobody has asked for anything meanwhile.
    // ORDER: commands are sent under the same lock, so none is lost.
    pub(super) fn ends(&self, route: Route, commands: &mpsc::UnboundedReceiver<Command>) -> bool {
        let mut lines = self.lines();
        let ends = commands.is_empty();
        if ends {
            lines.tasks.remove(&route);
            lines.troubles.remove(&route);
        }
        ends
    }

    /// How many tasks there are.
    #[cfg(test)]
    pub(crate) fn tasks(&self) -> usize {
        self.lines().tasks.len()
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        // Nothing that panics leaves it half done.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: Route = Route {
        member: None,
        require_leader: true,
    };

    /// A command that was sent just before is done by this task, and by no other.
    #[test]
    fn a_task_does_not_end_while_commands_wait() {
        let hub = Hub::new(WatchLimits::default());
        let (task, mut commands) = mpsc::unbounded_channel();
        hub.lines().tasks.insert(ROUTE, task);
        hub.tell(ROUTE, Command::Cancel(1));
        assert!(!hub.ends(ROUTE, &commands));
        assert_eq!(hub.tasks(), 1);
        assert!(commands.try_recv().is_ok());
        assert!(hub.ends(ROUTE, &commands));
        assert_eq!(hub.tasks(), 0);
    }

    /// A trouble that was over before a watch was asked for does not explain its delay.
    #[test]
    fn only_a_trouble_of_its_own_time_is_told_to_a_watch() {
        let hub = Hub::new(WatchLimits::default());
        let trouble =
            |text: &'static str| Some(Arc::new(Error::new(crate::ErrorKind::Timeout, text)));
        let told = |number| {
            hub.trouble(ROUTE, number)
                .map(|error| error.message().to_owned())
        };
        let old = hub.number();
        hub.note(ROUTE, Work::Stream, trouble("stream"));
        let new = hub.number();
        assert_eq!((told(old).as_deref(), told(new)), (Some("stream"), None));
        hub.note(ROUTE, Work::Pin, trouble("pin"));
        assert_eq!(told(new).as_deref(), Some("pin"));
        hub.note(ROUTE, Work::Pin, None);
        assert_eq!(told(old).as_deref(), Some("stream"));
    }
}
