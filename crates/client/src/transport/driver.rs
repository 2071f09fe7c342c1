//! The driver of a connection: the task that connects, publishes the live link, and reconnects.
//!
//! The driver has no rules of its own: `state.rs` says what to do next, and `monitor.rs` pings and
//! drains a connection that is up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use h2::PingPong;
use tokio::sync::{Notify, oneshot, watch};

use super::balance::Health;
use super::connect_error::ConnectError;
use super::handshake::{self, ConnectContext, Task};
use super::identity::{Identity, ask};
use super::keepalive::KeepAliveState;
use super::link::Link;
use super::link_state::now;
use super::monitor::{Ending, Monitor};
use super::pool::Pool;
use super::prober::Prober;
use super::serving::Serving;
use super::shared::{ConnectionStatus, Shared};
use super::state::{ConnectionPhase, Lifecycle, Loss};
use crate::endpoint::Endpoint;
use crate::method::Lane;
use crate::runtime;
use crate::telemetry;

/// An attempt to connect that takes longer than this lets attempts at other endpoints begin.
const SLOW: Duration = Duration::from_millis(250);

/// A connection to one endpoint, in whatever state it is.
pub(crate) struct Connection {
    shared: Arc<Shared>,
}

impl Connection {
    pub(crate) fn new(
        endpoint: Endpoint,
        lane: Lane,
        context: ConnectContext,
        pool: Weak<Pool>,
        serving: Arc<Serving>,
        identity: Arc<Identity>,
        freed: Option<Arc<Notify>>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                endpoint,
                index: serving.index(),
                lane,
                context,
                pool,
                serving,
                identity,
                freed,
                status: watch::Sender::new(ConnectionStatus::Absent),
                wanted: Notify::new(),
                asked: AtomicBool::new(false),
                started: AtomicBool::new(false),
            }),
        }
    }

    /// Returns the link, if the connection is up.
    pub(crate) fn live(&self) -> Option<Arc<Link>> {
        match &*self.shared.status.borrow() {
            ConnectionStatus::Live(link) => Some(Arc::clone(link)),
            ConnectionStatus::Absent | ConnectionStatus::Down(_) => None,
        }
    }

    /// Returns why the connection is not up, if that is known.
    pub(crate) fn last_error(&self) -> Option<ConnectError> {
        match &*self.shared.status.borrow() {
            ConnectionStatus::Down(cause) => Some(cause.clone()),
            ConnectionStatus::Absent | ConnectionStatus::Live(_) => None,
        }
    }

    /// Makes the driver connect if it is idle. Outside of a tokio runtime nothing happens.
    pub(crate) fn connect_if_idle(&self, closing: watch::Receiver<()>) {
        if !self.shared.started.load(Ordering::Relaxed) {
            let Ok(runtime) = runtime::present() else {
                return;
            };
            if !self.shared.started.swap(true, Ordering::Relaxed) {
                let running = Running(Arc::clone(&self.shared));
                runtime.spawn(ConnectionDriver::new(running).run(closing));
            }
        }
        self.shared.asked.store(true, Ordering::Relaxed);
        self.shared.wanted.notify_one();
    }
}

/// Marks the driver as running for as long as this exists.
///
/// INVARIANT: this is dropped with the driver's task, also when the task ends with its runtime, be
/// it before the first poll. The next call that wants the connection starts another driver, on its
/// own runtime.
struct Running(Arc<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        let shared = &self.0;
        // ORDER: a link without a driver is taken away before a call can ask for it again.
        let before = shared.status.send_replace(ConnectionStatus::Absent);
        if let ConnectionStatus::Live(link) = &before {
            link.state.drain();
        }
        shared.started.store(false, Ordering::Relaxed);
        shared.asked.store(false, Ordering::Relaxed);
        if !before.is_absent() {
            shared.note(Health::Idle);
        }
    }
}

/// The task that owns a connection.
struct ConnectionDriver {
    life: Lifecycle,
    /// Time between keep-alive pings. Doubled each time that the server finds them too many.
    ping_interval: Option<Duration>,
    /// The connection that is up.
    monitored: Option<Monitored>,
    /// ORDER: dropped last.
    running: Running,
}

