//! The actor that owns a connection: it connects, publishes the live link, and starts over.
//!
//! It has no rules of its own: `state.rs` says what to do, `watcher.rs` looks after a
//! connection that is up.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use h2::PingPong;
use tokio::sync::{Notify, oneshot, watch};

use super::balance::Health;
use super::dial::Dialer;
use super::handshake::{self, Task, Unreachable};
use super::hub::{Hub, Workshop};
use super::identity::{Identity, ask};
use super::keepalive::KeepAlive;
use super::link::Link;
use super::prober::Prober;
use super::pulse::now;
use super::serving::Serving;
use super::state::{Lifecycle, Loss, Phase};
use super::watcher::{Ending, Others, Overseer, Watcher};
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
    desk: Arc<Desk>,
}

/// What the driver shares with those who want the connection.
struct Desk {
    endpoint: Endpoint,
    place: usize,
    lane: Lane,
    options: Arc<Options>,
    dialer: Arc<Dialer>,
    hub: Weak<Hub>,
    /// What calls have found out about the endpoint.
    serving: Arc<Serving>,
    identity: Arc<Identity>,
    /// Told when a place on the connection becomes free, where calls wait for places.
    freed: Option<Arc<Notify>>,
    status: watch::Sender<Status>,
    wanted: Notify,
    /// Somebody has wanted the connection since it came to rest.
    asked: AtomicBool,
    started: AtomicBool,
}

/// What is published of a connection.
#[derive(Clone)]
pub(crate) enum Status {
    /// Not connected, and no attempt has failed.
    Absent,
    /// Calls can be sent.
    Live(Arc<Link>),
    /// The last attempt failed, or the connection broke and is not back yet.
    Down(Unreachable),
}

impl Connection {
    pub(crate) fn new(
        endpoint: Endpoint,
        lane: Lane,
        workshop: Workshop,
        hub: Weak<Hub>,
        serving: Arc<Serving>,
        identity: Arc<Identity>,
        freed: Option<Arc<Notify>>,
    ) -> Self {
        Self {
            desk: Arc::new(Desk {
                endpoint,
                place: serving.place(),
                lane,
                options: workshop.options,
                dialer: workshop.dialer,
                hub,
                serving,
                identity,
                freed,
                status: watch::Sender::new(Status::Absent),
                wanted: Notify::new(),
                asked: AtomicBool::new(false),
                started: AtomicBool::new(false),
            }),
        }
    }

    /// The link, if the connection is up.
    pub(crate) fn live(&self) -> Option<Arc<Link>> {
        match &*self.desk.status.borrow() {
            Status::Live(link) => Some(Arc::clone(link)),
            Status::Absent | Status::Down(_) => None,
        }
    }

    /// Why it is not up, if that is known.
    pub(crate) fn trouble(&self) -> Option<Unreachable> {
        match &*self.desk.status.borrow() {
            Status::Down(cause) => Some(cause.clone()),
            Status::Absent | Status::Live(_) => None,
        }
    }

    /// Makes the driver connect if it is at rest. Outside of a tokio runtime nothing happens.
    pub(crate) fn want(&self, closing: watch::Receiver<()>) {
        if !self.desk.started.load(Ordering::Relaxed) {
            let Ok(runtime) = runtime::present() else {
                return;
            };
            if !self.desk.started.swap(true, Ordering::Relaxed) {
                runtime.spawn(drive(Started(Arc::clone(&self.desk)), closing));
            }
        }
        self.desk.asked.store(true, Ordering::Relaxed);
        self.desk.wanted.notify_one();
    }
}

impl Desk {
    fn publish(&self, status: Status, health: Health) {
        self.status.send_replace(status);
        self.note(health);
    }

    /// Tells whether a connection for streams or waiting calls could be made.
    fn note_lane(&self, connected: bool) {
        if let Some(hub) = self.hub.upgrade() {
            hub.note_lane(self.place, self.lane, connected);
        }
    }

    fn note(&self, health: Health) {
        if let Some(hub) = self.hub.upgrade() {
            hub.note(self.place, self.lane, health);
        }
    }
}

impl Overseer for Arc<Desk> {
    fn is_wanted(&self) -> bool {
        self.is_still_wanted()
    }

    fn grew_old(&self) {
        if let Some(hub) = self.hub.upgrade() {
            hub.grew_old(self.lane);
        }
    }

    fn suspect(&self, suspect: bool) {
        self.note(if suspect { Health::Suspect } else { Health::Up });
    }

    fn others(&self) -> Others {
        match self.hub.upgrade() {
            Some(hub) => hub.others(self.place),
            None => Others::None,
        }
    }

