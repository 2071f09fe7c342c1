//! The actor that owns a connection: it connects, publishes the live link, and starts over.
//!
//! It has no rules of its own: `state.rs` says what to do, `monitor.rs` looks after a
//! connection that is up.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use h2::PingPong;
use tokio::sync::{Notify, oneshot, watch};

use super::balance::Health;
use super::connect_error::ConnectError;
use super::dial::Dialer;
use super::handshake::{self, Task};
use super::identity::{Identity, ask};
use super::keepalive::KeepAliveState;
use super::link::Link;
use super::link_state::now;
use super::monitor::{Ending, Monitor, OtherEndpoints, Overseer};
use super::pool::{ConnectContext, Pool};
use super::prober::Prober;
use super::serving::Serving;
use super::state::{ConnectionPhase, Lifecycle, Loss};
use crate::config::Options;
use crate::endpoint::Endpoint;
use crate::method::Lane;
use crate::runtime;
use crate::telemetry;

/// An attempt that takes longer than this lets others begin.
const SLOW: Duration = Duration::from_millis(250);

/// Numbers all links of the process.
static NEXT_LINK: AtomicU64 = AtomicU64::new(1);

/// A connection to one endpoint, in whatever state it is.
pub(crate) struct Connection {
    shared: Arc<Shared>,
}

/// What the driver shares with those who want the connection.
struct Shared {
    endpoint: Endpoint,
    place: usize,
    lane: Lane,
    options: Arc<Options>,
    dialer: Arc<Dialer>,
    pool: Weak<Pool>,
    /// What calls have found out about the endpoint.
    serving: Arc<Serving>,
    identity: Arc<Identity>,
    /// Told when a place on the connection becomes free, where calls wait for places.
    freed: Option<Arc<Notify>>,
    status: watch::Sender<ConnectionStatus>,
    wanted: Notify,
    /// Somebody has wanted the connection since it came to rest.
    asked: AtomicBool,
    started: AtomicBool,
}

/// What is published of a connection.
#[derive(Clone)]
pub(crate) enum ConnectionStatus {
    /// Not connected, and no attempt has failed.
    Absent,
    /// Calls can be sent.
    Live(Arc<Link>),
    /// The last attempt failed, or the connection broke and is not back yet.
    Down(ConnectError),
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
                place: serving.place(),
                lane,
                options: context.options,
                dialer: context.dialer,
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

    /// The link, if the connection is up.
    pub(crate) fn live(&self) -> Option<Arc<Link>> {
        match &*self.shared.status.borrow() {
            ConnectionStatus::Live(link) => Some(Arc::clone(link)),
            ConnectionStatus::Absent | ConnectionStatus::Down(_) => None,
        }
    }

    /// Why it is not up, if that is known.
    pub(crate) fn last_error(&self) -> Option<ConnectError> {
        match &*self.shared.status.borrow() {
            ConnectionStatus::Down(cause) => Some(cause.clone()),
            ConnectionStatus::Absent | ConnectionStatus::Live(_) => None,
        }
    }

    /// Makes the driver connect if it is at rest. Outside of a tokio runtime nothing happens.
    pub(crate) fn connect_if_idle(&self, closing: watch::Receiver<()>) {
        if !self.shared.started.load(Ordering::Relaxed) {
            let Ok(runtime) = runtime::present() else {
                return;
            };
            if !self.shared.started.swap(true, Ordering::Relaxed) {
                runtime.spawn(drive(Started(Arc::clone(&self.shared)), closing));
            }
        }
        self.shared.asked.store(true, Ordering::Relaxed);
        self.shared.wanted.notify_one();
    }
}

impl Shared {
    fn publish(&self, status: ConnectionStatus, health: Health) {
        self.status.send_replace(status);
        self.note(health);
    }

    /// Tells whether a connection for streams or waiting calls could be made.
    fn note_lane(&self, connected: bool) {
        if let Some(pool) = self.pool.upgrade() {
            pool.note_lane(self.place, self.lane, connected);
        }
    }

    fn note(&self, health: Health) {
        if let Some(pool) = self.pool.upgrade() {
            pool.note(self.place, self.lane, health);
        }
    }
}

impl Overseer for Arc<Shared> {
    fn is_wanted(&self) -> bool {
        self.is_still_wanted()
    }

