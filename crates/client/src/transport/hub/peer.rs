//! One endpoint of a client and the connections to it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use super::{Hub, Workshop};
use crate::endpoint::Endpoint;
use crate::method::Lane;
use crate::transport::Want;
use crate::transport::driver::Connection;
use crate::transport::lane::Lanes;
use crate::transport::link::Link;
use crate::transport::serving::Serving;

/// One endpoint and the connections to it.
pub(super) struct Peer {
    pub(super) endpoint: Endpoint,
    pub(super) serving: Arc<Serving>,
    pub(super) unary: Connection,
    /// Calls that wait for this endpoint and no other.
    pub(super) waiting: AtomicUsize,
    pub(super) streams: Lanes,
    pub(super) waits: Lanes,
    /// It is none of the client's endpoints.
    pub(super) retired: AtomicBool,
    /// Calls may go there all the same, if they want this endpoint and no other.
    pub(super) attached: AtomicBool,
}

impl Peer {
    pub(super) fn new(
        place: usize,
        endpoint: &Endpoint,
        workshop: &Workshop,
        hub: &Weak<Hub>,
    ) -> Arc<Self> {
        let serving = Arc::new(Serving::new(place, hub.clone()));
        let make = {
            let (endpoint, workshop, hub) = (endpoint.clone(), workshop.clone(), hub.clone());
            let serving = Arc::clone(&serving);
            move |lane| {
                Connection::new(
                    endpoint.clone(),
                    place,
                    lane,
                    Arc::clone(&workshop.options),
                    Arc::clone(&workshop.dialer),
                    hub.clone(),
                    Arc::clone(&serving),
                )
            }
        };
        let (for_streams, for_waits) = (make.clone(), make.clone());
        Arc::new(Self {
            endpoint: endpoint.clone(),
            serving,
            unary: make(Lane::Unary),
            waiting: AtomicUsize::new(0),
            streams: Lanes::new(move || for_streams(Lane::Stream)),
            waits: Lanes::new(move || for_waits(Lane::Wait)),
            retired: AtomicBool::new(false),
            attached: AtomicBool::new(false),
        })
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    /// Whether no call may go there.
    pub(super) fn is_gone(&self) -> bool {
        self.is_retired() && !self.attached.load(Ordering::Relaxed)
    }

    pub(super) fn lanes(&self, lane: Lane) -> Option<&Lanes> {
        match lane {
            Lane::Unary => None,
            Lane::Stream => Some(&self.streams),
            Lane::Wait => Some(&self.waits),
        }
    }

    /// The link for new calls, unless it is the one that a call has failed on.
    pub(super) fn link(&self, want: Want) -> Option<Arc<Link>> {
        // INVARIANT: a link that takes no more calls is given to none: trying it again at once
        // would fail at once, for ever.
        let link = self.unary.live().filter(|link| !link.pulse.is_draining())?;
        let refused = want.avoided.is_some_and(|avoided| avoided.link == link.id);
        (!refused).then_some(link)
    }
}