    fn served_elsewhere(&self) -> u64 {
        let hub = self.hub.upgrade();
        hub.map_or(0, |hub| hub.served_elsewhere(self.place))
    }

    fn ask_elsewhere(&self) {
        if let Some(hub) = self.hub.upgrade() {
            hub.ask_elsewhere(self.place);
        }
    }

    fn connect_idle(&self) {
        if let Some(hub) = self.hub.upgrade() {
            hub.connect_idle();
        }
    }
}

/// A driver that runs.
///
/// INVARIANT: it is dropped with the driver's task, also when that ends with its runtime, be it
/// before the first poll. The next call that wants the connection starts another driver, on its own
/// runtime.
struct Started(Arc<Desk>);

impl Drop for Started {
    fn drop(&mut self) {
        let desk = &self.0;
        // ORDER: a link that nobody drives is taken away before it can be wanted again.
        let before = desk.status.send_replace(Status::Absent);
        if let Status::Live(link) = &before {
            link.pulse.drain();
        }
        desk.started.store(false, Ordering::Relaxed);
        desk.asked.store(false, Ordering::Relaxed);
        if !matches!(before, Status::Absent) {
            desk.note(Health::Idle);
        }
    }
}

/// Runs the connection until the client is gone.
async fn drive(started: Started, mut closing: watch::Receiver<()>) {
    let desk = &started.0;
    let mut life = Lifecycle::new(desk.options.retry_timeout);
    let mut interval = desk.options.keep_alive_interval;
    let mut fate: Option<(oneshot::Receiver<Ending>, Arc<Link>)> = None;
    loop {
        tokio::select! {
            biased;
            // The sender is dropped with the client.
            _ = closing.changed() => break,
            () = advance(desk, &mut life, &mut interval, &mut fate) => {}
        }
    }
    // The link goes with `started`; h2 says goodbye once no call holds it any more.
}

/// Does what the phase asks for, and takes the step that follows from it.
async fn advance(
    desk: &Arc<Desk>,
    life: &mut Lifecycle,
    interval: &mut Option<Duration>,
    fate: &mut Option<(oneshot::Receiver<Ending>, Arc<Link>)>,
) {
    match life.phase() {
        Phase::Idle => {
            desk.wanted.notified().await;
            // A wish from before the rest was fulfilled then; nobody has it any more.
            if desk.asked.swap(false, Ordering::Relaxed) {
                life.wanted(now());
            }
        }
        Phase::Pausing(until) => {
            tokio::time::sleep_until(until.into()).await;
            life.pause_over();
        }
        Phase::Connecting => match connect(desk).await {
            Ok(fresh) => {
                let link = Arc::clone(&fresh.link);
                *fate = Some((launch(desk, fresh, *interval), Arc::clone(&link)));
                life.connected();
                // ORDER: the calls that wait look at it when the note comes.
                desk.note_lane(true);
                desk.publish(Status::Live(Arc::clone(&link)), Health::Up);
                // ORDER: whoever says that something else has to be proven does so before it
                // looks for links.
                if !desk.identity.accepts(link.proof()) {
                    link.pulse.drain();
                }
            }
            Err(cause) => failed(desk, life, cause),
        },
        Phase::Live => {
            // INVARIANT: `fate` is set before the phase becomes `Live`, and the phase is another
            // one when this arm is left: nothing here may turn in a circle.
            let (ending, proven) = match fate.as_mut() {
                Some((ending, link)) => (ending.await.ok(), link.pulse.is_proven()),
                None => (None, false),
            };
            *fate = None;
            lost(
                desk,
                life,
                interval,
                ending.unwrap_or_else(unwatched),
                proven,
            );
        }
    }
}

/// One attempt, with what is told of it.
async fn connect(desk: &Desk) -> Result<Fresh, Unreachable> {
    let started = now();
    telemetry::connect_started(desk.name(), &desk.endpoint);
    let outcome = attempt(desk).await;
    let cause = outcome
        .as_ref()
        .err()
        .map(|cause| cause as &dyn std::fmt::Display);
    let duration = now().saturating_duration_since(started);
    telemetry::connect_stopped(desk.name(), &desk.endpoint, duration, cause);
    outcome
}

/// The others are told when it takes long.
async fn attempt(desk: &Desk) -> Result<Fresh, Unreachable> {
    if desk.status.borrow().is_absent() {
        desk.note(Health::Trying);
    }
    let attempt = reach(desk);
    tokio::pin!(attempt);
    tokio::select! {
        biased;
        outcome = &mut attempt => return outcome,
        () = tokio::time::sleep(SLOW) => {}
    }
    desk.note_lane(false);
    if desk.status.borrow().is_absent() {
        desk.note(Health::Slow);
    }
    attempt.await
}

