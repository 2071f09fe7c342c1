//! What is known of the endpoints, and why none of them is connected.

use super::{Health, Hub};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::transport::Want;
use crate::transport::handshake::Unreachable;
use crate::transport::lane::Lanes;

/// What is known of an endpoint.
pub(crate) struct Seen {
    pub(crate) endpoint: Endpoint,
    pub(crate) health: Health,
    /// False when calls or probes have found out that it does not serve.
    pub(crate) serving: bool,
    /// Why the last attempt failed, or the connection was lost.
    pub(crate) trouble: Option<Unreachable>,
    /// Calls under way on its unary connection.
    pub(crate) calls: usize,
}

impl Hub {
    pub(crate) fn trouble(&self, want: Want) -> Option<(Endpoint, Unreachable)> {
        let places: Vec<usize> = match want.member {
            Some(member) => vec![member.place],
            None => self.balance().order(None).collect(),
        };
        places.into_iter().find_map(|place| {
            let peer = self.peer(place);
            let lanes = peer.lanes(want.lane).and_then(Lanes::trouble);
            let trouble = peer.unary.trouble().or(lanes)?;
            Some((peer.endpoint.clone(), trouble))
        })
    }

    /// What is known of each endpoint that is in use.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let balance = self.balance();
        let peers = self.peers();
        let in_use = peers
            .iter()
            .enumerate()
            .filter(|(_, peer)| !peer.is_retired());
        let seen = in_use.map(|(place, peer)| Seen {
            endpoint: peer.endpoint.clone(),
            health: balance.health(place),
            serving: balance.is_serving(place),
            trouble: peer.unary.trouble(),
            calls: peer.unary.live().map_or(0, |link| link.pulse.open()),
        });
        seen.collect()
    }

    /// The error of the first endpoint, if all have failed.
    pub(crate) fn all_down(&self) -> Option<Error> {
        let order: Vec<usize> = self.balance().order(None).collect();
        let mut troubles = Vec::new();
        for place in order {
            let peer = self.peer(place);
            troubles.push((peer.endpoint.clone(), peer.unary.trouble()?));
        }
        let (endpoint, cause) = troubles.first()?;
        let others = match troubles.len() {
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
