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
use crate::transport::link::Occupancy;

/// A freed place on a full connection is noticed at the latest after this long.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

impl Hub {
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
}
