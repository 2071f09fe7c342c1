//! What drivers and calls share: the endpoints, their connections, and the choice among them.

mod choice;
mod endpoints;
mod peer;
mod trouble;

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, Weak};

use tokio::sync::watch;

use self::peer::Peer;
pub(crate) use self::trouble::Seen;
use super::Want;
use super::balance::{Balance, Health};
use super::dial::Dialer;
use super::identity::Origin;
use super::pulse::now;
use super::serving::Serving;
use super::watcher::Others;
use crate::config::Options;
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind};
use crate::method::Lane;
use crate::mode::Mode;
use crate::runtime;
use crate::telemetry;

/// The endpoints of a client and the choice among them.
///
/// ORDER: whoever holds both takes `balance` before `peers`.
pub(crate) struct Hub {
    /// Only grows: an endpoint's place stays its own.
    peers: RwLock<Vec<Arc<Peer>>>,
    balance: Mutex<Balance>,
    /// A copy of the balance's choice, for the way without its lock.
    chosen: AtomicUsize,
    workshop: Workshop,
    this: Weak<Hub>,
    /// Counts up whenever a connection changes.
    changes: watch::Sender<u64>,
    closing: watch::Receiver<()>,
    closed: AtomicBool,
    /// Connections end, with the calls on them.
    cut: watch::Sender<bool>,
    /// A task of the client that no runtime runs just now.
    parked: Mutex<Option<Background>>,
}

/// Makes the future of a task that works for the client in the background. No timer in it may be
/// older than the call: a timer belongs to the runtime in which it was made.
pub(crate) type Background = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// What connections are made with.
#[derive(Clone)]
pub(crate) struct Workshop {
    pub(crate) options: Arc<Options>,
    pub(crate) dialer: Arc<Dialer>,
}

impl Hub {
    pub(crate) fn new(
        endpoints: &[Endpoint],
        workshop: Workshop,
        closing: watch::Receiver<()>,
    ) -> Arc<Self> {
        let mode = workshop.options.mode;
        let balance = Balance::new(mode, endpoints.len(), fastrand::usize(..));
        Arc::new_cyclic(|hub: &Weak<Hub>| Self {
            peers: RwLock::new(
                endpoints
                    .iter()
                    .enumerate()
                    .map(|(place, endpoint)| {
                        Peer::new(place, endpoint, Origin::User, &workshop, hub)
                    })
                    .collect(),
            ),
            chosen: AtomicUsize::new(balance.chosen()),
            balance: Mutex::new(balance),
            workshop,
            this: hub.clone(),
            changes: watch::Sender::new(0),
            closing,
            closed: AtomicBool::new(false),
            cut: watch::Sender::new(false),
            parked: Mutex::default(),
        })
    }

