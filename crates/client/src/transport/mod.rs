//! gRPC over HTTP/2, and the connections below it.
//!
//! What this layer promises: a place on a live connection ([`Transport::occupy`]), a call over
//! it ([`Exchange`], [`stream`]), and for every failure whether the request may have reached a
//! server. A call never passes through the task that owns a connection: it takes the published
//! link, and sends and receives in its own task.
//!
//! ```text
//! state.rs   what a connection does next      PURE
//! keepalive.rs   when to ping, doubt, give up PURE     driver.rs    connects, publishes, starts over
//! balance.rs     which endpoint calls go to   PURE     watcher.rs   pings and drains what is up
//! backoff.rs     pauses                       PURE     handshake.rs endpoint -> answering connection
//! tls.rs    TLS around a byte stream               dial.rs      endpoint -> byte stream
//! link.rs        a live connection, as calls see it     pulse.rs  its signs of life
//! identity.rs    which cluster a connection leads to
//! leader.rs      whether the member behind it sees a leader
//! stream_queue.rs    requests that wait until the server allows one more stream
//! ```

mod balance;
mod dial;
mod driver;
mod failure;
mod grpc;
mod handshake;
mod hub;
mod identity;
mod keepalive;
mod lane;
mod leader;
mod link;
mod probe;
mod prober;
mod pulse;
mod report;
mod serving;
mod state;
pub(crate) mod stream;
mod stream_queue;
mod tcp;
#[cfg(feature = "_tls")]
mod tls;
mod unary;
mod watcher;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

pub(crate) use balance::Health;
pub(crate) use failure::Failure;
pub(crate) use grpc::frame;
#[cfg(fuzzing)]
pub(crate) use grpc::fuzz;
pub(crate) use hub::{Background, Seen, closed};
pub(crate) use identity::Origin;
pub(crate) use leader::{LeaderLoss, leader_loss};
pub(crate) use link::{Head, Occupancy, TokenHeader};
pub(crate) use pulse::now;
pub(crate) use unary::Exchange;

use self::dial::Dialer;
use self::handshake::Unreachable;
use self::hub::{Hub, Workshop};
use self::link::Link;
use crate::config::Config;
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind};
use crate::method::Lane;

/// All connections of a client. Dropping it closes them.
pub(crate) struct Transport {
    hub: Arc<Hub>,
    /// Dropped with the transport, or before: every driver then comes to its end.
    closing: Mutex<Option<watch::Sender<()>>>,
}

/// Where a call wants to go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Want {
    pub(crate) lane: Lane,
    /// Only this endpoint.
    pub(crate) member: Option<EndpointTarget>,
    /// Not over this link, and if possible not to its endpoint.
    pub(crate) avoided: Option<Avoided>,
    /// Also when the client takes no new calls.
    pub(crate) parting: bool,
}

/// The only endpoint that a call may go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EndpointTarget {
    /// The place of the endpoint among the client's.
    pub(crate) place: usize,
    /// The ID of the member that the endpoint has to lead to. A connection that is known to lead to
    /// another one is not used.
    pub(crate) id: Option<u64>,
}

impl EndpointTarget {
    /// Whichever member is behind the endpoint.
    pub(crate) fn at(place: usize) -> Self {
        Self { place, id: None }
    }
}

/// A link that a call has failed on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avoided {
    pub(crate) place: usize,
    pub(crate) link: u64,
}

