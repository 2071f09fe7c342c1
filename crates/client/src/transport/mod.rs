//! gRPC over HTTP/2, and the connections below it.
//!
//! This layer provides a stream permit on a live connection ([`Transport::acquire`]), a call over
//! it ([`Exchange`], [`stream`]), and for every failure whether the request may have reached a
//! server. A call never passes through the task that owns a connection: it takes the published
//! link, and sends and receives in its own task.
//!
//! ```text
//! state.rs         phases of a connection                           PURE
//! keepalive.rs     when to ping, doubt and give up a connection     PURE
//! balance.rs       how good each endpoint is; the mode pick first    PURE
//! driver.rs        connects, publishes the link, reconnects
//! monitor.rs       pings and drains a connection that is up
//! handshake.rs     endpoint -> connection that has answered a ping
//! dial.rs          endpoint -> byte stream
//! tls.rs           TLS around a byte stream
//! link.rs          a live connection, as calls see it
//! link_state.rs    flags and counters of a link
//! pool.rs          the endpoints of a client and their connections
//! pool/pick.rs     which endpoint and connection a call takes
//! report.rs, probe.rs   whether an endpoint serves                  PURE
//! lane.rs          connections for streams and for calls that wait
//! unary.rs, stream.rs, grpc.rs   calls, streams of messages, framing
//! identity.rs      which cluster a connection leads to
//! leader.rs        whether the member behind a connection sees a leader
//! stream_queue.rs  requests that wait until the server allows one more stream
//! ```

mod balance;
mod connect_error;
mod dial;
mod driver;
mod failure;
mod grpc;
mod handshake;
mod identity;
mod keepalive;
mod lane;
mod leader;
mod link;
mod link_state;
mod monitor;
mod pool;
mod probe;
mod prober;
mod report;
mod serving;
mod shared;
mod state;
pub(crate) mod stream;
mod stream_queue;
mod tcp;
#[cfg(feature = "_tls")]
mod tls;
mod unary;

use std::sync::Arc;

use tokio::sync::watch;

pub(crate) use balance::Health;
pub(crate) use failure::Failure;
pub(crate) use grpc::frame;
#[cfg(fuzzing)]
pub(crate) use grpc::fuzz;
pub(crate) use identity::Origin;
pub(crate) use leader::{LeaderLoss, leader_loss};
pub(crate) use link::{Head, StreamPermit, TokenHeader};
pub(crate) use link_state::now;
pub(crate) use pool::{Background, EndpointInfo, closed};
pub(crate) use unary::Exchange;

use self::balance::EndpointIndex;
use self::connect_error::ConnectError;
use self::dial::Dialer;
use self::handshake::ConnectContext;
use self::link::{Link, LinkId};
use self::pool::Pool;
use crate::config::Config;
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind};
use crate::method::Lane;
use crate::mutex::Mutex;

/// All connections of a client. Dropping it closes them.
pub(crate) struct Transport {
    pool: Arc<Pool>,
    /// Every driver ends when this sender is dropped: by [`Self::shut`], or with the transport.
    closing: Mutex<Option<watch::Sender<()>>>,
}

/// Properties of a call that the choice of its endpoint and connection depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PickInfo {
    pub(crate) lane: Lane,
    /// The only endpoint that the call may go to.
    pub(crate) member: Option<EndpointTarget>,
    /// The link to avoid. Its endpoint is used while no other serves, and in the end the link itself.
    pub(crate) avoided: Option<Avoided>,
    /// Whether the call may start when the client takes no new calls any more.
    pub(crate) parting: bool,
}

/// The only endpoint that a call may go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EndpointTarget {
    pub(crate) endpoint: EndpointIndex,
    /// The ID of the member that the endpoint has to lead to. A connection that is known to lead to
    /// another one is not used.
    pub(crate) member_id: Option<u64>,
}

impl EndpointTarget {
    /// Returns the target of calls that may go to any member behind the endpoint.
    pub(crate) fn at(endpoint: EndpointIndex) -> Self {
        Self {
            endpoint,
            member_id: None,
        }
    }
}

/// A link that a call has failed on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avoided {
    endpoint: EndpointIndex,
    link: LinkId,
}

impl Avoided {
    pub(crate) fn new(link: &Link) -> Self {
        Self {
            endpoint: link.index,
            link: link.id,
        }
    }
}

