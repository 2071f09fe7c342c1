//! What drivers and calls share: the endpoints, their connections, and the choice among them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, Weak};
use std::time::Duration;

use tokio::sync::watch;

use super::Want;
use super::balance::{Balance, Health};
use super::dial::Dialer;
use super::driver::Connection;
use super::handshake::Unreachable;
use super::lane::{Lanes, Waiting};
use super::link::{Link, Occupancy};
use crate::config::Options;
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind};
use crate::method::Lane;
use crate::mode::Mode;

/// A freed place on a full connection is noticed at the latest after this long.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

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
}

/// What is known of an endpoint.
pub(crate) struct Seen {
    pub(crate) endpoint: Endpoint,
    pub(crate) health: Health,
    /// Why the last attempt failed, or the connection was lost.
    pub(crate) trouble: Option<Unreachable>,
    /// Calls under way on its unary connection.
    pub(crate) calls: usize,
}

/// What connections are made with.
#[derive(Clone)]
pub(crate) struct Workshop {
    pub(crate) options: Arc<Options>,
    pub(crate) dialer: Arc<Dialer>,
}

/// One endpoint and the connections to it.
struct Peer {
    endpoint: Endpoint,
    unary: Connection,
    /// Calls that wait for this endpoint and no other.
    waiting: AtomicUsize,
    streams: Lanes,
    waits: Lanes,
    /// It is none of the client's endpoints.
    retired: AtomicBool,
    /// Calls may go there all the same, if they want this endpoint and no other.
    attached: AtomicBool,
}

impl Peer {
    fn new(place: usize, endpoint: &Endpoint, workshop: &Workshop, hub: &Weak<Hub>) -> Arc<Self> {
        let make = {
            let (endpoint, workshop, hub) = (endpoint.clone(), workshop.clone(), hub.clone());
            move |lane| {
                Connection::new(
                    endpoint.clone(),
                    place,
                    lane,
                    Arc::clone(&workshop.options),
                    Arc::clone(&workshop.dialer),
                    hub.clone(),
                )
            }
        };
        let (for_streams, for_waits) = (make.clone(), make.clone());
        Arc::new(Self {
            endpoint: endpoint.clone(),
            unary: make(Lane::Unary),
            waiting: AtomicUsize::new(0),
            streams: Lanes::new(move || for_streams(Lane::Stream)),
            waits: Lanes::new(move || for_waits(Lane::Wait)),
            retired: AtomicBool::new(false),
            attached: AtomicBool::new(false),
        })
    }

    fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    /// Whether no call may go there.
    fn is_gone(&self) -> bool {
        self.is_retired() && !self.attached.load(Ordering::Relaxed)
    }

    fn lanes(&self, lane: Lane) -> Option<&Lanes> {
        match lane {
            Lane::Unary => None,
            Lane::Stream => Some(&self.streams),
            Lane::Wait => Some(&self.waits),
        }
    }

    /// The link for new calls, unless it is the one that a call has failed on.
    fn link(&self, want: Want) -> Option<Arc<Link>> {
        // INVARIANT: a link that takes no more calls is given to none: trying it again at once
        // would fail at once, for ever.
        let link = self.unary.live().filter(|link| !link.pulse.is_draining())?;
        let refused = want.avoided.is_some_and(|avoided| avoided.link == link.id);
        (!refused).then_some(link)
    }
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
                    .map(|(place, endpoint)| Peer::new(place, endpoint, &workshop, hub))
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

