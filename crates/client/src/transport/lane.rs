//! The connections of one kind to one endpoint: as many as the open streams need.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::driver::Connection;
use super::link::{Link, Occupancy};

/// Connections for streams that stay open, or for calls that wait.
///
/// A server allows so many streams a connection; when all are taken, one more connection is
/// opened. One that stays without streams is closed after a while.
pub(crate) struct Lanes {
    connections: Mutex<Vec<Arc<Connection>>>,
    /// Calls that wait for a place.
    pub(crate) waiting: AtomicUsize,
    make: Box<dyn Fn() -> Connection + Send + Sync>,
}

impl Lanes {
    pub(crate) fn new(make: impl Fn() -> Connection + Send + Sync + 'static) -> Self {
        Self {
            connections: Mutex::default(),
            waiting: AtomicUsize::new(0),
            make: Box::new(make),
        }
    }

    /// A place on a connection that is up and has room, and is not the one to avoid.
    pub(crate) fn occupy(&self, avoided: Option<u64>) -> Option<Occupancy> {
        self.connections()
            .iter()
            .filter_map(|connection| connection.live())
            .filter(|link| link.pulse.is_fit() && avoided != Some(link.id))
            .find_map(Occupancy::try_of)
    }

    /// Sees to it that one more connection is on its way.
    ///
    /// One at a time: a thousand calls that come at once open as many as they need and no more.
    pub(crate) fn grow(&self, avoided: Option<u64>, closing: &watch::Receiver<()>) {
        let mut connections = self.connections();
        // One that is not up is on its way, or waits for somebody to want it.
        let pending = connections.iter().find(|connection| {
            connection.live().is_none_or(|link| {
                // One that is up and has no stream at all is of a server that allows none:
                // another connection would change nothing.
                let barred = link.pulse.open() == 0 && avoided != Some(link.id);
                !link.pulse.is_fit() || barred
            })
        });
        match pending {
            Some(connection) => connection.want(closing.clone()),
            None => {
                let connection = Arc::new((self.make)());
                connection.want(closing.clone());
                connections.push(connection);
            }
        }
    }

    /// The connections that are up.
    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        let connections = self.connections();
        let live = connections
            .iter()
            .filter_map(|connection| connection.live());
        live.collect()
    }

    fn connections(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Connection>>> {
        // Nothing panics while it is held; the list is whole in any case.
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts itself as waiting for as long as it lives.
pub(crate) struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    pub(crate) fn on(counter: &'a AtomicUsize) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
