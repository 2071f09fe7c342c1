//! gRPC over HTTP/2, and the connections below it.
//!
//! What this layer promises: a place on a live connection ([`Transport::occupy`]), a call over
//! it ([`Exchange`], [`stream`]), and for every failure whether the request may have reached a
//! server. A call never passes through the task that owns a connection: it takes the published
//! link, and sends and receives in its own task.
//!
//! ```text
//! state.rs   what a connection does next      PURE
//! keepalive.rs   when to ping, doubt, give up PURE     driver.rs    connects, publishes, starts over
//! balance.rs     which endpoint calls go to   PURE     watcher.rs   pings and drains what is up
//! backoff.rs     pauses                       PURE     handshake.rs endpoint -> answering connection
//! link.rs        a live connection, as calls see it     pulse.rs  its signs of life
//! ```

mod backoff;
mod balance;
mod driver;
mod failure;
mod grpc;
mod handshake;
mod keepalive;
mod lane;
mod link;
mod pulse;
mod state;
pub(crate) mod stream;
mod tcp;
mod unary;
mod watcher;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;

pub(crate) use failure::Failure;
pub(crate) use grpc::frame;
pub(crate) use link::{Head, Occupancy};
pub(crate) use pulse::now;
pub(crate) use unary::Exchange;

use self::balance::{Balance, Health};
use self::driver::Connection;
use self::handshake::Unreachable;
use self::lane::{Lanes, Waiting};
use crate::config::Config;
use crate::connector::Connector;
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind};
use crate::method::Lane;

/// A freed place on a full connection is noticed at the latest after this long.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// All connections of a client. Dropping it closes them.
pub(crate) struct Transport {
    hub: Arc<Hub>,
    /// Dropped with the transport: every driver then comes to its end.
    _closing: watch::Sender<()>,
}

/// Where a call wants to go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Want {
    pub(crate) lane: Lane,
    /// Only this endpoint.
    pub(crate) member: Option<usize>,
    /// Not over this link, and if possible not to its endpoint.
    pub(crate) avoided: Option<Avoided>,
}

/// A link that a call has failed on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avoided {
    pub(crate) place: usize,
    pub(crate) link: u64,
}

/// What drivers and calls share.
pub(crate) struct Hub {
    peers: Vec<Peer>,
    balance: Mutex<Balance>,
    /// A copy of the balance's choice, for the way without a lock.
    chosen: AtomicUsize,
    /// Counts up whenever a connection changes.
    changes: watch::Sender<u64>,
    closing: watch::Receiver<()>,
    closed: AtomicBool,
}

/// One endpoint and the connections to it.
struct Peer {
    endpoint: Endpoint,
    unary: Connection,
    /// Calls that wait for this endpoint and no other.
    waiting: AtomicUsize,
    streams: Lanes,
    waits: Lanes,
}

impl Transport {
    pub(crate) fn new(config: &Config) -> Self {
        let (closing_sender, closing) = watch::channel(());
        let options = Arc::new(config.options.clone());
        let connector: Arc<dyn Connector> = match &options.connector {
            Some(own) => Arc::clone(own),
            None => Arc::new(tcp::SocketConnector {
                bind_address: options.bind_address,
                nodelay: options.nodelay,
            }),
        };
        let balance = Balance::new(config.endpoints.len(), fastrand::usize(..));
        let hub = Arc::new_cyclic(|hub: &Weak<Hub>| {
            let peer = |(place, endpoint): (usize, &Endpoint)| {
                let make = {
                    let (endpoint, options, connector, hub) = (
                        endpoint.clone(),
                        Arc::clone(&options),
                        Arc::clone(&connector),
                        hub.clone(),
                    );
                    move |lane| {
                        Connection::new(
                            endpoint.clone(),
                            place,
                            lane,
                            Arc::clone(&options),
                            Arc::clone(&connector),
                            hub.clone(),
                        )
                    }
                };
                let (for_streams, for_waits) = (make.clone(), make.clone());
                Peer {
                    endpoint: endpoint.clone(),
                    unary: make(Lane::Unary),
                    waiting: AtomicUsize::new(0),
                    streams: Lanes::new(move || for_streams(Lane::Stream)),
                    waits: Lanes::new(move || for_waits(Lane::Wait)),
                }
            };
            Hub {
                peers: config.endpoints.iter().enumerate().map(peer).collect(),
                chosen: AtomicUsize::new(balance.chosen()),
                balance: Mutex::new(balance),
                changes: watch::Sender::new(0),
                closing,
                closed: AtomicBool::new(false),
            }
        });
        Self {
            hub,
            _closing: closing_sender,
        }
    }

