//! Which endpoints a client has: added, removed, or attached for calls that want one of them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::peer::Peer;
use super::{Balance, Health, Hub};
use crate::endpoint::Endpoint;
use crate::transport::identity::Origin;

impl Hub {
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

    pub(crate) fn add(&self, endpoint: &Endpoint, origin: Origin) -> bool {
        let mut balance = self.balance();
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        let new = self.enlist(&mut balance, &mut peers, endpoint, origin);
        self.publish(balance.chosen());
        // The watcher of a connection that is up connects to the new endpoint, where the mode wants
        // that: the caller need not be within a runtime.
        peers.iter().for_each(|peer| peer.serving.wake());
        new
    }

    /// Uses these endpoints, which must not be none, and no others.
    pub(crate) fn replace(&self, endpoints: &[Endpoint]) {
        // ORDER: under the lock, so that two at once do not mix their endpoints.
        let mut balance = self.balance();
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        for endpoint in endpoints {
            self.enlist(&mut balance, &mut peers, endpoint, Origin::User);
        }
        for (place, peer) in peers.iter().enumerate() {
            if !peer.is_retired() && !endpoints.contains(&peer.endpoint) {
                peer.attached.store(false, Ordering::Relaxed);
                peer.retired.store(true, Ordering::Relaxed);
                balance.retire(place);
            }
        }
        self.publish(balance.chosen());
        peers.iter().for_each(|peer| peer.serving.wake());
    }

    /// Puts an endpoint among those in use; says whether it is new there.
    fn enlist(
        &self,
        balance: &mut Balance,
        peers: &mut Vec<Arc<Peer>>,
        endpoint: &Endpoint,
        origin: Origin,
    ) -> bool {
        let known = peers.iter().position(|peer| peer.endpoint == *endpoint);
        let Some(place) = known else {
            let place = peers.len();
            let peer = Peer::new(place, endpoint, origin, &self.workshop, &self.this);
            peers.push(peer);
            balance.add();
            return true;
        };
        peers[place].set_origin(origin);
        balance.reinstate(place);
        // Its driver has told of the connection when nobody listened, and has no reason to tell
        // again.
        let live = peers[place].unary.live();
        let was_retired = peers[place].is_retired();
        if was_retired && live.is_some_and(|link| !link.pulse.is_draining()) {
            balance.note(place, Health::Up);
        }
        peers[place].attached.store(false, Ordering::Relaxed);
        peers[place].retired.swap(false, Ordering::Relaxed)
    }

    /// Gives an endpoint a place without using it for calls that could go elsewhere.
    pub(crate) fn attach(&self, endpoint: &Endpoint, origin: Origin) -> usize {
        let mut balance = self.balance();
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        let known = peers.iter().position(|peer| peer.endpoint == *endpoint);
        let place = known.unwrap_or_else(|| {
            let place = peers.len();
            let peer = Peer::new(place, endpoint, origin, &self.workshop, &self.this);
            peer.retired.store(true, Ordering::Relaxed);
            peers.push(peer);
            balance.add();
            balance.retire(place);
            self.chosen.store(balance.chosen(), Ordering::Relaxed);
            place
        });
        let peer = &peers[place];
        // The word of the user who has named it is worth more.
        if peer.is_retired() || peer.origin() != Origin::User {
            peer.set_origin(origin);
        }
        peer.attached.store(true, Ordering::Relaxed);
        place
    }

    /// Has each connection to the endpoint tell its member.
    pub(crate) fn ask_member(&self, place: usize) {
        self.peer(place).ask_member();
    }

    /// Whether a call for a member by its ID has found another one at the endpoint since the last
    /// time.
    pub(crate) fn take_misled(&self, place: usize) -> bool {
        self.peer(place).take_misled()
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
}
