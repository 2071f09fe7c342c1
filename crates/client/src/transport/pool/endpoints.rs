//! Endpoints that are added, removed, or attached for calls that may go only there.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::endpoint_pool::EndpointPool;
use super::{Balance, Health, Pool};
use crate::endpoint::Endpoint;
use crate::transport::identity::Origin;

impl Pool {
    pub(crate) fn count(&self) -> usize {
        self.pools()
            .iter()
            .filter(|pool| !pool.is_retired())
            .count()
    }

    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        let pools = self.pools();
        let in_use = pools.iter().filter(|pool| !pool.is_retired());
        in_use.map(|pool| pool.endpoint.clone()).collect()
    }

    pub(crate) fn place_of(&self, endpoint: &Endpoint) -> Option<usize> {
        self.pools()
            .iter()
            .position(|pool| pool.endpoint == *endpoint && !pool.is_retired())
    }

    /// Returns why this endpoint can never be reached, if that is so.
    pub(crate) fn unsupported(&self, endpoint: &Endpoint) -> Option<&'static str> {
        self.context.dialer.unsupported(endpoint)
    }

    pub(crate) fn add(&self, endpoint: &Endpoint, origin: Origin) -> bool {
        let mut balance = self.balance();
        let mut pools = self.pools_mut();
        let new = self.enlist(&mut balance, &mut pools, endpoint, origin);
        self.publish(balance.chosen());
        // The monitor of a connection that is up connects to the new endpoint if the mode asks for
        // that: the caller need not be within a runtime.
        pools.iter().for_each(|pool| pool.serving.wake());
        new
    }

    /// Replaces the endpoints in use by these, of which there is at least one.
    pub(crate) fn replace(&self, endpoints: &[Endpoint]) {
        // ORDER: under the lock, so that two calls at once do not mix their endpoints.
        let mut balance = self.balance();
        let mut pools = self.pools_mut();
        for endpoint in endpoints {
            self.enlist(&mut balance, &mut pools, endpoint, Origin::User);
        }
        for (place, pool) in pools.iter().enumerate() {
            if !pool.is_retired() && !endpoints.contains(&pool.endpoint) {
                pool.attached.store(false, Ordering::Relaxed);
                pool.retired.store(true, Ordering::Relaxed);
                balance.retire(place);
            }
        }
        self.publish(balance.chosen());
        pools.iter().for_each(|pool| pool.serving.wake());
    }

    /// Puts an endpoint into use; returns whether it was not in use before.
    fn enlist(
        &self,
        balance: &mut Balance,
        pools: &mut Vec<Arc<EndpointPool>>,
        endpoint: &Endpoint,
        origin: Origin,
    ) -> bool {
        let known = pools.iter().position(|pool| pool.endpoint == *endpoint);
        let Some(place) = known else {
            let place = pools.len();
            let pool = EndpointPool::new(place, endpoint, origin, &self.context, &self.this);
            pools.push(pool);
            balance.add();
            return true;
        };
        pools[place].set_origin(origin);
        balance.reinstate(place);
        // The balance ignored the notes of the driver while the endpoint was retired, and the driver
        // has no reason to repeat them.
        let live = pools[place].unary.live();
        let was_retired = pools[place].is_retired();
        if was_retired && live.is_some_and(|link| !link.state.is_draining()) {
            balance.note(place, Health::Up);
        }
        pools[place].attached.store(false, Ordering::Relaxed);
        pools[place].retired.swap(false, Ordering::Relaxed)
    }

    /// Gives an endpoint an index without using it for calls that may go to any endpoint.
    pub(crate) fn attach(&self, endpoint: &Endpoint, origin: Origin) -> usize {
        let mut balance = self.balance();
        let mut pools = self.pools_mut();
        let known = pools.iter().position(|pool| pool.endpoint == *endpoint);
        let place = known.unwrap_or_else(|| {
            let place = pools.len();
            let pool = EndpointPool::new(place, endpoint, origin, &self.context, &self.this);
            pool.retired.store(true, Ordering::Relaxed);
            pools.push(pool);
            balance.add();
            balance.retire(place);
            self.chosen.store(balance.chosen(), Ordering::Relaxed);
            place
        });
        let pool = &pools[place];
        // An endpoint in use that the user has named keeps that origin.
        if pool.is_retired() || pool.origin() != Origin::User {
            pool.set_origin(origin);
        }
        pool.attached.store(true, Ordering::Relaxed);
        place
    }

    /// Has each connection to the endpoint asked for its member.
    pub(crate) fn ask_member(&self, place: usize) {
        self.pool(place).ask_member();
    }

    /// Whether a call for a member by its ID has found another member at the endpoint since the last
    /// time.
    pub(crate) fn take_misled(&self, place: usize) -> bool {
        self.pool(place).take_misled()
    }

    pub(crate) fn remove(&self, endpoint: &Endpoint) -> bool {
        // ORDER: under the lock, so that two calls at once cannot remove the last two endpoints.
        let mut balance = self.balance();
        let Some(place) = self.place_of(endpoint).filter(|_| self.count() > 1) else {
            return false;
        };
        self.pool(place).attached.store(false, Ordering::Relaxed);
        self.pool(place).retired.store(true, Ordering::Relaxed);
        balance.retire(place);
        self.publish(balance.chosen());
        true
    }
}