    /// Starts to connect, and waits until a connection is up or every endpoint has failed.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        let want = Want {
            lane: Lane::Unary,
            member: None,
            avoided: None,
        };
        let mut changes = self.hub.changes.subscribe();
        loop {
            changes.borrow_and_update();
            if self.hub.occupy_now(want).is_some() {
                return Ok(());
            }
            if let Some(error) = self.hub.all_down() {
                return Err(error);
            }
            self.hub.wake(want);
            // INVARIANT: the hub holds the sender, and this holds the hub.
            let _ = changes.changed().await;
        }
    }

    /// A place on a connection that is up right now.
    pub(crate) fn occupy_now(&self, want: Want) -> Option<Occupancy> {
        self.hub.occupy_now(want)
    }

    /// A place on a connection, as soon as there is one. It waits for as long as it takes: the
    /// caller has the clock.
    pub(crate) fn occupy(
        &self,
        want: Want,
    ) -> impl Future<Output = Result<Occupancy, Error>> + Send + 'static {
        let hub = Arc::clone(&self.hub);
        async move { hub.occupy(want).await }
    }

    /// Why no connection is up, in words, for a call that has waited in vain.
    pub(crate) fn trouble(&self, want: Want) -> Option<(Endpoint, Unreachable)> {
        let place = want.member.unwrap_or_else(|| self.hub.chosen());
        self.hub
            .balance()
            .order(None)
            .filter(|&other| want.member.is_none() || other == place)
            .find_map(|place| {
                let peer = &self.hub.peers[place];
                Some((peer.endpoint.clone(), peer.unary.trouble()?))
            })
    }

    /// The place of an endpoint among the client's.
    pub(crate) fn place_of(&self, endpoint: &Endpoint) -> Option<usize> {
        self.hub
            .peers
            .iter()
            .position(|peer| peer.endpoint == *endpoint)
    }

    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.hub.peers.iter().map(|peer| &peer.endpoint)
    }

    /// Takes no new calls from now on.
    pub(crate) fn close(&self) {
        self.hub.closed.store(true, Ordering::Relaxed);
        self.hub.changes.send_modify(|count| *count += 1);
    }

    /// Whether another endpoint than that could be tried.
    pub(crate) fn has_elsewhere(&self, want: Want) -> bool {
        want.member.is_none() && self.hub.peers.len() > 1
    }
}

impl Hub {
    fn balance(&self) -> MutexGuard<'_, Balance> {
        // Nothing panics while it is held.
        self.balance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn chosen(&self) -> usize {
        self.chosen.load(Ordering::Relaxed)
    }

    /// Notes what a driver tells.
    pub(crate) fn note(&self, place: usize, lane: Lane, health: Health) {
        if lane == Lane::Unary {
            let to_wake = {
                let mut balance = self.balance();
                balance.note(place, health);
                self.chosen.store(balance.chosen(), Ordering::Relaxed);
                balance.to_wake(None)
            };
            if let Some(next) = to_wake {
                self.peers[next].unary.want(self.closing.clone());
            }
        }
        self.changes.send_modify(|count| *count += 1);
    }

    /// Whether a connection should be kept, or tried for.
    pub(crate) fn wants(&self, place: usize, lane: Lane) -> bool {
        let peer = &self.peers[place];
        let waiting = match lane {
            Lane::Unary => {
                return self.balance().wants(place) || peer.waiting.load(Ordering::Relaxed) > 0;
            }
            Lane::Stream => &peer.streams.waiting,
            Lane::Wait => &peer.waits.waiting,
        };
        waiting.load(Ordering::Relaxed) > 0
    }

