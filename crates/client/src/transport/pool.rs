//! The endpoints of a client, their connections, and the choice among them.

mod endpoint_pool;
mod endpoint_pools;
mod endpoints;
mod pick;
mod status;

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use tokio::sync::watch;

use self::endpoint_pool::EndpointPool;
use self::endpoint_pools::EndpointPools;
pub(crate) use self::status::EndpointInfo;
use super::PickInfo;
use super::balance::{Balance, EndpointIndex, Health, OtherEndpoints};
use super::dial::Dialer;
use super::handshake::ConnectContext;
use super::identity::Origin;
use super::link_state::now;
use super::serving::Serving;
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::method::Lane;
use crate::mode::Mode;
use crate::mutex::Mutex;
use crate::runtime;
use crate::telemetry;

/// The endpoints of a client, their connections, and the choice among them. Dropping it closes the
/// connections.
///
/// ORDER: a holder of both locks takes `balance` before `pools`.
pub(crate) struct Pool {
    pools: RwLock<EndpointPools>,
    balance: Mutex<Balance>,
    /// A copy of the balance's choice, which is read without the lock.
    chosen: AtomicUsize,
    context: ConnectContext,
    this: Weak<Pool>,
    /// Grows whenever a connection or the list of endpoints changes.
    changes: watch::Sender<u64>,
    /// Every driver ends when this sender is dropped: by [`Self::disconnect`], or with the pool.
    running: Mutex<Option<watch::Sender<()>>>,
    closing: watch::Receiver<()>,
    closed: AtomicBool,
    /// Whether connections are to end, with the calls on them.
    aborted: watch::Sender<bool>,
    /// A task of the client that waits for a runtime.
    deferred: Mutex<Option<Background>>,
}

/// Makes the future of a background task of the client. The future must make its timers itself, after
/// the call: a timer belongs to the runtime in which it was made.
pub(crate) type Background = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

impl Pool {
    pub(crate) fn new(config: &Config) -> Result<Arc<Self>, Error> {
        let (running, closing) = watch::channel(());
        let context = ConnectContext {
            options: Arc::new(config.options.clone()),
            dialer: Arc::new(Dialer::new(config)?),
        };
        let mode = context.options.mode;
        let balance = Balance::new(mode, config.endpoints.len(), fastrand::usize(..));
        Ok(Arc::new_cyclic(|pool: &Weak<Pool>| {
            let mut pools = EndpointPools::new();
            for endpoint in &config.endpoints {
                pools.add(|index| EndpointPool::new(index, endpoint, Origin::User, &context, pool));
            }
            Self {
                pools: RwLock::new(pools),
                chosen: AtomicUsize::new(balance.chosen().get()),
                balance: Mutex::new(balance),
                context,
                this: pool.clone(),
                changes: watch::Sender::new(0),
                running: Mutex::new(Some(running)),
                closing,
                closed: AtomicBool::new(false),
                aborted: watch::Sender::new(false),
                deferred: Mutex::default(),
            }
        }))
    }

