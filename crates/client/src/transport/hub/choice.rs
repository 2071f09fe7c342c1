//! Where a call goes: to which endpoint, over which connection, and the wait for one.

use std::sync::Arc;
use std::time::Duration;

use super::peer::Peer;
use super::{Hub, closed};
use crate::error::{Error, ErrorKind};
use crate::method::Lane;
use crate::mode::Mode;
use crate::transport::Want;
use crate::transport::lane::Waiting;
use crate::transport::link::{Link, Occupancy};

/// A freed place on a full connection is noticed at the latest after this long.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

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
            // An endpoint that does not serve is used only where no other can be hoped for: the
            // next one is connected to within milliseconds, or is found to be slow or down.
            return (!self.is_better_elsewhere(&link)).then(|| Occupancy::of(link));
        };
        let balance = self.balance();
        let peers = self.peers();
        let elsewhere = || {
            balance
                .order(Some(avoided.place))
                .filter_map(|place| peers[place].link(want))
        };
        if let Some(link) = elsewhere().find(|link| link.serves()) {
            return Some(Occupancy::of(link));
        }
        if balance.is_hopeful(Some(avoided.place)) {
            return None;
        }
        // No other is known to serve: one that is connected, a new connection to the same
        // endpoint, or the old one if it answers pings.
        let same = peers[avoided.place].unary.live();
        elsewhere()
            .chain(same)
            .find(|link| link.pulse.is_fit())
            .map(Occupancy::of)
    }

    /// Whether calls over the link had better go elsewhere, and can.
    pub(crate) fn is_better_elsewhere(&self, link: &Link) -> bool {
        !link.serves() && self.balance().is_hopeful(Some(link.place))
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
}