    fn balance(&self) -> MutexGuard<'_, Balance> {
        // Nothing panics while it is held.
        self.balance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn peers(&self) -> RwLockReadGuard<'_, Vec<Arc<Peer>>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn peer(&self, place: usize) -> Arc<Peer> {
        // INVARIANT: places are given out by `peers` and never taken back.
        Arc::clone(&self.peers()[place])
    }

    fn chosen(&self) -> usize {
        self.chosen.load(Ordering::Relaxed)
    }

    fn publish(&self, chosen: usize) {
        self.chosen.store(chosen, Ordering::Relaxed);
        self.changes.send_modify(|count| *count += 1);
    }

    /// The unary connection of an endpoint has grown old: with one endpoint for all calls, the
    /// next may be another.
    pub(crate) fn grew_old(&self, lane: Lane) {
        if lane == Lane::Unary && self.workshop.options.mode == Mode::PickFirst {
            let mut balance = self.balance();
            balance.move_on(fastrand::usize(..));
            self.publish(balance.chosen());
        }
    }

    /// Keeps a task until a driver or a watcher of a connection runs, and gives it to the runtime
    /// of that one.
    pub(crate) fn park(&self, task: Background) {
        *self.parked() = Some(task);
        // A connection that is up in another runtime may have nothing to tell for a long time.
        self.peers().iter().for_each(|peer| peer.serving.wake());
    }

    /// Starts the parked task on the runtime of the caller, if there are both.
    fn revive(&self) {
        let Ok(runtime) = runtime::present() else {
            return;
        };
        // ORDER: the lock is released before: a runtime that is ending drops the task at once,
        // which parks it again.
        let parked = self.parked().take();
        if let Some(task) = parked {
            runtime.spawn(task());
        }
    }

    fn parked(&self) -> MutexGuard<'_, Option<Background>> {
        // Nothing panics while it is held.
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a driver tells.
    pub(crate) fn note(&self, place: usize, lane: Lane, health: Health) {
        self.revive();
        if lane == Lane::Unary {
            let to_wake = {
                let mut balance = self.balance();
                balance.note(place, health);
                self.chosen.store(balance.chosen(), Ordering::Relaxed);
                balance.to_wake(|_| false)
            };
            if let Some(next) = to_wake {
                self.peer(next).unary.want(self.closing.clone());
            }
        }
        self.changes.send_modify(|count| *count += 1);
    }

    /// Notes whether a connection for streams or waiting calls could be made.
    pub(super) fn note_lane(&self, place: usize, lane: Lane, connected: bool) {
        if let Some(lanes) = self.peer(place).lanes(lane) {
            lanes.note(connected, now());
        }
    }

    /// Notes whether an endpoint serves, as calls and probes have found out.
    pub(super) fn note_serving(&self, serving: &Serving, not_serving: bool) {
        let place = serving.place();
        let to_wake = {
            let mut balance = self.balance();
            if !serving.swap(not_serving) {
                return;
            }
            balance.note_serving(place, !not_serving);
            self.chosen.store(balance.chosen(), Ordering::Relaxed);
            balance.to_wake(|_| false)
        };
        let endpoint = &self.peer(place).endpoint;
        telemetry::serving(self.workshop.options.name.as_ref(), endpoint, !not_serving);
        serving.wake();
        if let Some(next) = to_wake {
            self.peer(next).unary.want(self.closing.clone());
        }
        self.changes.send_modify(|count| *count += 1);
    }

    /// How many replies of the other endpoints have shown that they serve.
    pub(super) fn served_elsewhere(&self, place: usize) -> u64 {
        let peers = self.peers();
        let others = peers.iter().enumerate().filter(|(one, _)| *one != place);
        let links = others.filter_map(|(_, peer)| peer.unary.live());
        links.fold(0, |sum, link| sum.wrapping_add(link.pulse.served()))
    }

    /// Asks the other endpoints whether they serve, where they are connected.
    pub(super) fn ask_elsewhere(&self, place: usize) {
        let peers = self.peers();
        let others = peers.iter().enumerate().filter(|(one, _)| *one != place);
        let connected = others.filter(|(_, peer)| peer.unary.live().is_some());
        connected.for_each(|(_, peer)| peer.serving.ask());
    }

    /// What is known of the other endpoints.
    pub(super) fn others(&self, place: usize) -> Others {
        let balance = self.balance();
        match balance.order(Some(place)).next() {
            None => Others::None,
            Some(_) if balance.is_served(Some(place)) => Others::Serving,
            Some(_) => Others::NotServing,
        }
    }

    /// Connects to an endpoint that should have a connection and has never tried.
    pub(super) fn connect_idle(&self) {
        self.revive();
        let idle = self.balance().to_wake(|_| false);
        if let Some(idle) = idle {
            self.peer(idle).unary.want(self.closing.clone());
        }
    }

    /// Ends when the client is closed: the sender is dropped.
    pub(super) fn closing(&self) -> watch::Receiver<()> {
        self.closing.clone()
    }

    /// Whether a connection should be kept, or tried for.
    pub(crate) fn wants(&self, place: usize, lane: Lane) -> bool {
        let peer = self.peer(place);
        let waiting = match lane {
            Lane::Unary => {
                return self.balance().wants(place) || peer.waiting.load(Ordering::Relaxed) > 0;
            }
            Lane::Stream => &peer.streams.waiting,
            Lane::Wait => &peer.waits.waiting,
        };
        waiting.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.changes.send_modify(|count| *count += 1);
    }

    fn is_closed_to(&self, want: Want) -> bool {
        self.closed.load(Ordering::Relaxed) && !want.parting
    }

    /// Ends all connections, with the calls on them.
    pub(crate) fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// Whether connections are to end, with the calls on them.
    pub(crate) fn cuts(&self) -> watch::Receiver<bool> {
        self.cut.subscribe()
    }
}

/// The error of a call that came too late.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the client was closed")
}
