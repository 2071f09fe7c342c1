//! gRPC over HTTP/2, and the connections below it.
//!
//! This layer provides a stream permit on a live connection ([`Pool::acquire`]), a call over it
//! ([`Exchange`], [`stream`]), and for every failure whether the request may have reached a server.
//! A call never passes through the task that owns a connection: it takes the published link, and
//! sends and receives in its own task.
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

pub(crate) use balance::Health;
pub(crate) use failure::Failure;
pub(crate) use grpc::frame;
#[cfg(fuzzing)]
pub(crate) use grpc::fuzz;
pub(crate) use identity::Origin;
pub(crate) use leader::{LeaderLoss, leader_loss};
pub(crate) use link::{Head, StreamPermit, TokenHeader};
pub(crate) use link_state::now;
pub(crate) use pool::{EndpointInfo, Pool, closed};
pub(crate) use unary::Exchange;

use self::balance::EndpointIndex;
use self::link::{Link, LinkId};
use crate::method::Lane;

/// Properties of a call that the choice of its endpoint and connection depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PickInfo {
    pub(crate) lane: Lane,
    /// The only endpoint that the call may go to.
    pub(crate) member: Option<EndpointTarget>,
    /// The link to avoid. Its endpoint is used while no other serves, and in the end the link itself.
    pub(crate) avoided: Option<Avoided>,
    /// Whether the call may start when the client takes no new calls any more.
    pub(crate) during_shutdown: bool,
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
