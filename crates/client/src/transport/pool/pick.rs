//! Where a call goes: to which endpoint, over which connection, and the wait for one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::endpoint_pool::EndpointPool;
use super::{Pool, closed};
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Outcome};
use crate::method::Lane;
use crate::mode::Mode;
use crate::transport::PickInfo;
use crate::transport::lane::WaitGuard;
use crate::transport::link::{Link, StreamPermit};
use crate::transport::link_state::now;

/// What nobody announces is noticed after this long: a server that allows more streams than
/// before.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

impl Pool {
    /// Where a call without a wish of its own goes.
    fn pick_endpoint(&self) -> usize {
        let chosen = self.chosen();
        let fit = |pool: &Arc<EndpointPool>| pool.unary.live().filter(|link| link.serves());
        match self.context.options.mode {
            Mode::PickFirst => chosen,
            Mode::Random => {
                let pools = self.pools();
                let start = fastrand::usize(..pools.len());
                let mut order = (start..pools.len()).chain(0..start);
                order
                    .find(|&place| !pools[place].is_retired() && fit(&pools[place]).is_some())
                    .unwrap_or(chosen)
            }
            Mode::ConnectAll => {
                let pools = self.pools();
                // The first of the least busy is taken: a random start spreads ties.
                let start = fastrand::usize(..pools.len());
                let order = (start..pools.len()).chain(0..start);
                let in_use = order.filter(|&place| !pools[place].is_retired());
                let open =
                    in_use.filter_map(|place| Some((fit(&pools[place])?.state.open(), place)));
                let least = open.min_by_key(|(open, _)| *open);
                least.map_or(chosen, |(_, place)| place)
            }
        }
    }

    pub(crate) fn try_acquire(&self, pick: PickInfo) -> Option<StreamPermit> {
        match self.pick_link(pick) {
            Some(link) => self.acquire_at(pick, link),
            None => self.acquire_any(pick),
        }
    }

    /// A place at the endpoint that was picked.
    fn acquire_at(&self, pick: PickInfo, link: Arc<Link>) -> Option<StreamPermit> {
        match self.pool(link.place).lanes(pick.lane) {
            None => Some(StreamPermit::new(link)),
            Some(lanes) => lanes.acquire(
                pick.avoided.map(|avoided| avoided.link),
                pick.member.and_then(|member| member.id),
            ),
        }
    }

    /// A place for a stream or a waiting call where no endpoint has a unary connection or may soon
    /// have one: a connection that has room is as good.
    fn acquire_any(&self, pick: PickInfo) -> Option<StreamPermit> {
        if pick.lane == Lane::Unary || pick.member.is_some() || self.is_closed_to(pick) {
            return None;
        }
        let balance = self.balance();
        if balance.is_hopeful(|_| false) {
            return None;
        }
        let pools = self.pools();
        let avoided = pick.avoided.map(|avoided| avoided.link);
        let lanes = |place: usize| pools[place].lanes(pick.lane);
        let mut order = balance.order(None);
        order.find_map(|place| lanes(place)?.acquire(avoided, None))
    }

    /// The unary connection of the endpoint for a call. For streams and waiting calls too, it tells
    /// which endpoint is well. `None` while a connection has to be waited for.
    fn pick_link(&self, pick: PickInfo) -> Option<Arc<Link>> {
        if self.is_closed_to(pick) {
            return None;
        }
        if let Some(member) = pick.member {
            let pool = self.pool(member.place);
            return pool.link(pick).filter(|_| !pool.is_gone());
        }
        if pick.avoided.is_some() {
            return self.pick_elsewhere(pick);
        }
        // ORDER: `pick_endpoint` reads the pools too, and a lock that is read twice by one thread stands
        // still for ever when somebody waits to write.
        let place = self.pick_endpoint();
        let pool = self.pool(place);
        if pick.lane != Lane::Unary && pool.is_avoided(pick.lane, now()) {
            return self.pick_elsewhere(pick);
        }
        // An endpoint that does not serve is used only where no other can be hoped for: the next
        // one is connected to within milliseconds, or is found to be slow or down.
        let link = pool.link(pick)?;
        (!self.is_better_elsewhere(&link)).then_some(link)
    }