    fn occupy_now(&self, want: Want) -> Option<Occupancy> {
        match want.lane {
            Lane::Unary => self.unary(want),
            Lane::Stream | Lane::Wait => {
                // The unary connection tells which endpoint is well.
                let place = self.unary(want)?.link().place;
                self.lanes(place, want.lane)?
                    .occupy(want.avoided.map(|avoided| avoided.link))
            }
        }
    }

    fn lanes(&self, place: usize, lane: Lane) -> Option<&Lanes> {
        match lane {
            Lane::Unary => None,
            Lane::Stream => Some(&self.peers[place].streams),
            Lane::Wait => Some(&self.peers[place].waits),
        }
    }

    fn unary(&self, want: Want) -> Option<Occupancy> {
        if self.closed.load(Ordering::Relaxed) {
            return None;
        }
        let at = |place: usize| {
            let link = self.peers[place].unary.live()?;
            let refused = want.avoided.is_some_and(|avoided| avoided.link == link.id);
            (!refused).then_some(link)
        };
        if let Some(member) = want.member {
            return at(member).map(Occupancy::of);
        }
        let chosen = self.chosen();
        if want.avoided.is_none() {
            let link = at(chosen)?;
            // A suspect is used when there is nothing better; the balance would know.
            return (!link.pulse.is_draining()).then(|| Occupancy::of(link));
        }
        let avoided = want.avoided.map(|avoided| avoided.place);
        let balance = self.balance();
        let elsewhere = balance.order(avoided).filter_map(at);
        let mut fit = elsewhere.filter(|link| link.pulse.is_fit());
        if let Some(link) = fit.next() {
            return Some(Occupancy::of(link));
        }
        // Nobody else can be hoped for: a new connection to the same endpoint, or the old one
        // if it is well.
        let hopeless = !balance.is_hopeful(avoided);
        drop(fit);
        let same = self.peers[avoided.unwrap_or(chosen)].unary.live();
        same.filter(|link| hopeless && link.pulse.is_fit())
            .map(Occupancy::of)
    }

    /// Makes what the call wants connect, if it is at rest.
    fn wake(&self, want: Want) {
        let next = match want.member {
            Some(member) => Some(member),
            None => {
                let balance = self.balance();
                let avoided = want.avoided.map(|avoided| avoided.place);
                balance.to_wake(avoided).or_else(|| balance.to_wake(None))
            }
        };
        if let Some(next) = next {
            self.peers[next].unary.want(self.closing.clone());
        }
    }

    async fn occupy(&self, want: Want) -> Result<Occupancy, Error> {
        let mut changes = self.changes.subscribe();
        let _waiting = want
            .member
            .map(|member| Waiting::on(&self.peers[member].waiting));
        loop {
            changes.borrow_and_update();
            if self.closed.load(Ordering::Relaxed) {
                return Err(closed());
            }
            if let Some(occupancy) = self.occupy_now(want) {
                return Ok(occupancy);
            }
            let lanes = match self.unary(want) {
                None => {
                    self.wake(want);
                    None
                }
                Some(unary) => self.lanes(unary.link().place, want.lane),
            };
            let Some(lanes) = lanes else {
                // INVARIANT: the hub holds the sender, and this holds the hub.
                let _ = changes.changed().await;
                continue;
            };
            let _on_lane = Waiting::on(&lanes.waiting);
            lanes.grow(&self.closing);
            // A time-out is a look at places that were freed; nobody announces those.
            let _ = tokio::time::timeout(LOOK_AGAIN, changes.changed()).await;
        }
    }

    /// The error of the first endpoint, if all have failed.
    fn all_down(&self) -> Option<Error> {
        let order: Vec<usize> = self.balance().order(None).collect();
        let mut troubles = Vec::new();
        for place in order {
            let peer = &self.peers[place];
            troubles.push((&peer.endpoint, peer.unary.trouble()?));
        }
        let (endpoint, cause) = troubles.first()?;
        let others = match troubles.len() {
            1 => String::new(),
            count => format!(", nor to the other {}", count - 1),
        };
        let error = Error::new(
            ErrorKind::Unavailable,
            format!("no connection to {endpoint}{others}: {cause}"),
        );
        Some(error.with_source(cause.clone()))
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the client was closed")
}
