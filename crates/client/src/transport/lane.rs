//! The connections of one kind to one endpoint: as many as the open streams need.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::connect_error::ConnectError;
use super::driver::Connection;
use super::link::{Link, LinkId, StreamPermit};
use crate::mutex::Mutex;

/// How long other endpoints are preferred after a connection could not be made.
const AVOIDED: Duration = Duration::from_secs(10);

/// Makes a connection that notifies when a permit on it is returned.
type Make = Box<dyn Fn(&Arc<Notify>) -> Connection + Send + Sync>;

/// Connections for streams that stay open, or for calls that wait.
///
/// A server limits the streams of a connection. When all are taken, one more connection is opened. A
/// connection that stays without streams is closed after a while.
pub(crate) struct LanePool {
    connections: Mutex<Vec<Arc<Connection>>>,
    /// Number of calls that wait for a permit.
    pub(crate) waiting: AtomicUsize,
    /// Wakes a call that waits when a permit is returned.
    pub(crate) freed: Arc<Notify>,
    /// Until when other endpoints are preferred, as a connection could not be made or takes long.
    avoided_until: Mutex<Option<Instant>>,
    /// Number of streams of each connection that are kept free for the leader monitor.
    reserved: usize,
    make: Make,
}

impl LanePool {
    pub(crate) fn new(
        reserved: usize,
        make: impl Fn(&Arc<Notify>) -> Connection + Send + Sync + 'static,
    ) -> Self {
        Self {
            connections: Mutex::default(),
            waiting: AtomicUsize::new(0),
            freed: Arc::default(),
            avoided_until: Mutex::default(),
            reserved,
            make: Box::new(make),
        }
    }

    /// Notes whether a connection could be made.
    pub(crate) fn note(&self, connected: bool, now: Instant) {
        let until = (!connected).then(|| now + AVOIDED);
        *self.avoided_until.lock() = until;
    }

    /// Whether other endpoints are preferred, as no connection can be made here.
    pub(crate) fn is_avoided(&self, now: Instant) -> bool {
        let until = *self.avoided_until.lock();
        until.is_some_and(|until| now < until)
    }

    /// Returns why a connection is not up, if that is known.
    pub(crate) fn last_error(&self) -> Option<ConnectError> {
        let connections = self.connections.lock();
        connections.iter().find_map(|one| one.last_error())
    }

    /// Returns a permit on a connection that is up and has room, is not `avoided`, and is not known to
    /// lead to another member than the one with the ID.
    pub(crate) fn acquire(&self, avoided: Option<LinkId>, id: Option<u64>) -> Option<StreamPermit> {
        self.connections
            .lock()
            .iter()
            .filter_map(|connection| connection.live())
            .filter(|link| link.state.is_fit() && avoided != Some(link.id))
            .filter(|link| !link.misses(id))
            .find_map(|link| StreamPermit::try_new(link, self.reserved))
    }

    /// Starts one more connection, unless one is being made.
    ///
    /// Connections are made one at a time: a thousand calls that come at once open as many as they
    /// need and no more.
    pub(crate) fn grow(&self, avoided: Option<LinkId>, closing: &watch::Receiver<()>) {
        let mut connections = self.connections.lock();
        // A connection that is not up is being made, or is idle.
        let pending = connections.iter().find(|connection| {
            connection.live().is_none_or(|link| {
                // If a connection that is up has no stream, its server allows none: another
                // connection would not help.
                let barred = link.state.open() == 0 && avoided != Some(link.id);
                !link.state.is_fit() || barred
            })
        });
        match pending {
            Some(connection) => connection.connect_if_idle(closing.clone()),
            None => {
                let connection = Arc::new((self.make)(&self.freed));
                connection.connect_if_idle(closing.clone());
                connections.push(connection);
            }
        }
    }

    /// Returns the links of the connections that are up.
    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        let connections = self.connections.lock();
        let live = connections
            .iter()
            .filter_map(|connection| connection.live());
        live.collect()
    }
}

/// Counts itself as waiting for as long as it lives.
pub(crate) struct WaitGuard<'a>(&'a AtomicUsize);

impl<'a> WaitGuard<'a> {
    pub(crate) fn on(counter: &'a AtomicUsize) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for WaitGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
