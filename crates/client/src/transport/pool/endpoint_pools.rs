//! The endpoint pools of a client, by index.

use std::ops::Index;
use std::sync::Arc;

use super::endpoint_pool::EndpointPool;
use crate::endpoint::Endpoint;
use crate::transport::balance::EndpointIndex;

/// The endpoint pools of a client, by index.
///
/// INVARIANT: pools are only added, here and nowhere else, so each index keeps its endpoint.
pub(super) struct EndpointPools(Vec<Arc<EndpointPool>>);

impl EndpointPools {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds the pool that `make` makes for the next index; returns that index.
    pub(super) fn add(
        &mut self,
        make: impl FnOnce(EndpointIndex) -> Arc<EndpointPool>,
    ) -> EndpointIndex {
        let index = EndpointIndex::new(self.0.len());
        self.0.push(make(index));
        index
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (EndpointIndex, &Arc<EndpointPool>)> {
        self.iter_from(0)
    }

    /// Iterates over all pools, beginning with the one at `start`.
    pub(super) fn iter_from(
        &self,
        start: usize,
    ) -> impl Iterator<Item = (EndpointIndex, &Arc<EndpointPool>)> {
        let order = (start..self.0.len()).chain(0..start);
        order.map(move |index| (EndpointIndex::new(index), &self.0[index]))
    }

    /// Returns the index of an endpoint, whether it is in use or not.
    pub(super) fn position(&self, endpoint: &Endpoint) -> Option<EndpointIndex> {
        let position = self.0.iter().position(|pool| pool.endpoint == *endpoint);
        position.map(EndpointIndex::new)
    }
}

impl Index<EndpointIndex> for EndpointPools {
    type Output = Arc<EndpointPool>;

    fn index(&self, index: EndpointIndex) -> &Self::Output {
        &self.0[index.get()]
    }
}
