//! Endpoints that are added, removed, or attached for calls that may go only there.

use std::sync::atomic::Ordering;

use super::endpoint_pool::EndpointPool;
use super::endpoint_pools::EndpointPools;
use super::{Balance, EndpointIndex, Health, Pool};
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind};
use crate::transport::EndpointTarget;
use crate::transport::identity::Origin;

impl Pool {
    /// Returns the number of endpoints in use.
    pub(super) fn count(&self) -> usize {
        let pools = self.pools();
        pools.iter().filter(|(_, pool)| !pool.is_retired()).count()
    }

    /// Returns the endpoints that are in use, in the order in which they were added.
    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        let pools = self.pools();
        let in_use = pools.iter().filter(|(_, pool)| !pool.is_retired());
        in_use.map(|(_, pool)| pool.endpoint.clone()).collect()
    }

    /// Returns the index of an endpoint that is in use.
    pub(crate) fn index_of(&self, endpoint: &Endpoint) -> Option<EndpointIndex> {
        let pools = self.pools();
        let mut in_use = pools.iter().filter(|(_, pool)| !pool.is_retired());
        let found = in_use.find(|(_, pool)| pool.endpoint == *endpoint);
        found.map(|(index, _)| index)
    }

    /// Refuses an endpoint that can never be reached.
    fn check(&self, endpoint: &Endpoint) -> Result<(), Error> {
        match self.context.dialer.unsupported(endpoint) {
            Some(why) => Err(Error::new(ErrorKind::Config, format!("{endpoint}: {why}"))),
            None => Ok(()),
        }
    }

    /// Adds an endpoint; returns whether it was not in use before.
    pub(crate) fn add(&self, endpoint: &Endpoint, origin: Origin) -> Result<bool, Error> {
        self.check(endpoint)?;
        let mut balance = self.balance();
        let mut pools = self.pools_mut();
        let new = self.enlist(&mut balance, &mut pools, endpoint, origin);
        self.publish(balance.chosen());
        // The monitor of a connection that is up connects to the new endpoint if the mode asks for
        // that: the caller need not be within a runtime.
        pools.iter().for_each(|(_, pool)| pool.serving.wake());
        Ok(new)
    }

    /// Replaces the endpoints in use by these, of which there is at least one. Calls that are under way
    /// at another endpoint continue.
    pub(crate) fn replace(&self, endpoints: &[Endpoint]) -> Result<(), Error> {
        endpoints.iter().try_for_each(|one| self.check(one))?;
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
        Ok(())
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

    /// Returns the index of an endpoint for calls that go only there. The endpoint need not be one of
    /// the client's. An endpoint in use that the user has named keeps that origin, whatever `origin`
    /// is.
    pub(crate) fn attach(
        &self,
        endpoint: &Endpoint,
        origin: Origin,
    ) -> Result<EndpointIndex, Error> {
        self.check(endpoint)?;
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
        if pool.is_retired() || pool.origin() != Origin::User {
            pool.set_origin(origin);
        }
        pool.attached.store(true, Ordering::Relaxed);
        Ok(index)
    }

    /// Returns the target of calls that go only to the member with this ID. Each connection to the
    /// endpoint has to confirm the ID. `None` if a call for a member by its ID has found another
    /// member there since the last time.
    pub(crate) fn attach_member(
        &self,
        endpoint: &Endpoint,
        origin: Origin,
        id: u64,
    ) -> Result<Option<EndpointTarget>, Error> {
        let index = self.attach(endpoint, origin)?;
        let pool = self.pool(index);
        pool.ask_member();
        let target = EndpointTarget {
            endpoint: index,
            member_id: Some(id),
        };
        Ok((!pool.take_misled()).then_some(target))
    }

    /// Removes an endpoint that is in use, unless it is the last; returns whether it was removed.
    /// Calls that are under way there continue.
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