    fn note_old(&self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.note_old(self.lane);
        }
    }

    fn suspect(&self, suspect: bool) {
        self.note(if suspect { Health::Suspect } else { Health::Up });
    }

    fn others(&self) -> OtherEndpoints {
        match self.pool.upgrade() {
            Some(pool) => pool.others(self.place),
            None => OtherEndpoints::None,
        }
    }

    fn served_elsewhere(&self) -> u64 {
        let pool = self.pool.upgrade();
        pool.map_or(0, |pool| pool.served_elsewhere(self.place))
    }

    fn ask_elsewhere(&self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.ask_elsewhere(self.place);
        }
    }

    fn connect_idle(&self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.connect_idle();
        }
    }
}

/// A driver that runs.
///
/// INVARIANT: it is dropped with the driver's task, also when that ends with its runtime, be it
/// before the first poll. The next call that wants the connection starts another driver, on its own
/// runtime.
struct Started(Arc<Shared>);

impl Drop for Started {
    fn drop(&mut self) {
        let shared = &self.0;
        // ORDER: a link that nobody drives is taken away before it can be wanted again.
        let before = shared.status.send_replace(ConnectionStatus::Absent);
        if let ConnectionStatus::Live(link) = &before {
            link.state.drain();
        }
        shared.started.store(false, Ordering::Relaxed);
        shared.asked.store(false, Ordering::Relaxed);
        if !matches!(before, ConnectionStatus::Absent) {
            shared.note(Health::Idle);
        }
    }
}

/// Runs the connection until the client is gone.
async fn drive(started: Started, mut closing: watch::Receiver<()>) {
    let shared = &started.0;
    let mut life = Lifecycle::new(shared.options.retry_timeout);
    let mut interval = shared.options.keep_alive_interval;
    let mut fate: Option<(oneshot::Receiver<Ending>, Arc<Link>)> = None;
    loop {
        tokio::select! {
            biased;
            // The sender is dropped with the client.
            _ = closing.changed() => break,
            () = advance(shared, &mut life, &mut interval, &mut fate) => {}
        }
    }
    // The link goes with `started`; h2 says goodbye once no call holds it any more.
}

/// Does what the phase asks for, and takes the step that follows from it.
async fn advance(
    shared: &Arc<Shared>,
    life: &mut Lifecycle,
    interval: &mut Option<Duration>,
    fate: &mut Option<(oneshot::Receiver<Ending>, Arc<Link>)>,
) {
    match life.phase() {
        ConnectionPhase::Idle => {
            shared.wanted.notified().await;
            // A wish from before the rest was fulfilled then; nobody has it any more.
            if shared.asked.swap(false, Ordering::Relaxed) {
                life.wanted(now());
            }
        }
        ConnectionPhase::Pausing(until) => {
            tokio::time::sleep_until(until.into()).await;
            life.pause_over();
        }
        ConnectionPhase::Connecting => match connect(shared).await {
            Ok(fresh) => {
                let link = Arc::clone(&fresh.link);
                *fate = Some((launch(shared, fresh, *interval), Arc::clone(&link)));
                life.connected();
                // ORDER: the calls that wait look at it when the note comes.
                shared.note_lane(true);
                shared.publish(ConnectionStatus::Live(Arc::clone(&link)), Health::Up);
                // ORDER: whoever says that something else has to be proven does so before it
                // looks for links.
                if !shared.identity.accepts(link.proof()) {
                    link.state.drain();
                }
            }
            Err(cause) => failed(shared, life, cause),
        },
        ConnectionPhase::Live => {
            // INVARIANT: `fate` is set before the phase becomes `Live`, and the phase is another
            // one when this arm is left: nothing here may turn in a circle.
            let (ending, proven) = match fate.as_mut() {
                Some((ending, link)) => (ending.await.ok(), link.state.is_proven()),
                None => (None, false),
            };
            *fate = None;
            lost(
                shared,
                life,
                interval,
                ending.unwrap_or_else(unwatched),
                proven,
            );
        }
    }
}

/// One attempt, with what is told of it.
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

