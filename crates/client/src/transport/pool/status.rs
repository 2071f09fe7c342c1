//! The state of the endpoints, and why none of them is connected.

use super::{EndpointIndex, Health, Pool};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::transport::PickInfo;
use crate::transport::connect_error::ConnectError;
use crate::transport::lane::LanePool;

/// The state of an endpoint in use.
pub(crate) struct EndpointInfo {
    pub(crate) endpoint: Endpoint,
    pub(crate) health: Health,
    /// False when a call or a probe has shown that the endpoint does not serve.
    pub(crate) serving: bool,
    /// Why the last attempt failed, or the connection was lost.
    pub(crate) last_error: Option<ConnectError>,
    /// Number of calls under way on its unary connection.
    pub(crate) calls: usize,
}

impl Pool {
    /// Returns why no connection is up, for the error of a call that has waited in vain.
    pub(crate) fn last_error(&self, pick: PickInfo) -> Option<(Endpoint, ConnectError)> {
        let order: Vec<EndpointIndex> = match pick.member {
            Some(member) => vec![member.endpoint],
            None => self.balance().order(None).collect(),
        };
        order.into_iter().find_map(|index| {
            let pool = self.pool(index);
            let lanes = pool.lanes(pick.lane).and_then(LanePool::last_error);
            let last_error = pool.unary.last_error().or(lanes)?;
            Some((pool.endpoint.clone(), last_error))
        })
    }

    /// Returns the state of each endpoint that is in use.
    pub(crate) fn endpoint_info(&self) -> Vec<EndpointInfo> {
        let balance = self.balance();
        let pools = self.pools();
        let in_use = pools.iter().filter(|(_, pool)| !pool.is_retired());
        let seen = in_use.map(|(index, pool)| EndpointInfo {
            endpoint: pool.endpoint.clone(),
            health: balance.health(index),
            serving: balance.is_serving(index),
            last_error: pool.unary.last_error(),
            calls: pool.unary.live().map_or(0, |link| link.state.open()),
        });
        seen.collect()
    }

    /// Returns the error of the first endpoint if all endpoints have failed.
    pub(crate) fn all_down(&self) -> Option<Error> {
        let order: Vec<EndpointIndex> = self.balance().order(None).collect();
        let mut errors = Vec::new();
        for index in order {
            let pool = self.pool(index);
            errors.push((pool.endpoint.clone(), pool.unary.last_error()?));
        }
        let (endpoint, cause) = errors.first()?;
        let others = match errors.len() {
            1 => String::new(),
            count => format!(", nor to the other {}", count - 1),
        };
        let error = Error::new(
            cause.kind(),
            format!("no connection to {endpoint}{others}: {cause}"),
        );
        Some(error.with_source(cause.clone()))
    }
}