impl Transport {
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let (closing_sender, closing) = watch::channel(());
        let options = Arc::new(config.options.clone());
        let dialer = Arc::new(Dialer::new(config)?);
        let workshop = Workshop { options, dialer };
        let hub = Hub::new(&config.endpoints, workshop, closing);
        Ok(Self {
            hub,
            closing: Mutex::new(Some(closing_sender)),
        })
    }

    /// Starts to connect, and waits until a connection is up or every endpoint has failed.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        let want = Want {
            lane: Lane::Unary,
            member: None,
            avoided: None,
            parting: false,
        };
        let mut changes = self.hub.changes();
        loop {
            changes.borrow_and_update();
            if self.hub.occupy_now(want).is_some() {
                return Ok(());
            }
            if let Some(error) = self.hub.all_down() {
                return Err(error);
            }
            self.hub.wake(want);
            // INVARIANT: the hub holds the sender, and this holds the hub.
            let _ = changes.changed().await;
        }
    }

    /// A place on a connection that is up right now.
    pub(crate) fn occupy_now(&self, want: Want) -> Option<Occupancy> {
        self.hub.occupy_now(want)
    }

    /// A place on a connection, as soon as there is one. It waits for as long as it takes: the
    /// caller has the clock.
    pub(crate) fn occupy(
        &self,
        want: Want,
    ) -> impl Future<Output = Result<Occupancy, Error>> + Send + 'static {
        let hub = Arc::clone(&self.hub);
        async move { hub.occupy(want).await }
    }

    /// What is known of each endpoint that is in use.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.hub.seen()
    }

    /// Why no connection is up, in words, for a call that has waited in vain.
    pub(crate) fn trouble(&self, want: Want) -> Option<(Endpoint, Unreachable)> {
        self.hub.trouble(want)
    }

    /// The place of an endpoint among the client's.
    pub(crate) fn place_of(&self, endpoint: &Endpoint) -> Option<usize> {
        self.hub.place_of(endpoint)
    }

    /// The endpoints that are in use, in the order in which they came.
    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        self.hub.endpoints()
    }

    /// Runs a task in the background, in a runtime in which a connection lives: now or as soon as
    /// there is one.
    pub(crate) fn park(&self, task: Background) {
        self.hub.park(task);
    }

    /// Counts up whenever a connection or the list of endpoints changes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.hub.changes()
    }

    /// The place of an endpoint for calls that go there and nowhere else. It need not be one of
    /// the client's.
    /// An endpoint that is in use at the user's word stays so, whatever `origin` says.
    pub(crate) fn attach(&self, endpoint: &Endpoint, origin: Origin) -> Result<usize, Error> {
        self.check(endpoint)?;
        Ok(self.hub.attach(endpoint, origin))
    }

    /// The place of an endpoint for calls that go to the member with this ID and to no other, which
    /// each connection there has to confirm. `None` if calls for a member by its ID have found
    /// another one there since the last time.
    pub(crate) fn attach_member(
        &self,
        endpoint: &Endpoint,
        origin: Origin,
        id: u64,
    ) -> Result<Option<EndpointTarget>, Error> {
        let place = self.attach(endpoint, origin)?;
        self.hub.ask_member(place);
        let id = Some(id);
        Ok((!self.hub.take_misled(place)).then_some(EndpointTarget { place, id }))
    }

    /// Uses one more endpoint from now on; says whether it is new.
    pub(crate) fn add(&self, endpoint: &Endpoint, origin: Origin) -> Result<bool, Error> {
        self.check(endpoint)?;
        Ok(self.hub.add(endpoint, origin))
    }

    /// Uses these endpoints from now on and no others. Calls that are under way elsewhere go on.
    pub(crate) fn replace(&self, endpoints: &[Endpoint]) -> Result<(), Error> {
        endpoints.iter().try_for_each(|one| self.check(one))?;
        self.hub.replace(endpoints);
        Ok(())
    }

    fn check(&self, endpoint: &Endpoint) -> Result<(), Error> {
        match self.hub.refusal(endpoint) {
            Some(why) => Err(Error::new(ErrorKind::Config, format!("{endpoint}: {why}"))),
            None => Ok(()),
        }
    }

    /// Uses an endpoint no more, unless it is the last; says whether it was in use. Calls that
    /// are under way there go on.
    pub(crate) fn remove(&self, endpoint: &Endpoint) -> bool {
        self.hub.remove(endpoint)
    }

    /// Takes no new calls from now on.
    pub(crate) fn close(&self) {
        self.hub.close();
    }

    /// Closes the connections: `hard` ends the calls that are still under way; without it, each
    /// connection is closed once they are answered.
    pub(crate) fn shut(&self, hard: bool) {
        self.hub.close();
        // Nothing panics while it is held.
        let closing = self.closing.lock();
        drop(closing.unwrap_or_else(PoisonError::into_inner).take());
        if hard {
            self.hub.cut();
        }
    }

    /// Whether calls over the link had better go elsewhere, and can.
    pub(crate) fn is_better_elsewhere(&self, link: &Link) -> bool {
        self.hub.is_better_elsewhere(link)
    }

    /// Returns how many other endpoints the call could be sent to.
    pub(crate) fn others(&self, want: Want) -> usize {
        match want.member {
            Some(_) => 0,
            None => self.hub.count().saturating_sub(1),
        }
    }
}
