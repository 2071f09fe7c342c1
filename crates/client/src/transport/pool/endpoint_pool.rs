//! One endpoint of a client and the connections to it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use tokio::sync::Notify;

use super::Pool;
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
    /// Calls that wait for this endpoint and no other.
    pub(super) waiting: AtomicUsize,
    pub(super) streams: LanePool,
    pub(super) waits: LanePool,
    /// It is none of the client's endpoints.
    pub(super) retired: AtomicBool,
    /// Calls may go there all the same, if they want this endpoint and no other.
    pub(super) attached: AtomicBool,
    /// A call for a member by its ID has found another one here.
    misled: AtomicBool,
}

impl EndpointPool {
    pub(super) fn new(
        place: usize,
        endpoint: &Endpoint,
        origin: Origin,
        context: &ConnectContext,
        pool: &Weak<Pool>,
    ) -> Arc<Self> {
        let serving = Arc::new(Serving::new(place, pool.clone()));
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

    /// Says who has named the endpoint. Connections that have not proven what that asks for take
    /// no more calls.
    pub(super) fn set_origin(&self, origin: Origin) {
        // ORDER: a driver that publishes a connection looks at the origin once more after that.
        self.identity.set_origin(origin);
        self.drain_unproven();
    }

    /// Has each connection tell its member. Those that were not asked take no more calls.
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

    /// The connections of all lanes that are up.
    fn links(&self) -> impl Iterator<Item = Arc<Link>> {
        let lanes = self.streams.links().into_iter().chain(self.waits.links());
        self.unary.live().into_iter().chain(lanes)
    }

    /// The ID of another member that the endpoint leads to, if it does. That is remembered until it
    /// is [taken](Self::take_misled).
    pub(super) fn misleads(&self, wanted: Option<u64>) -> Option<u64> {
        let fit = self.links().filter(|link| !link.state.is_draining());
        let mut other = fit.filter(|link| link.misses(wanted));
        let told = other.next()?.proof().member();
        self.misled.store(true, Ordering::Relaxed);
        told
    }

    /// Whether a call for a member by its ID has found another one here since the last time.
    pub(super) fn take_misled(&self) -> bool {
        self.misled.swap(false, Ordering::Relaxed)
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    /// Whether no call may go there.
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

    /// Whether other endpoints are preferred for calls of this lane, as no connection for them can
    /// be made here.
    pub(super) fn is_avoided(&self, lane: Lane, now: Instant) -> bool {
        self.lanes(lane).is_some_and(|lanes| lanes.is_avoided(now))
    }

    /// The link for new calls, unless it is the one that a call has failed on.
    pub(super) fn link(&self, pick: PickInfo) -> Option<Arc<Link>> {
        // INVARIANT: a link that takes no more calls is given to none: trying it again at once
        // would fail at once, for ever.
        let link = self.unary.live().filter(|link| !link.state.is_draining())?;
        let refused = pick.avoided.is_some_and(|avoided| avoided.link == link.id);
        let misses = pick.member.is_some_and(|member| link.misses(member.id));
        (!refused && !misses).then_some(link)
    }
}