/// A connection that is up, whose monitor runs.
struct Monitored {
    link: Arc<Link>,
    /// Resolves when the connection takes no more calls.
    ending: oneshot::Receiver<Ending>,
}

impl ConnectionDriver {
    fn new(running: Running) -> Self {
        let options = &running.0.context.options;
        Self {
            life: Lifecycle::new(options.retry_timeout),
            ping_interval: options.keep_alive_interval,
            monitored: None,
            running,
        }
    }

    /// Runs the connection until the client is gone.
    async fn run(mut self, mut closing: watch::Receiver<()>) {
        loop {
            tokio::select! {
                biased;
                // The sender is dropped with the client.
                _ = closing.changed() => break,
                () = self.advance() => {}
            }
        }
        // The link goes with `self`; h2 sends GOAWAY when no call holds the link any more.
    }

    /// Does what the phase asks for, and takes the step that follows from it.
    async fn advance(&mut self) {
        let shared = &self.running.0;
        match self.life.phase() {
            ConnectionPhase::Idle => {
                shared.wanted.notified().await;
                // A request from before the driver became idle was fulfilled then, and no call
                // waits for it any more.
                if shared.asked.swap(false, Ordering::Relaxed) {
                    self.life.wanted(now());
                }
            }
            ConnectionPhase::Pausing(until) => {
                tokio::time::sleep_until(until.into()).await;
                self.life.pause_over();
            }
            ConnectionPhase::Connecting => match connect(shared).await {
                Ok(connection) => self.connected(connection),
                Err(cause) => self.failed(cause),
            },
            ConnectionPhase::Live => {
                // INVARIANT: `monitored` is set before the phase becomes `Live`, and the phase is
                // another one when this arm is left, so the loop waits in each turn.
                let (ending, proven) = match &mut self.monitored {
                    Some(monitored) => {
                        let ending = (&mut monitored.ending).await.ok();
                        (ending, monitored.link.state.is_proven())
                    }
                    None => (None, false),
                };
                self.monitored = None;
                self.lost(ending.unwrap_or_else(unmonitored), proven);
            }
        }
    }

    /// Starts the monitor of a new connection and publishes the link.
    fn connected(&mut self, connection: NewConnection) {
        let shared = &self.running.0;
        let link = Arc::clone(&connection.link);
        let ending = monitor(shared, connection, self.ping_interval);
        self.monitored = Some(Monitored {
            link: Arc::clone(&link),
            ending,
        });
        self.life.connected();
        // ORDER: calls that wait look at the lane when the link is published.
        shared.note_lane(true);
        shared.publish(ConnectionStatus::Live(Arc::clone(&link)), Health::Up);
        // ORDER: a caller that changes what has to be proven does so before it looks for links.
        if !shared.identity.accepts(link.proof()) {
            link.state.drain();
        }
    }

    fn failed(&mut self, cause: ConnectError) {
        let shared = &self.running.0;
        shared.note_lane(false);
        shared.publish(ConnectionStatus::Down(cause), Health::Down);
        // ORDER: whether the connection is still wanted may depend on the note that it is down.
        let wanted = shared.is_wanted();
        self.life.failed(now(), fastrand::f64(), wanted);
        self.note_if_idle();
    }

    /// The connection is gone. `proven` says that a good reply came over it.
    fn lost(&mut self, ending: Ending, proven: bool) {
        let shared = &self.running.0;
        if ending.too_many_pings {
            let interval = self
                .ping_interval
                .map(|interval| interval.saturating_mul(2));
            self.ping_interval = interval;
            tracing::warn!(
                target: "etcdex",
                endpoint = %shared.endpoint,
                ?interval,
                "the server closed the connection because of too many pings; pinging half as often"
            );
        }
        let lost = ending.loss == Loss::Abrupt;
        telemetry::disconnected(shared.name(), &shared.endpoint, &ending.cause, lost);
        match ending.loss {
            Loss::Abrupt => {
                let cause = ConnectError::lost(ending.cause);
                shared.publish(ConnectionStatus::Down(cause), Health::Down);
            }
            Loss::Graceful | Loss::Unused => {
                shared.publish(ConnectionStatus::Absent, Health::Idle);
            }
        }
        let wanted = shared.is_wanted();
        self.life
            .lost(now(), ending.loss, proven, fastrand::f64(), wanted);
        self.note_if_idle();
    }