impl Status {
    fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// A connection that calls may be sent over, and that nobody watches over yet.
struct Fresh {
    link: Arc<Link>,
    task: Task,
    ping_pong: PingPong,
    round_trip: Duration,
}

/// Connects, and has the connection prove where it leads.
async fn reach(desk: &Desk) -> Result<Fresh, Unreachable> {
    let wire = handshake::connect(&desk.endpoint, &desk.dialer, &desk.options).await?;
    let link = Link::new(
        NEXT_LINK.fetch_add(1, Ordering::Relaxed),
        desk.endpoint.clone(),
        wire.sender,
        wire.pulse,
        Arc::clone(&desk.serving),
        desk.freed.clone(),
        desk.options.timeout,
    )
    .map_err(|error| Unreachable::with("the endpoint's name cannot stand in a request", error))?;
    let link = Arc::new(link);
    let (verified, limit) = (desk.is_verified(), desk.options.connect_timeout);
    let proof = ask(&link, &desk.identity, verified, limit).await?;
    // INVARIANT: nothing else sets it.
    let _ = link.told.set(proof);
    // A server that proves its cluster and drops each call must not be connected to without pauses.
    link.pulse.unprove();
    Ok(Fresh {
        link,
        task: wire.task,
        ping_pong: wire.ping_pong,
        round_trip: wire.round_trip,
    })
}

/// Starts to watch over a connection.
fn launch(desk: &Arc<Desk>, fresh: Fresh, interval: Option<Duration>) -> oneshot::Receiver<Ending> {
    let (fate, ending) = oneshot::channel();
    let hub = desk.hub.upgrade();
    let probes = desk.lane == Lane::Unary;
    let watcher = Watcher {
        task: fresh.task,
        ping_pong: fresh.ping_pong,
        pulse: Arc::clone(&fresh.link.pulse),
        keep_alive: KeepAlive::new(interval, desk.options.keep_alive_timeout, now()),
        overseer: Arc::clone(desk),
        retire_at: desk.retire_at(),
        fate: Some(fate),
        cut: hub.as_ref().map(|hub| hub.cuts()),
        closing: hub.as_ref().map(|hub| hub.closing()),
        lane: desk.lane,
        serving: Arc::clone(&desk.serving),
        signal: desk.serving.signal(),
        quiet_since: None,
        prober: probes.then(|| Prober::new(&fresh.link, fresh.round_trip)),
    };
    tokio::spawn(watcher.run());
    ending
}

fn failed(desk: &Desk, life: &mut Lifecycle, cause: Unreachable) {
    desk.note_lane(false);
    desk.publish(Status::Down(cause), Health::Down);
    // ORDER: whether it is still wanted may depend on the note that it is down.
    life.failed(now(), fastrand::f64(), desk.is_still_wanted());
    desk.rest(life);
}

/// The watcher's task has gone without a word.
fn unwatched() -> Ending {
    Ending {
        loss: Loss::Abrupt,
        cause: "nobody watches over it any more".to_owned(),
        too_many_pings: false,
    }
}

fn lost(
    desk: &Desk,
    life: &mut Lifecycle,
    interval: &mut Option<Duration>,
    ending: Ending,
    proven: bool,
) {
    if ending.too_many_pings {
        *interval = interval.map(|interval| interval.saturating_mul(2));
        tracing::warn!(
            target: "etcdex",
            endpoint = %desk.endpoint,
            ?interval,
            "the server closed the connection because of too many pings; pinging half as often"
        );
    }
    let lost = ending.loss == Loss::Abrupt;
    telemetry::disconnected(desk.name(), &desk.endpoint, &ending.cause, lost);
    match ending.loss {
        Loss::Abrupt => {
            desk.publish(Status::Down(Unreachable::lost(ending.cause)), Health::Down);
        }
        Loss::Graceful | Loss::Unused => {
            desk.publish(Status::Absent, Health::Idle);
        }
    }
    let wanted = desk.is_still_wanted();
    life.lost(now(), ending.loss, proven, fastrand::f64(), wanted);
    desk.rest(life);
}

impl Desk {
    fn is_still_wanted(&self) -> bool {
        self.hub
            .upgrade()
            .is_some_and(|hub| hub.wants(self.place, self.lane))
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
        if life.phase() == Phase::Idle {
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
