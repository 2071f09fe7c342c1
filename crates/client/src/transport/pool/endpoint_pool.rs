//! One endpoint of a client and the connections to it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use tokio::sync::Notify;

use super::{EndpointIndex, Pool};
use crate::endpoint::Endpoint;
use crate::method::Lane;
use crate::transport::PickInfo;
use crate::transport::driver::Connection;
use crate::transport::handshake::ConnectContext;
use crate::transport::identity::{Identity, Origin};
use crate::transport::lane::LanePool;
use crate::transport::link::Link;
use crate::transport::serving::Serving;

/// One endpoint and the connections to it.
pub(super) struct EndpointPool {
    pub(super) endpoint: Endpoint,
    pub(super) serving: Arc<Serving>,
    identity: Arc<Identity>,
    pub(super) unary: Connection,
    /// Number of calls that wait for this endpoint and no other.
    pub(super) waiting: AtomicUsize,
    pub(super) streams: LanePool,
    pub(super) waits: LanePool,
    /// Whether the endpoint is not one of the client's.
    pub(super) retired: AtomicBool,
    /// Whether a retired endpoint takes the calls that may go only there.
    pub(super) attached: AtomicBool,
    /// Whether a call for a member by its ID has found another member here.
    misled: AtomicBool,
}

impl EndpointPool {
    pub(super) fn new(
        index: EndpointIndex,
        endpoint: &Endpoint,
        origin: Origin,
        context: &ConnectContext,
        pool: &Weak<Pool>,
    ) -> Arc<Self> {
        let serving = Arc::new(Serving::new(index, pool.clone()));
        let identity = Arc::new(Identity::new(origin));
        let make = {
            let identity = Arc::clone(&identity);
            let (endpoint, context, pool) = (endpoint.clone(), context.clone(), pool.clone());
            let serving = Arc::clone(&serving);
            move |lane, freed: Option<&Arc<Notify>>| {
                Connection::new(
                    endpoint.clone(),
                    lane,
                    context.clone(),
                    pool.clone(),
                    Arc::clone(&serving),
                    Arc::clone(&identity),
                    freed.cloned(),
                )
            }
        };
        let (for_streams, for_waits) = (make.clone(), make.clone());
        Arc::new(Self {
            endpoint: endpoint.clone(),
            serving,
            identity,
            unary: make(Lane::Unary, None),
            waiting: AtomicUsize::new(0),
            streams: LanePool::new(0, move |freed| for_streams(Lane::Stream, Some(freed))),
            // The leader monitor of a connection has a stream there, too.
            waits: LanePool::new(1, move |freed| for_waits(Lane::Wait, Some(freed))),
            retired: AtomicBool::new(false),
            attached: AtomicBool::new(false),
            misled: AtomicBool::new(false),
        })
    }

    pub(super) fn origin(&self) -> Origin {
        self.identity.origin()
    }

    /// Sets the source of the endpoint. Connections without the proof that it requires take no more
    /// calls.
    pub(super) fn set_origin(&self, origin: Origin) {
        // ORDER: a driver checks the origin again after it has published a connection.
        self.identity.set_origin(origin);
        self.drain_unproven();
    }

    /// Requires each connection to tell its member. Connections that were not asked take no more calls.
    pub(super) fn ask_member(&self) {
        if !self.identity.asks_member() {
            // ORDER: as in `set_origin`.
            self.identity.ask_member();
            self.drain_unproven();
        }
    }

    fn drain_unproven(&self) {
        for link in self.links() {
            if !self.identity.accepts(link.proof()) {
                link.state.drain();
            }
        }
    }

    /// Returns the links of all lanes.
    fn links(&self) -> impl Iterator<Item = Arc<Link>> {
        let lanes = self.streams.links().into_iter().chain(self.waits.links());
        self.unary.live().into_iter().chain(lanes)
    }

    /// Returns the ID of the member that the endpoint leads to, if that is not the wanted one. The pool
    /// remembers this until [`take_misled`](Self::take_misled).
    pub(super) fn misleads(&self, wanted: Option<u64>) -> Option<u64> {
        let fit = self.links().filter(|link| !link.state.is_draining());
        let mut other = fit.filter(|link| link.misses(wanted));
        let told = other.next()?.proof().member();
        self.misled.store(true, Ordering::Relaxed);
        told
    }

    /// Whether a call for a member by its ID has found another member here since the last time.
    pub(super) fn take_misled(&self) -> bool {
        self.misled.swap(false, Ordering::Relaxed)
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    /// Whether no call may go to the endpoint.
    pub(super) fn is_gone(&self) -> bool {
        self.is_retired() && !self.attached.load(Ordering::Relaxed)
    }

    pub(super) fn lanes(&self, lane: Lane) -> Option<&LanePool> {
        match lane {
            Lane::Unary => None,
            Lane::Stream => Some(&self.streams),
            Lane::Wait => Some(&self.waits),
        }
    }

    /// Whether other endpoints are preferred for calls of this lane, as no connection for such calls
    /// can be made here.
    pub(super) fn is_avoided(&self, lane: Lane, now: Instant) -> bool {
        self.lanes(lane).is_some_and(|lanes| lanes.is_avoided(now))
    }

    /// Returns the link of the unary connection, unless the call must not use it.
    pub(super) fn link(&self, pick: PickInfo) -> Option<Arc<Link>> {
        // INVARIANT: no call gets a link that takes no more calls. The call would fail at once and
        // get the same link again, without end.
        let link = self.unary.live().filter(|link| !link.state.is_draining())?;
        let refused = pick.avoided.is_some_and(|avoided| avoided.link == link.id);
        let misses = pick
            .member
            .is_some_and(|member| link.misses(member.member_id));
        (!refused && !misses).then_some(link)
    }
}