/// The others are told when it takes long.
async fn attempt(shared: &Shared) -> Result<NewConnection, ConnectError> {
    if shared.status.borrow().is_absent() {
        shared.note(Health::Trying);
    }
    let attempt = reach(shared);
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

impl ConnectionStatus {
    fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// A connection that calls may be sent over, and that nobody watches over yet.
struct NewConnection {
    link: Arc<Link>,
    task: Task,
    ping_pong: PingPong,
    round_trip: Duration,
}

/// Connects, and has the connection prove where it leads.
async fn reach(shared: &Shared) -> Result<NewConnection, ConnectError> {
    let connected = handshake::connect(&shared.endpoint, &shared.dialer, &shared.options).await?;
    let link = Link::new(
        NEXT_LINK.fetch_add(1, Ordering::Relaxed),
        shared.endpoint.clone(),
        connected.sender,
        connected.state,
        Arc::clone(&shared.serving),
        shared.freed.clone(),
        shared.options.timeout,
    )
    .map_err(|error| ConnectError::with("the endpoint's name cannot stand in a request", error))?;
    let link = Arc::new(link);
    let (verified, limit) = (shared.is_verified(), shared.options.connect_timeout);
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

/// Starts to watch over a connection.
fn launch(
    shared: &Arc<Shared>,
    fresh: NewConnection,
    interval: Option<Duration>,
) -> oneshot::Receiver<Ending> {
    let (fate, ending) = oneshot::channel();
    let pool = shared.pool.upgrade();
    let probes = shared.lane == Lane::Unary;
    let monitor = Monitor {
        task: fresh.task,
        ping_pong: fresh.ping_pong,
        state: Arc::clone(&fresh.link.state),
        keep_alive: KeepAliveState::new(interval, shared.options.keep_alive_timeout, now()),
        overseer: Arc::clone(shared),
        retire_at: shared.retire_at(),
        fate: Some(fate),
        cut: pool.as_ref().map(|pool| pool.cuts()),
        closing: pool.as_ref().map(|pool| pool.closing()),
        lane: shared.lane,
        serving: Arc::clone(&shared.serving),
        signal: shared.serving.signal(),
        quiet_since: None,
        prober: probes.then(|| Prober::new(&fresh.link, fresh.round_trip)),
    };
    tokio::spawn(monitor.run());
    ending
}

fn failed(shared: &Shared, life: &mut Lifecycle, cause: ConnectError) {
    shared.note_lane(false);
    shared.publish(ConnectionStatus::Down(cause), Health::Down);
    // ORDER: whether it is still wanted may depend on the note that it is down.
    life.failed(now(), fastrand::f64(), shared.is_still_wanted());
    shared.rest(life);
}

/// The monitor's task has gone without a word.
fn unwatched() -> Ending {
    Ending {
        loss: Loss::Abrupt,
        cause: "nobody watches over it any more".to_owned(),
        too_many_pings: false,
    }
}

fn lost(
    shared: &Shared,
    life: &mut Lifecycle,
    interval: &mut Option<Duration>,
    ending: Ending,
    proven: bool,
) {
    if ending.too_many_pings {
        *interval = interval.map(|interval| interval.saturating_mul(2));
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
            shared.publish(
                ConnectionStatus::Down(ConnectError::lost(ending.cause)),
                Health::Down,
            );
        }
        Loss::Graceful | Loss::Unused => {
            shared.publish(ConnectionStatus::Absent, Health::Idle);
        }
    }
    let wanted = shared.is_still_wanted();
    life.lost(now(), ending.loss, proven, fastrand::f64(), wanted);
    shared.rest(life);
}

impl Shared {
    fn is_still_wanted(&self) -> bool {
        self.pool
            .upgrade()
            .is_some_and(|pool| pool.wants(self.place, self.lane))
    }

    /// Streams and waiting calls end when they end; only connections for calls are replaced.
    fn retire_at(&self) -> Option<Instant> {
        let age = self.options.max_connection_age?;
        let jittered = age.mul_f64(1.0 - fastrand::f64() / 5.0);
        now()
            .checked_add(jittered)
            .filter(|_| self.lane == Lane::Unary)
    }

    /// Whether TLS shows that the server is the one that the URL names.
    fn is_verified(&self) -> bool {
        #[cfg(feature = "_tls")]
        let checked = !self
            .options
            .tls
            .as_ref()
            .is_some_and(|tls| tls.accepts_invalid);
        #[cfg(not(feature = "_tls"))]
        let checked = false;
        checked && self.endpoint.is_secure()
    }

    fn name(&self) -> Option<&Arc<str>> {
        self.options.name.as_ref()
    }

    /// A connection at rest can be woken again.
    fn rest(&self, life: &Lifecycle) {
        if life.phase() == ConnectionPhase::Idle {
            // ORDER: whoever still waits wants it again when it hears the note.
            self.asked.store(false, Ordering::Relaxed);
            if self.lane == Lane::Unary {
                // Nobody asks it any more whether it serves.
                self.serving.set_not_serving(false);
            }
            self.note(Health::Idle);
        }
    }
}
