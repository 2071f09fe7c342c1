//! The state that the driver of a connection, its monitor and calls share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use tokio::sync::{Notify, watch};

use super::balance::{EndpointIndex, Health, OtherEndpoints};
use super::connect_error::ConnectError;
use super::handshake::ConnectContext;
use super::identity::Identity;
use super::link::Link;
use super::link_state::now;
use super::pool::Pool;
use super::serving::Serving;
use crate::endpoint::Endpoint;
use crate::method::Lane;

/// The state that the driver of a connection, its monitor and calls share.
pub(super) struct Shared {
    pub(super) endpoint: Endpoint,
    /// The index of the endpoint among the client's.
    pub(super) index: EndpointIndex,
    pub(super) lane: Lane,
    pub(super) context: ConnectContext,
    pub(super) pool: Weak<Pool>,
    /// Whether the endpoint serves, as calls and probes have found out.
    pub(super) serving: Arc<Serving>,
    pub(super) identity: Arc<Identity>,
    /// Notified when a permit on the connection is returned, where calls wait for permits.
    pub(super) freed: Option<Arc<Notify>>,
    pub(super) status: watch::Sender<ConnectionStatus>,
    /// Wakes an idle driver.
    pub(super) wanted: Notify,
    /// Whether a call has wanted the connection since the driver became idle.
    pub(super) asked: AtomicBool,
    /// Whether a driver runs.
    pub(super) started: AtomicBool,
}

/// The state of a connection as its driver publishes it.
#[derive(Clone)]
pub(super) enum ConnectionStatus {
    /// Not connected, and no attempt has failed.
    Absent,
    /// Calls can be sent.
    Live(Arc<Link>),
    /// The last attempt failed, or the connection broke and is not back yet.
    Down(ConnectError),
}

impl ConnectionStatus {
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

impl Shared {
    /// Publishes the state of the connection and the health of its endpoint.
    pub(super) fn publish(&self, status: ConnectionStatus, health: Health) {
        self.status.send_replace(status);
        self.note(health);
    }

    /// Tells the pool the health of the endpoint.
    pub(super) fn note(&self, health: Health) {
        if let Some(pool) = self.pool.upgrade() {
            pool.note(self.index, self.lane, health);
        }
    }

    /// Tells the pool whether a connection for streams or waiting calls could be made.
    pub(super) fn note_lane(&self, connected: bool) {
        if let Some(pool) = self.pool.upgrade() {
            pool.note_lane(self.index, self.lane, connected);
        }
    }

    /// Tells the pool that an idle connection can be woken again.
    pub(super) fn note_idle(&self) {
        // ORDER: a call that still waits asks for the connection again when it sees the note.
        self.asked.store(false, Ordering::Relaxed);
        if self.lane == Lane::Unary {
            // No probe asks the endpoint any more whether it serves.
            self.serving.set_not_serving(false);
        }
        self.note(Health::Idle);
    }

    /// Tells the pool that the connection is replaced for its age.
    pub(super) fn note_old(&self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.note_old(self.lane);
        }
    }

    /// Tells the pool that a ping stays unanswered, or was answered after all.
    pub(super) fn note_suspect(&self, suspect: bool) {
        self.note(if suspect { Health::Suspect } else { Health::Up });
    }

    /// Whether the connection should stay although it is unused, or be tried for.
    pub(super) fn is_wanted(&self) -> bool {
        let pool = self.pool.upgrade();
        pool.is_some_and(|pool| pool.wants(self.index, self.lane))
    }

    /// Returns whether there are other endpoints, and whether one of them serves.
    pub(super) fn others(&self) -> OtherEndpoints {
        match self.pool.upgrade() {
            Some(pool) => pool.others(self.index),
            None => OtherEndpoints::None,
        }
    }

    /// Returns the number of replies of the other endpoints that have shown that they serve.
    pub(super) fn served_elsewhere(&self) -> u64 {
        let pool = self.pool.upgrade();
        pool.map_or(0, |pool| pool.served_elsewhere(self.index))
    }

    /// Asks the other endpoints whether they serve.
    pub(super) fn ask_elsewhere(&self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.ask_elsewhere(self.index);
        }
    }

    /// Connects to an endpoint that should have a connection and was never tried.
    pub(super) fn connect_idle(&self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.connect_idle();
        }
    }

    /// Returns when a new connection is old enough to be replaced. Only connections for unary calls
    /// are replaced: streams and waiting calls have no end that could be waited for.
    pub(super) fn retire_at(&self) -> Option<Instant> {
        let age = self.context.options.max_connection_age?;
        let jittered = age.mul_f64(1.0 - fastrand::f64() / 5.0);
        now()
            .checked_add(jittered)
            .filter(|_| self.lane == Lane::Unary)
    }

    /// Whether TLS shows that the server is the one that the URL names.
    pub(super) fn is_verified(&self) -> bool {
        #[cfg(feature = "_tls")]
        let checked = !self
            .context
            .options
            .tls
            .as_ref()
            .is_some_and(|tls| tls.accepts_invalid);
        #[cfg(not(feature = "_tls"))]
        let checked = false;
        checked && self.endpoint.is_secure()
    }

    /// Returns the client's name for telemetry.
    pub(super) fn name(&self) -> Option<&Arc<str>> {
        self.context.options.name.as_ref()
    }
}