    fn note_if_idle(&self) {
        if self.life.phase() == ConnectionPhase::Idle {
            self.running.0.note_idle();
        }
    }
}

/// The ending of a connection whose monitor's task has ended without telling one.
fn unmonitored() -> Ending {
    Ending {
        loss: Loss::Abrupt,
        cause: "the task that watches over the connection has ended".to_owned(),
        too_many_pings: false,
    }
}

/// A connection that calls may be sent over, and whose monitor does not run yet.
struct NewConnection {
    link: Arc<Link>,
    task: Task,
    ping_pong: PingPong,
    round_trip: Duration,
}

/// Makes one attempt to connect, with its telemetry.
async fn connect(shared: &Shared) -> Result<NewConnection, ConnectError> {
    let started = now();
    telemetry::connect_started(shared.name(), &shared.endpoint);
    let outcome = attempt(shared).await;
    let cause = outcome
        .as_ref()
        .err()
        .map(|cause| cause as &dyn std::fmt::Display);
    let duration = now().saturating_duration_since(started);
    telemetry::connect_stopped(shared.name(), &shared.endpoint, duration, cause);
    outcome
}

/// Connects, and tells the pool when that takes long.
async fn attempt(shared: &Shared) -> Result<NewConnection, ConnectError> {
    if shared.status.borrow().is_absent() {
        shared.note(Health::Trying);
    }
    let attempt = establish(shared);
    tokio::pin!(attempt);
    tokio::select! {
        biased;
        outcome = &mut attempt => return outcome,
        () = tokio::time::sleep(SLOW) => {}
    }
    shared.note_lane(false);
    if shared.status.borrow().is_absent() {
        shared.note(Health::Slow);
    }
    attempt.await
}

/// Connects, and has the connection prove where it leads.
async fn establish(shared: &Shared) -> Result<NewConnection, ConnectError> {
    let options = &shared.context.options;
    let connected = handshake::connect(&shared.endpoint, &shared.context).await?;
    let link = Link::new(
        shared.endpoint.clone(),
        connected.sender,
        connected.state,
        Arc::clone(&shared.serving),
        shared.freed.clone(),
        options.timeout,
    )
    .map_err(|error| ConnectError::with("the endpoint's name cannot stand in a request", error))?;
    let link = Arc::new(link);
    let (verified, limit) = (shared.is_verified(), options.connect_timeout);
    let proof = ask(&link, &shared.identity, verified, limit).await?;
    // INVARIANT: nothing else sets it.
    let _ = link.told.set(proof);
    // A server that proves its cluster and drops each call must not be connected to without pauses.
    link.state.unprove();
    Ok(NewConnection {
        link,
        task: connected.task,
        ping_pong: connected.ping_pong,
        round_trip: connected.round_trip,
    })
}

/// Starts the monitor of a connection; returns what tells how the connection has ended.
fn monitor(
    shared: &Arc<Shared>,
    connection: NewConnection,
    ping_interval: Option<Duration>,
) -> oneshot::Receiver<Ending> {
    let (sender, ending) = oneshot::channel();
    let pool = shared.pool.upgrade();
    let probes = shared.lane == Lane::Unary;
    let timeout = shared.context.options.keep_alive_timeout;
    let monitor = Monitor {
        task: connection.task,
        ping_pong: connection.ping_pong,
        state: Arc::clone(&connection.link.state),
        keep_alive: KeepAliveState::new(ping_interval, timeout, now()),
        shared: Arc::clone(shared),
        retire_at: shared.retire_at(),
        ending: Some(sender),
        cut: pool.as_ref().map(|pool| pool.aborted()),
        closing: pool.as_ref().map(|pool| pool.closing()),
        signal: shared.serving.signal(),
        quiet_since: None,
        prober: probes.then(|| Prober::new(&connection.link, connection.round_trip)),
    };
    tokio::spawn(monitor.run());
    ending
}
