//! The state that the task keeps for watches, and its lifetime.

use super::*;
use crate::config::WatchLimits;
use crate::key::KeyRange;
use crate::watch::amount::Amount;

fn driver() -> Driver {
    let route = Route {
        member: None,
        require_leader: true,
    };
    let registry = Arc::new(WatchRegistry::new(WatchLimits::default()));
    Driver::new(&registry, Weak::new(), route)
}

type Start = oneshot::Receiver<Result<i64, Error>>;

/// Returns a command that adds watch 1 of owner 2.
fn add(driver: &Driver, inbox: &Arc<Inbox>) -> (WatchCommand, Start) {
    let limit = Amount {
        bytes: 1_000,
        events: 10,
    };
    let (start, asked) = oneshot::channel();
    let addition = Addition {
        watch: WatchRef(1),
        owner: OwnerId(2),
        inbox: Arc::clone(inbox),
        spec: Spec {
            range: KeyRange::single(Bytes::from_static(b"k")),
            namespace: None,
            start: 5,
            no_put: false,
            no_delete: false,
            prev_kv: false,
            progress: false,
            fragment: true,
            read: None,
        },
        backlog: Arc::new(Backlog::new(limit, Arc::clone(driver.registry.budget()))),
        start,
    };
    (WatchCommand::Add(Box::new(addition)), asked)
}

/// The owner is dropped between its request and the addition, so it would never cancel the watch.
#[test]
fn a_watch_of_a_dropped_owner_is_not_added() {
    let mut driver = driver();
    let inbox = Arc::new(Inbox::default());
    let (command, mut start) = add(&driver, &inbox);
    inbox.abandon();
    driver.command(WatchCommand::RemoveOwner(OwnerId(2)));
    driver.command(command);
    assert!(driver.watches.is_idle() && driver.inboxes.is_empty());
    assert!(start.try_recv().is_err(), "the caller does not wait");
}

#[test]
fn no_state_is_kept_of_a_watch_that_is_cancelled_before_its_creation() {
    for command in [
        WatchCommand::Cancel(WatchRef(1)),
        WatchCommand::RemoveOwner(OwnerId(2)),
    ] {
        let mut driver = driver();
        let (addition, mut start) = add(&driver, &Arc::new(Inbox::default()));
        driver.command(addition);
        assert!(!driver.watches.is_idle() && !driver.starts.is_empty());
        driver.command(command);
        assert!(driver.starts.is_empty());
        let closed = oneshot::error::TryRecvError::Closed;
        assert!(matches!(start.try_recv(), Err(error) if error == closed));
    }
}
