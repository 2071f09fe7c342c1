//! Endpoints that are added, removed, or attached for calls that may go only there.

use std::sync::atomic::Ordering;

use super::endpoint_pool::EndpointPool;
use super::endpoint_pools::EndpointPools;
use super::{Balance, EndpointIndex, Health, Pool};
use crate::endpoint::Endpoint;
use crate::transport::identity::Origin;

impl Pool {
    pub(crate) fn count(&self) -> usize {
        let pools = self.pools();
        pools.iter().filter(|(_, pool)| !pool.is_retired()).count()
    }

    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        let pools = self.pools();
        let in_use = pools.iter().filter(|(_, pool)| !pool.is_retired());
        in_use.map(|(_, pool)| pool.endpoint.clone()).collect()
    }

    pub(crate) fn index_of(&self, endpoint: &Endpoint) -> Option<EndpointIndex> {
        let pools = self.pools();
        let mut in_use = pools.iter().filter(|(_, pool)| !pool.is_retired());
        let found = in_use.find(|(_, pool)| pool.endpoint == *endpoint);
        found.map(|(index, _)| index)
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
        pools.iter().for_each(|(_, pool)| pool.serving.wake());
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
        for (index, pool) in pools.iter() {
            if !pool.is_retired() && !endpoints.contains(&pool.endpoint) {
                pool.attached.store(false, Ordering::Relaxed);
                pool.retired.store(true, Ordering::Relaxed);
                balance.retire(index);
            }
        }
        self.publish(balance.chosen());
        pools.iter().for_each(|(_, pool)| pool.serving.wake());
    }

    /// Puts an endpoint into use; returns whether it was not in use before.
    fn enlist(
        &self,
        balance: &mut Balance,
        pools: &mut EndpointPools,
        endpoint: &Endpoint,
        origin: Origin,
    ) -> bool {
        let Some(index) = pools.position(endpoint) else {
            pools
                .add(|index| EndpointPool::new(index, endpoint, origin, &self.context, &self.this));
            balance.add();
            return true;
        };
        pools[index].set_origin(origin);
        balance.reinstate(index);
        // The balance ignored the notes of the driver while the endpoint was retired, and the driver
        // has no reason to repeat them.
        let live = pools[index].unary.live();
        let was_retired = pools[index].is_retired();
        if was_retired && live.is_some_and(|link| !link.state.is_draining()) {
            balance.note(index, Health::Up);
        }
        pools[index].attached.store(false, Ordering::Relaxed);
        pools[index].retired.swap(false, Ordering::Relaxed)
    }

    /// Gives an endpoint an index without using it for calls that may go to any endpoint.
    pub(crate) fn attach(&self, endpoint: &Endpoint, origin: Origin) -> EndpointIndex {
        let mut balance = self.balance();
        let mut pools = self.pools_mut();
        let index = pools.position(endpoint).unwrap_or_else(|| {
            let index = pools.add(|index| {
                let (context, this) = (&self.context, &self.this);
                let pool = EndpointPool::new(index, endpoint, origin, context, this);
                pool.retired.store(true, Ordering::Relaxed);
                pool
            });
            balance.add();
            balance.retire(index);
            self.chosen.store(balance.chosen().get(), Ordering::Relaxed);
            index
        });
        let pool = &pools[index];
        // An endpoint in use that the user has named keeps that origin.
        if pool.is_retired() || pool.origin() != Origin::User {
            pool.set_origin(origin);
        }
        pool.attached.store(true, Ordering::Relaxed);
        index
    }

    /// Requires each connection to the endpoint to tell its member.
    pub(crate) fn ask_member(&self, index: EndpointIndex) {
        self.pool(index).ask_member();
    }

    /// Whether a call for a member by its ID has found another member at the endpoint since the last
    /// time.
    pub(crate) fn take_misled(&self, index: EndpointIndex) -> bool {
        self.pool(index).take_misled()
    }

    pub(crate) fn remove(&self, endpoint: &Endpoint) -> bool {
        // ORDER: under the lock, so that two calls at once cannot remove the last two endpoints.
        let mut balance = self.balance();
        let Some(index) = self.index_of(endpoint).filter(|_| self.count() > 1) else {
            return false;
        };
        self.pool(index).attached.store(false, Ordering::Relaxed);
        self.pool(index).retired.store(true, Ordering::Relaxed);
        balance.retire(index);
        self.publish(balance.chosen());
        true
    }
}
