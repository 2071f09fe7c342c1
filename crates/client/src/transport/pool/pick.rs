//! Which endpoint and which connection a call takes, in every mode, and the wait for one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::endpoint_pool::EndpointPool;
use super::{EndpointIndex, Pool, closed};
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Outcome};
use crate::method::Lane;
use crate::mode::Mode;
use crate::transport::PickInfo;
use crate::transport::lane::WaitGuard;
use crate::transport::link::{Link, StreamPermit};
use crate::transport::link_state::now;

/// How often a waiting call checks for a change that is not announced: a server that allows more
/// streams than before.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

impl Pool {
    /// Returns the endpoint for a call that may go to any.
    fn pick_endpoint(&self) -> EndpointIndex {
        let chosen = self.chosen();
        let fit = |pool: &Arc<EndpointPool>| pool.unary.live().filter(|link| link.serves());
        match self.context.options.mode {
            Mode::PickFirst => chosen,
            Mode::Random => {
                let pools = self.pools();
                let mut order = pools.iter_from(fastrand::usize(..pools.len()));
                let found = order.find(|&(_, pool)| !pool.is_retired() && fit(pool).is_some());
                found.map_or(chosen, |(index, _)| index)
            }
            Mode::ConnectAll => {
                let pools = self.pools();
                // The first of the least busy endpoints is taken; a random start spreads ties.
                let order = pools.iter_from(fastrand::usize(..pools.len()));
                let in_use = order.filter(|(_, pool)| !pool.is_retired());
                let open =
                    in_use.filter_map(|(index, pool)| Some((fit(pool)?.state.open(), index)));
                let least = open.min_by_key(|(open, _)| *open);
                least.map_or(chosen, |(_, index)| index)
            }
        }
    }

