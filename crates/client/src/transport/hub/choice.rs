//! Where a call goes: to which endpoint, over which connection, and the wait for one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::peer::Peer;
use super::{Hub, closed};
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Outcome};
use crate::method::Lane;
use crate::mode::Mode;
use crate::transport::Want;
use crate::transport::lane::Waiting;
use crate::transport::link::{Link, Occupancy};
use crate::transport::pulse::now;

/// What nobody announces is noticed after this long: a server that allows more streams than
/// before.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

impl Hub {
    /// Where a call without a wish of its own goes.
    fn place(&self) -> usize {
        let chosen = self.chosen();
        let fit = |peer: &Arc<Peer>| peer.unary.live().filter(|link| link.serves());
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
                // The first of the least busy is taken: a random start spreads ties.
                let start = fastrand::usize(..peers.len());
                let order = (start..peers.len()).chain(0..start);
                let in_use = order.filter(|&place| !peers[place].is_retired());
                let open =
                    in_use.filter_map(|place| Some((fit(&peers[place])?.pulse.open(), place)));
                let least = open.min_by_key(|(open, _)| *open);
                least.map_or(chosen, |(_, place)| place)
            }
        }
    }

    pub(crate) fn occupy_now(&self, want: Want) -> Option<Occupancy> {
        match self.pick(want) {
            Some(link) => self.occupy_at(want, link),
            None => self.occupy_last(want),
        }
    }

    /// A place at the endpoint that was picked.
    fn occupy_at(&self, want: Want, link: Arc<Link>) -> Option<Occupancy> {
        match self.peer(link.place).lanes(want.lane) {
            None => Some(Occupancy::of(link)),
            Some(lanes) => lanes.occupy(
                want.avoided.map(|avoided| avoided.link),
                want.member.and_then(|member| member.id),
            ),
        }
    }

    /// A place for a stream or a waiting call where no endpoint has a unary connection or may soon
    /// have one: a connection that has room is as good.
    fn occupy_last(&self, want: Want) -> Option<Occupancy> {
        if want.lane == Lane::Unary || want.member.is_some() || self.is_closed_to(want) {
            return None;
        }
        let balance = self.balance();
        if balance.is_hopeful(|_| false) {
            return None;
        }
        let peers = self.peers();
        let avoided = want.avoided.map(|avoided| avoided.link);
        let lanes = |place: usize| peers[place].lanes(want.lane);
        let mut order = balance.order(None);
        order.find_map(|place| lanes(place)?.occupy(avoided, None))
    }

    /// The unary connection of the endpoint for a call. For streams and waiting calls too, it tells
    /// which endpoint is well. `None` while a connection has to be waited for.
    fn pick(&self, want: Want) -> Option<Arc<Link>> {
        if self.is_closed_to(want) {
            return None;
        }
        if let Some(member) = want.member {
            let peer = self.peer(member.place);
            return peer.link(want).filter(|_| !peer.is_gone());
        }
        if want.avoided.is_some() {
            return self.pick_elsewhere(want);
        }
        // ORDER: `place` reads the peers too, and a lock that is read twice by one thread stands
        // still for ever when somebody waits to write.
        let place = self.place();
        let peer = self.peer(place);
        if want.lane != Lane::Unary && peer.is_avoided(want.lane, now()) {
            return self.pick_elsewhere(want);
        }
        // An endpoint that does not serve is used only where no other can be hoped for: the next
        // one is connected to within milliseconds, or is found to be slow or down.
        let link = peer.link(want)?;
        (!self.is_better_elsewhere(&link)).then_some(link)
    }

    /// The same for a call that had better not go to some of the endpoints.
    fn pick_elsewhere(&self, want: Want) -> Option<Arc<Link>> {
        let balance = self.balance();
        let peers = self.peers();
        let moment = now();
        let avoided = |place: usize| is_avoided(want, place, &peers[place], moment);
        let links = || {
            let order = balance.order(None);
            order.filter_map(|place| peers[place].link(want))
        };
        if let Some(link) = links().find(|link| link.serves() && !avoided(link.place)) {
            return Some(link);
        }
        if balance.is_hopeful(avoided) {
            return None;
        }
        // No other is known to serve: one that is connected, a new connection to the same endpoint,
        // or the old one if it answers pings.
        let same = want.avoided.map(|avoided| avoided.place);
        let elsewhere = links().filter(|link| Some(link.place) != same);
        let same = same.and_then(|place| peers[place].unary.live());
        elsewhere.chain(same).find(|link| link.pulse.is_fit())
    }

    /// Whether calls over the link had better go elsewhere, and can.
    pub(crate) fn is_better_elsewhere(&self, link: &Link) -> bool {
        !link.serves() && self.balance().is_hopeful(|place| place == link.place)
    }

    /// Makes what the call wants connect, if it is at rest.
    pub(crate) fn wake(&self, want: Want) {
        let next = match want.member {
            Some(member) => Some(member.place),
            None => {
                let balance = self.balance();
                let peers = self.peers();
                let moment = now();
                let avoided = |place: usize| is_avoided(want, place, &peers[place], moment);
                balance
                    .to_wake(avoided)
                    .or_else(|| balance.to_wake(|_| false))
            }
        };
        if let Some(next) = next {
            self.peer(next).unary.want(self.closing.clone());
        }
    }

    pub(crate) async fn occupy(&self, want: Want) -> Result<Occupancy, Error> {
        let mut changes = self.changes.subscribe();
        let member = want.member.map(|member| self.peer(member.place));
        let id = want.member.and_then(|member| member.id);
        let _waiting = member.as_ref().map(|member| Waiting::on(&member.waiting));
        let mut passes_on = false;
        loop {
            changes.borrow_and_update();
            if self.is_closed_to(want) {
                return Err(closed());
            }
            if member.as_ref().is_some_and(|member| member.is_gone()) {
                let message = "the endpoint is none of the client's any more";
                return Err(Error::new(ErrorKind::Config, message));
            }
            if let (Some(peer), Some(id)) = (&member, id) {
                if let Some(other) = peer.misleads(Some(id)) {
                    return Err(misled(&peer.endpoint, id, other));
                }
            }
            // INVARIANT: the call waits at the endpoint where it found no place. `pick` may be random:
            // a second pick could give another endpoint, which has a place that is never announced.
            let picked = self.pick(want);
            let occupancy = match picked.clone() {
                Some(link) => self.occupy_at(want, link),
                None => self.occupy_last(want),
            };
            if let Some(occupancy) = occupancy {
                if let Some(lanes) = self.peer(occupancy.link().place).lanes(want.lane) {
                    if passes_on {
                        lanes.freed.notify_one();
                    }
                }
                return Ok(occupancy);
            }
            let peer = match picked {
                None => {
                    self.wake(want);
                    None
                }
                Some(link) => Some(self.peer(link.place)),
            };
            let Some(lanes) = peer.as_ref().and_then(|peer| peer.lanes(want.lane)) else {
                // INVARIANT: the hub holds the sender, and this holds the hub.
                let _ = changes.changed().await;
                continue;
            };
            let _on_lane = Waiting::on(&lanes.waiting);
            lanes.grow(want.avoided.map(|avoided| avoided.link), &self.closing);
            tokio::select! {
                // INVARIANT: the hub holds the sender, and this holds the hub.
                _ = changes.changed() => {}
                // The next one that waits is told by this one, if there is more than one place.
                () = lanes.freed.notified() => passes_on = true,
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }
}

/// The error of a call for a member whose URL leads to another one.
fn misled(endpoint: &Endpoint, id: u64, other: u64) -> Error {
    let message = format!(
        "member {id:x} is not at its URL any more: {endpoint} leads to member {other:x}; ask for \
         member_with_id again"
    );
    Error::new(ErrorKind::MemberNotFound, message).with_outcome(Outcome::NotSent)
}

/// Whether a call had better not go to an endpoint: it has failed there, or no connection of its
/// lane can be made there.
fn is_avoided(want: Want, place: usize, peer: &Peer, moment: Instant) -> bool {
    want.avoided.is_some_and(|avoided| avoided.place == place) || peer.is_avoided(want.lane, moment)
}