    /// The same for a call that had better not go to some of the endpoints.
    fn pick_elsewhere(&self, pick: PickInfo) -> Option<Arc<Link>> {
        let balance = self.balance();
        let pools = self.pools();
        let moment = now();
        let avoided = |place: usize| is_avoided(pick, place, &pools[place], moment);
        let links = || {
            let order = balance.order(None);
            order.filter_map(|place| pools[place].link(pick))
        };
        if let Some(link) = links().find(|link| link.serves() && !avoided(link.place)) {
            return Some(link);
        }
        if balance.is_hopeful(avoided) {
            return None;
        }
        // No other is known to serve: one that is connected, a new connection to the same endpoint,
        // or the old one if it answers pings.
        let same = pick.avoided.map(|avoided| avoided.place);
        let elsewhere = links().filter(|link| Some(link.place) != same);
        let same = same.and_then(|place| pools[place].unary.live());
        elsewhere.chain(same).find(|link| link.state.is_fit())
    }

    /// Whether calls over the link had better go elsewhere, and can.
    pub(crate) fn is_better_elsewhere(&self, link: &Link) -> bool {
        !link.serves() && self.balance().is_hopeful(|place| place == link.place)
    }

    /// Makes what the call wants connect, if it is at rest.
    pub(crate) fn wake(&self, pick: PickInfo) {
        let next = match pick.member {
            Some(member) => Some(member.place),
            None => {
                let balance = self.balance();
                let pools = self.pools();
                let moment = now();
                let avoided = |place: usize| is_avoided(pick, place, &pools[place], moment);
                balance
                    .to_wake(avoided)
                    .or_else(|| balance.to_wake(|_| false))
            }
        };
        if let Some(next) = next {
            self.pool(next).unary.connect_if_idle(self.closing.clone());
        }
    }

    pub(crate) async fn acquire(&self, pick: PickInfo) -> Result<StreamPermit, Error> {
        let mut changes = self.changes.subscribe();
        let member = pick.member.map(|member| self.pool(member.place));
        let id = pick.member.and_then(|member| member.id);
        let _waiting = member.as_ref().map(|member| WaitGuard::on(&member.waiting));
        let mut passes_on = false;
        loop {
            changes.borrow_and_update();
            if self.is_closed_to(pick) {
                return Err(closed());
            }
            if member.as_ref().is_some_and(|member| member.is_gone()) {
                let message = "the endpoint is none of the client's any more";
                return Err(Error::new(ErrorKind::Config, message));
            }
            if let (Some(pool), Some(id)) = (&member, id) {
                if let Some(other) = pool.misleads(Some(id)) {
                    return Err(misled(&pool.endpoint, id, other));
                }
            }
            // INVARIANT: the call waits at the endpoint where it found no place. `pick_link` may be random:
            // a second pick could give another endpoint, which has a place that is never announced.
            let picked = self.pick_link(pick);
            let permit = match picked.clone() {
                Some(link) => self.acquire_at(pick, link),
                None => self.acquire_any(pick),
            };
            if let Some(permit) = permit {
                if let Some(lanes) = self.pool(permit.link().place).lanes(pick.lane) {
                    if passes_on {
                        lanes.freed.notify_one();
                    }
                }
                return Ok(permit);
            }
            let pool = match picked {
                None => {
                    self.wake(pick);
                    None
                }
                Some(link) => Some(self.pool(link.place)),
            };
            let Some(lanes) = pool.as_ref().and_then(|pool| pool.lanes(pick.lane)) else {
                // INVARIANT: the pool holds the sender, and this holds the pool.
                let _ = changes.changed().await;
                continue;
            };
            let _on_lane = WaitGuard::on(&lanes.waiting);
            lanes.grow(pick.avoided.map(|avoided| avoided.link), &self.closing);
            tokio::select! {
                // INVARIANT: the pool holds the sender, and this holds the pool.
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
fn is_avoided(pick: PickInfo, place: usize, pool: &EndpointPool, moment: Instant) -> bool {
    pick.avoided.is_some_and(|avoided| avoided.place == place) || pool.is_avoided(pick.lane, moment)
}