    pub(crate) fn count(&self) -> usize {
        self.peers()
            .iter()
            .filter(|peer| !peer.is_retired())
            .count()
    }

    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        let peers = self.peers();
        let in_use = peers.iter().filter(|peer| !peer.is_retired());
        in_use.map(|peer| peer.endpoint.clone()).collect()
    }

    pub(crate) fn place_of(&self, endpoint: &Endpoint) -> Option<usize> {
        self.peers()
            .iter()
            .position(|peer| peer.endpoint == *endpoint && !peer.is_retired())
    }

    /// Why this endpoint can never be reached, if that is so.
    pub(crate) fn refusal(&self, endpoint: &Endpoint) -> Option<&'static str> {
        self.workshop.dialer.refusal(endpoint)
    }

    pub(crate) fn add(&self, endpoint: &Endpoint) -> bool {
        let mut balance = self.balance();
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        let known = peers.iter().position(|peer| peer.endpoint == *endpoint);
        let new = match known {
            Some(place) => {
                balance.reinstate(place);
                // Its driver has told of the connection when nobody listened, and has no reason
                // to tell again.
                let live = peers[place].unary.live();
                if live.is_some_and(|link| !link.pulse.is_draining()) {
                    balance.note(place, Health::Up);
                }
                peers[place].attached.store(false, Ordering::Relaxed);
                peers[place].retired.swap(false, Ordering::Relaxed)
            }
            None => {
                let place = peers.len();
                peers.push(Peer::new(place, endpoint, &self.workshop, &self.this));
                balance.add();
                true
            }
        };
        self.publish(balance.chosen());
        new
    }

    /// Gives an endpoint a place without using it for calls that could go elsewhere.
    pub(crate) fn attach(&self, endpoint: &Endpoint) -> usize {
        let mut balance = self.balance();
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        let known = peers.iter().position(|peer| peer.endpoint == *endpoint);
        let place = known.unwrap_or_else(|| {
            let place = peers.len();
            let peer = Peer::new(place, endpoint, &self.workshop, &self.this);
            peer.retired.store(true, Ordering::Relaxed);
            peers.push(peer);
            balance.add();
            balance.retire(place);
            self.chosen.store(balance.chosen(), Ordering::Relaxed);
            place
        });
        peers[place].attached.store(true, Ordering::Relaxed);
        place
    }

    pub(crate) fn remove(&self, endpoint: &Endpoint) -> bool {
        // ORDER: under the lock, so that two at once cannot remove the last two.
        let mut balance = self.balance();
        let Some(place) = self.place_of(endpoint).filter(|_| self.count() > 1) else {
            return false;
        };
        self.peer(place).attached.store(false, Ordering::Relaxed);
        self.peer(place).retired.store(true, Ordering::Relaxed);
        balance.retire(place);
        self.publish(balance.chosen());
        true
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

    /// Where a call without a wish of its own goes.
    fn place(&self) -> usize {
        let chosen = self.chosen();
        let fit = |peer: &Arc<Peer>| peer.unary.live().filter(|link| link.pulse.is_fit());
        match self.workshop.options.mode {
            Mode::PickFirst => chosen,
            Mode::Random => {
                let peers = self.peers();
                let start = fastrand::usize(..peers.len());
                let mut order = (start..peers.len()).chain(0..start);
                order
                    .find(|&place| !peers[place].is_retired() && fit(&peers[place]).is_some())
                    .unwrap_or(chosen)
            }
            Mode::ConnectAll => {
                let peers = self.peers();
                let in_use = peers
                    .iter()
                    .enumerate()
                    .filter(|(_, peer)| !peer.is_retired());
                let open =
                    in_use.filter_map(|(place, peer)| Some((fit(peer)?.pulse.open(), place)));
                open.min().map_or(chosen, |(_, place)| place)
            }
        }
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
                self.peer(next).unary.want(self.closing.clone());
            }
        }
        self.changes.send_modify(|count| *count += 1);
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

    pub(crate) fn occupy_now(&self, want: Want) -> Option<Occupancy> {
        match want.lane {
            Lane::Unary => self.unary(want),
            Lane::Stream | Lane::Wait => {
                // The unary connection tells which endpoint is well.
                let place = self.unary(want)?.link().place;
                self.peer(place)
                    .lanes(want.lane)?
                    .occupy(want.avoided.map(|avoided| avoided.link))
            }
        }
    }

    fn unary(&self, want: Want) -> Option<Occupancy> {
        if self.is_closed_to(want) {
            return None;
        }
        if let Some(member) = want.member {
            let peer = self.peer(member);
            return peer
                .link(want)
                .filter(|_| !peer.is_gone())
                .map(Occupancy::of);
        }
        let Some(avoided) = want.avoided else {
            // ORDER: `place` reads the peers too, and a lock that is read twice by one thread
            // stands still for ever when somebody waits to write.
            let place = self.place();
            let link = self.peers()[place].link(want)?;
            // A suspect is used when there is nothing better; the balance would know.
            return (!link.pulse.is_draining()).then(|| Occupancy::of(link));
        };
        let balance = self.balance();
        let peers = self.peers();
        let elsewhere = balance
            .order(Some(avoided.place))
            .filter_map(|place| peers[place].link(want))
            .find(|link| link.pulse.is_fit());
        if let Some(link) = elsewhere {
            return Some(Occupancy::of(link));
        }
        // Nobody else can be hoped for: a new connection to the same endpoint, or the old one
        // if it is well.
        let hopeless = !balance.is_hopeful(Some(avoided.place));
        let same = peers[avoided.place].unary.live();
        same.filter(|link| hopeless && link.pulse.is_fit())
            .map(Occupancy::of)
    }

    /// Makes what the call wants connect, if it is at rest.
    pub(crate) fn wake(&self, want: Want) {
        let next = match want.member {
            Some(member) => Some(member),
            None => {
                let balance = self.balance();
                let avoided = want.avoided.map(|avoided| avoided.place);
                balance.to_wake(avoided).or_else(|| balance.to_wake(None))
            }
        };
        if let Some(next) = next {
            self.peer(next).unary.want(self.closing.clone());
        }
    }

    pub(crate) async fn occupy(&self, want: Want) -> Result<Occupancy, Error> {
        let mut changes = self.changes.subscribe();
        let member = want.member.map(|member| self.peer(member));
        let _waiting = member.as_ref().map(|member| Waiting::on(&member.waiting));
        loop {
            changes.borrow_and_update();
            if self.is_closed_to(want) {
                return Err(closed());
            }
            if member.as_ref().is_some_and(|member| member.is_gone()) {
                let message = "the endpoint is none of the client's any more";
                return Err(Error::new(ErrorKind::Config, message));
            }
            if let Some(occupancy) = self.occupy_now(want) {
                return Ok(occupancy);
            }
            let peer = match self.unary(want) {
                None => {
                    self.wake(want);
                    None
                }
                Some(unary) => Some(self.peer(unary.link().place)),
            };
            let Some(lanes) = peer.as_ref().and_then(|peer| peer.lanes(want.lane)) else {
                // INVARIANT: the hub holds the sender, and this holds the hub.
                let _ = changes.changed().await;
                continue;
            };
            let _on_lane = Waiting::on(&lanes.waiting);
            lanes.grow(want.avoided.map(|avoided| avoided.link), &self.closing);
            // A time-out is a look at places that were freed; nobody announces those.
            let _ = tokio::time::timeout(LOOK_AGAIN, changes.changed()).await;
        }
    }

    pub(crate) fn trouble(&self, want: Want) -> Option<(Endpoint, Unreachable)> {
        let places: Vec<usize> = match want.member {
            Some(member) => vec![member],
            None => self.balance().order(None).collect(),
        };
        places.into_iter().find_map(|place| {
            let peer = self.peer(place);
            Some((peer.endpoint.clone(), peer.unary.trouble()?))
        })
    }

    /// What is known of each endpoint that is in use.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let balance = self.balance();
        let peers = self.peers();
        let in_use = peers
            .iter()
            .enumerate()
            .filter(|(_, peer)| !peer.is_retired());
        let seen = in_use.map(|(place, peer)| Seen {
            endpoint: peer.endpoint.clone(),
            health: balance.health(place),
            trouble: peer.unary.trouble(),
            calls: peer.unary.live().map_or(0, |link| link.pulse.open()),
        });
        seen.collect()
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

    /// The error of the first endpoint, if all have failed.
    pub(crate) fn all_down(&self) -> Option<Error> {
        let order: Vec<usize> = self.balance().order(None).collect();
        let mut troubles = Vec::new();
        for place in order {
            let peer = self.peer(place);
            troubles.push((peer.endpoint.clone(), peer.unary.trouble()?));
        }
        let (endpoint, cause) = troubles.first()?;
        let others = match troubles.len() {
            1 => String::new(),
            count => format!(", nor to the other {}", count - 1),
        };
        let error = Error::new(
            cause.kind(),
            format!("no connection to {endpoint}{others}: {cause}"),
        );
        Some(error.with_source(cause.clone()))
    }
}

/// The error of a call that came too late.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the client was closed")
}