    fn balance(&self) -> MutexGuard<'_, Balance> {
        self.balance.lock()
    }

    fn pools(&self) -> RwLockReadGuard<'_, EndpointPools> {
        self.pools.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn pools_mut(&self) -> RwLockWriteGuard<'_, EndpointPools> {
        self.pools.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn pool(&self, index: EndpointIndex) -> Arc<EndpointPool> {
        Arc::clone(&self.pools()[index])
    }

    fn chosen(&self) -> EndpointIndex {
        EndpointIndex::new(self.chosen.load(Ordering::Relaxed))
    }

    fn publish(&self, chosen: EndpointIndex) {
        self.chosen.store(chosen.get(), Ordering::Relaxed);
        self.changes.send_modify(|count| *count += 1);
    }

    /// Notes that the unary connection of an endpoint is replaced for its age. If all calls go to one
    /// endpoint, the next connection may be to another one.
    pub(crate) fn note_old(&self, lane: Lane) {
        if lane == Lane::Unary && self.context.options.mode == Mode::PickFirst {
            let mut balance = self.balance();
            balance.move_on(fastrand::usize(..));
            self.publish(balance.chosen());
        }
    }

    /// Keeps a task until a driver or a monitor of a connection runs, and spawns the task on that
    /// runtime.
    pub(crate) fn defer(&self, task: Background) {
        *self.deferred.lock() = Some(task);
        // The monitor of a connection in another runtime might have nothing to do for a long time.
        self.pools()
            .iter()
            .for_each(|(_, pool)| pool.serving.wake());
    }

    /// Spawns the deferred task on the runtime of the caller, if there is a task and a runtime.
    fn spawn_deferred(&self) {
        let Ok(runtime) = runtime::present() else {
            return;
        };
        // ORDER: the lock is released before the spawn: a runtime that is ending drops the task at
        // once, which defers it again.
        let deferred = self.deferred.lock().take();
        if let Some(task) = deferred {
            runtime.spawn(task());
        }
    }

    /// Notes the state of a connection, as its driver or monitor tells it.
    pub(crate) fn note(&self, index: EndpointIndex, lane: Lane, health: Health) {
        self.spawn_deferred();
        if lane == Lane::Unary {
            let to_wake = {
                let mut balance = self.balance();
                balance.note(index, health);
                self.chosen.store(balance.chosen().get(), Ordering::Relaxed);
                balance.to_wake(|_| false)
            };
            if let Some(next) = to_wake {
                self.pool(next).unary.connect_if_idle(self.closing.clone());
            }
        }
        self.changes.send_modify(|count| *count += 1);
    }

    /// Notes whether a connection for streams or waiting calls could be made.
    pub(super) fn note_lane(&self, index: EndpointIndex, lane: Lane, connected: bool) {
        if let Some(lanes) = self.pool(index).lanes(lane) {
            lanes.note(connected, now());
        }
    }

    /// Notes whether an endpoint serves, as calls and probes have found out.
    pub(super) fn note_serving(&self, serving: &Serving, not_serving: bool) {
        let index = serving.index();
        let to_wake = {
            let mut balance = self.balance();
            if !serving.swap(not_serving) {
                return;
            }
            balance.note_serving(index, !not_serving);
            self.chosen.store(balance.chosen().get(), Ordering::Relaxed);
            balance.to_wake(|_| false)
        };
        let endpoint = &self.pool(index).endpoint;
        telemetry::serving(self.context.options.name.as_ref(), endpoint, !not_serving);
        serving.wake();
        if let Some(next) = to_wake {
            self.pool(next).unary.connect_if_idle(self.closing.clone());
        }
        self.changes.send_modify(|count| *count += 1);
    }

    /// Returns how many replies have shown that the other endpoints serve.
    pub(super) fn served_elsewhere(&self, index: EndpointIndex) -> u64 {
        let pools = self.pools();
        let others = pools.iter().filter(|(one, _)| *one != index);
        let links = others.filter_map(|(_, pool)| pool.unary.live());
        links.fold(0, |sum, link| sum.wrapping_add(link.state.served()))
    }

    /// Asks the other endpoints whether they serve, where they are connected.
    pub(super) fn ask_elsewhere(&self, index: EndpointIndex) {
        let pools = self.pools();
        let others = pools.iter().filter(|(one, _)| *one != index);
        let connected = others.filter(|(_, pool)| pool.unary.live().is_some());
        connected.for_each(|(_, pool)| pool.serving.ask());
    }

    /// Returns whether there are other endpoints, and whether one of them serves.
    pub(super) fn others(&self, index: EndpointIndex) -> OtherEndpoints {
        self.balance().others(index)
    }

    /// Connects to an endpoint that should have a connection and was never tried.
    pub(super) fn connect_idle(&self) {
        self.spawn_deferred();
        let idle = self.balance().to_wake(|_| false);
        if let Some(idle) = idle {
            self.pool(idle).unary.connect_if_idle(self.closing.clone());
        }
    }

    /// Returns a receiver whose sender is dropped when the client is closed.
    pub(super) fn closing(&self) -> watch::Receiver<()> {
        self.closing.clone()
    }

    /// Whether a connection should be kept, or tried for.
    pub(crate) fn wants(&self, index: EndpointIndex, lane: Lane) -> bool {
        let pool = self.pool(index);
        let waiting = match lane {
            Lane::Unary => {
                return self.balance().wants(index) || pool.waiting.load(Ordering::Relaxed) > 0;
            }
            Lane::Stream => &pool.streams.waiting,
            Lane::Wait => &pool.waits.waiting,
        };
        waiting.load(Ordering::Relaxed) > 0
    }

    /// Returns a counter that grows whenever a connection or the list of endpoints changes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Refuses new calls from now on.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.changes.send_modify(|count| *count += 1);
    }

    fn is_closed_to(&self, pick: PickInfo) -> bool {
        self.closed.load(Ordering::Relaxed) && !pick.during_shutdown
    }

    /// Closes the connections. With `abort`, calls that are under way end at once; without it, each
    /// connection is closed when its calls are answered.
    pub(crate) fn disconnect(&self, abort: bool) {
        self.close();
        // The sender is dropped without the lock.
        let running = self.running.lock().take();
        drop(running);
        if abort {
            self.aborted.send_replace(true);
        }
    }

    /// Returns a receiver that becomes true when connections are to end, with the calls on them.
    pub(crate) fn aborted(&self) -> watch::Receiver<bool> {
        self.aborted.subscribe()
    }
}

/// The error of a call on a closed client.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the client was closed")
}