    /// Starts to connect, and waits until a connection is up or every endpoint has failed.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        let pick = PickInfo {
            lane: Lane::Unary,
            member: None,
            avoided: None,
            during_shutdown: false,
        };
        let mut changes = self.changes();
        loop {
            changes.borrow_and_update();
            if self.try_acquire(pick).is_some() {
                return Ok(());
            }
            if let Some(error) = self.all_down() {
                return Err(error);
            }
            self.wake(pick);
            // INVARIANT: `self` holds the sender.
            let _ = changes.changed().await;
        }
    }

    /// Returns how many other endpoints the call could be sent to.
    pub(crate) fn alternatives(&self, pick: PickInfo) -> usize {
        match pick.member {
            Some(_) => 0,
            None => self.count().saturating_sub(1),
        }
    }

    /// Returns a permit on a connection that is up and has room, if there is one.
    pub(crate) fn try_acquire(&self, pick: PickInfo) -> Option<StreamPermit> {
        match self.pick_link(pick) {
            Some(link) => self.acquire_at(pick, link),
            None => self.acquire_any(pick),
        }
    }

    /// Returns a permit at the endpoint that was picked.
    fn acquire_at(&self, pick: PickInfo, link: Arc<Link>) -> Option<StreamPermit> {
        match self.pool(link.index).lanes(pick.lane) {
            None => Some(StreamPermit::new(link)),
            Some(lanes) => lanes.acquire(
                pick.avoided.map(|avoided| avoided.link),
                pick.member.and_then(|member| member.member_id),
            ),
        }
    }

    /// Returns a permit for a stream or a waiting call if no endpoint has a unary connection or may soon
    /// have one. Any connection that has room is used then.
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
        let lanes = |index: EndpointIndex| pools[index].lanes(pick.lane);
        let mut order = balance.order(None);
        order.find_map(|index| lanes(index)?.acquire(avoided, None))
    }

    /// Returns the unary connection of the endpoint that the call goes to. The unary connection also
    /// decides which endpoint streams and waiting calls go to. `None` while the call has to wait for a
    /// connection.
    fn pick_link(&self, pick: PickInfo) -> Option<Arc<Link>> {
        if self.is_closed_to(pick) {
            return None;
        }
        if let Some(member) = pick.member {
            let pool = self.pool(member.endpoint);
            return pool.link(pick).filter(|_| !pool.is_gone());
        }
        if pick.avoided.is_some() {
            return self.pick_elsewhere(pick);
        }
        // ORDER: `pick_endpoint` locks `pools` itself. A thread that locks it for reading a second time
        // would wait for ever if a writer waits in between.
        let index = self.pick_endpoint();
        let pool = self.pool(index);
        if pick.lane != Lane::Unary && pool.is_avoided(pick.lane, now()) {
            return self.pick_elsewhere(pick);
        }
        // An endpoint that does not serve is used only if no other one may serve: the next endpoint is
        // connected to within milliseconds, or is found to be slow or down.
        let link = pool.link(pick)?;
        (!self.is_better_elsewhere(&link)).then_some(link)
    }

    /// The same for a call that should avoid some of the endpoints.
    fn pick_elsewhere(&self, pick: PickInfo) -> Option<Arc<Link>> {
        let balance = self.balance();
        let pools = self.pools();
        let moment = now();
        let avoided = |index: EndpointIndex| is_avoided(pick, index, &pools[index], moment);
        let links = || {
            let order = balance.order(None);
            order.filter_map(|index| pools[index].link(pick))
        };
        if let Some(link) = links().find(|link| link.serves() && !avoided(link.index)) {
            return Some(link);
        }
        if balance.is_hopeful(avoided) {
            return None;
        }
        // No other endpoint is known to serve. In this order: the same endpoint if it serves, another
        // one that is connected, or the same one if its connection answers pings.
        let same = pick.avoided.map(|avoided| avoided.endpoint);
        let elsewhere = links().filter(|link| Some(link.index) != same);
        let same = same.and_then(|index| pools[index].unary.live());
        let serving = same.clone().filter(|link| link.serves());
        let mut in_order = serving.into_iter().chain(elsewhere).chain(same);
        in_order.find(|link| link.state.is_fit())
    }

    /// Whether the endpoint of the link does not serve, and another one may serve.
    pub(crate) fn is_better_elsewhere(&self, link: &Link) -> bool {
        !link.serves() && self.balance().is_hopeful(|index| index == link.index)
    }

    /// Makes an idle connection to the endpoint for the call connect.
    fn wake(&self, pick: PickInfo) {
        let next = match pick.member {
            Some(member) => Some(member.endpoint),
            None => {
                let balance = self.balance();
                let pools = self.pools();
                let moment = now();
                let avoided = |index: EndpointIndex| is_avoided(pick, index, &pools[index], moment);
                balance
                    .to_wake(avoided)
                    .or_else(|| balance.to_wake(|_| false))
            }
        };
        if let Some(next) = next {
            self.pool(next).unary.connect_if_idle(self.closing.clone());
        }
    }

    /// Returns a permit on a connection as soon as there is one. The future has no time-out: the
    /// caller has the clock.
    pub(crate) fn acquire(
        self: &Arc<Self>,
        pick: PickInfo,
    ) -> impl Future<Output = Result<StreamPermit, Error>> + Send + 'static {
        let pool = Arc::clone(self);
        async move { pool.wait_for_permit(pick).await }
    }

    async fn wait_for_permit(&self, pick: PickInfo) -> Result<StreamPermit, Error> {
        let mut changes = self.changes.subscribe();
        let member = pick.member.map(|member| self.pool(member.endpoint));
        let id = pick.member.and_then(|member| member.member_id);
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
            // INVARIANT: the call waits at the endpoint where it got no permit. `pick_link` may be random:
            // a second pick could give another endpoint, whose free permit is never announced.
            let picked = self.pick_link(pick);
            let permit = match picked.clone() {
                Some(link) => self.acquire_at(pick, link),
                None => self.acquire_any(pick),
            };
            if let Some(permit) = permit {
                if let Some(lanes) = self.pool(permit.link().index).lanes(pick.lane) {
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
                Some(link) => Some(self.pool(link.index)),
            };
            let Some(lanes) = pool.as_ref().and_then(|pool| pool.lanes(pick.lane)) else {
                // INVARIANT: `self` holds the sender.
                let _ = changes.changed().await;
                continue;
            };
            let _on_lane = WaitGuard::on(&lanes.waiting);
            lanes.grow(pick.avoided.map(|avoided| avoided.link), &self.closing);
            tokio::select! {
                // INVARIANT: `self` holds the sender.
                _ = changes.changed() => {}
                // This call wakes the next one that waits, as there may be more than one permit.
                () = lanes.freed.notified() => passes_on = true,
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }
}

/// The error of a call for a member whose URL leads to another member.
fn misled(endpoint: &Endpoint, id: u64, other: u64) -> Error {
    let message = format!(
        "member {id:x} is not at its URL any more: {endpoint} leads to member {other:x}; ask for \
         member again"
    );
    Error::new(ErrorKind::MemberNotFound, message).with_outcome(Outcome::NotSent)
}

/// Whether a call should avoid an endpoint: the call has failed there, or no connection of its lane
/// can be made there.
fn is_avoided(pick: PickInfo, index: EndpointIndex, pool: &EndpointPool, moment: Instant) -> bool {
    pick.avoided
        .is_some_and(|avoided| avoided.endpoint == index)
        || pool.is_avoided(pick.lane, moment)
}