impl Transport {
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let (closing_sender, closing) = watch::channel(());
        let options = Arc::new(config.options.clone());
        let dialer = Arc::new(Dialer::new(config)?);
        let context = ConnectContext { options, dialer };
        let pool = Pool::new(&config.endpoints, context, closing);
        Ok(Self {
            pool,
            closing: Mutex::new(Some(closing_sender)),
        })
    }

    /// Starts to connect, and waits until a connection is up or every endpoint has failed.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        let pick = PickInfo {
            lane: Lane::Unary,
            member: None,
            avoided: None,
            parting: false,
        };
        let mut changes = self.pool.changes();
        loop {
            changes.borrow_and_update();
            if self.pool.try_acquire(pick).is_some() {
                return Ok(());
            }
            if let Some(error) = self.pool.all_down() {
                return Err(error);
            }
            self.pool.wake(pick);
            // INVARIANT: the pool holds the sender, and `self` holds the pool.
            let _ = changes.changed().await;
        }
    }

    /// Returns a permit on a connection that is up and has room, if there is one.
    pub(crate) fn try_acquire(&self, pick: PickInfo) -> Option<StreamPermit> {
        self.pool.try_acquire(pick)
    }

    /// Returns a permit on a connection as soon as there is one. The future has no time-out: the
    /// caller has the clock.
    pub(crate) fn acquire(
        &self,
        pick: PickInfo,
    ) -> impl Future<Output = Result<StreamPermit, Error>> + Send + 'static {
        let pool = Arc::clone(&self.pool);
        async move { pool.acquire(pick).await }
    }

    /// Returns the state of each endpoint that is in use.
    pub(crate) fn endpoint_info(&self) -> Vec<EndpointInfo> {
        self.pool.endpoint_info()
    }

    /// Returns why no connection is up, for the error of a call that has waited in vain.
    pub(crate) fn last_error(&self, pick: PickInfo) -> Option<(Endpoint, ConnectError)> {
        self.pool.last_error(pick)
    }

    /// Returns the index of an endpoint that is in use.
    pub(crate) fn index_of(&self, endpoint: &Endpoint) -> Option<EndpointIndex> {
        self.pool.index_of(endpoint)
    }

    /// Returns the endpoints that are in use, in the order in which they were added.
    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        self.pool.endpoints()
    }

    /// Runs a task in the background, on a runtime that drives a connection: at once, or as soon as
    /// there is one.
    pub(crate) fn park(&self, task: Background) {
        self.pool.park(task);
    }

    /// Returns a counter that grows whenever a connection or the list of endpoints changes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.pool.changes()
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
        Ok(self.pool.attach(endpoint, origin))
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
        self.pool.ask_member(index);
        let target = EndpointTarget {
            endpoint: index,
            member_id: Some(id),
        };
        Ok((!self.pool.take_misled(index)).then_some(target))
    }

    /// Adds an endpoint; returns whether it was not in use before.
    pub(crate) fn add(&self, endpoint: &Endpoint, origin: Origin) -> Result<bool, Error> {
        self.check(endpoint)?;
        Ok(self.pool.add(endpoint, origin))
    }

    /// Replaces the endpoints in use. Calls that are under way at another endpoint continue.
    pub(crate) fn replace(&self, endpoints: &[Endpoint]) -> Result<(), Error> {
        endpoints.iter().try_for_each(|one| self.check(one))?;
        self.pool.replace(endpoints);
        Ok(())
    }

    fn check(&self, endpoint: &Endpoint) -> Result<(), Error> {
        match self.pool.unsupported(endpoint) {
            Some(why) => Err(Error::new(ErrorKind::Config, format!("{endpoint}: {why}"))),
            None => Ok(()),
        }
    }

    /// Removes an endpoint that is in use, unless it is the last; returns whether it was removed.
    /// Calls that are under way there continue.
    pub(crate) fn remove(&self, endpoint: &Endpoint) -> bool {
        self.pool.remove(endpoint)
    }

    /// Refuses new calls from now on.
    pub(crate) fn close(&self) {
        self.pool.close();
    }

    /// Closes the connections. With `hard`, calls that are under way end at once; without it, each
    /// connection is closed when its calls are answered.
    pub(crate) fn shut(&self, hard: bool) {
        self.pool.close();
        // The sender is dropped without the lock.
        let closing = self.closing.lock().take();
        drop(closing);
        if hard {
            self.pool.cut();
        }
    }

    /// Whether the endpoint of the link does not serve, and another one may serve.
    pub(crate) fn is_better_elsewhere(&self, link: &Link) -> bool {
        self.pool.is_better_elsewhere(link)
    }

    /// Returns how many other endpoints the call could be sent to.
    pub(crate) fn others(&self, pick: PickInfo) -> usize {
        match pick.member {
            Some(_) => 0,
            None => self.pool.count().saturating_sub(1),
        }
    }
}
