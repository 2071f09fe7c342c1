//! The state of a client at one moment, for readiness probes.

use crate::Client;
use crate::call::ShutdownStage;
use crate::endpoint::Endpoint;
use crate::error::ErrorKind;
use crate::transport::{EndpointInfo, Health};

pub use crate::call::TokenState;

/// The state of a client at one moment: see [`Client::status`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientStatus {
    /// The endpoints that are in use, in the order in which they were added.
    pub endpoints: Vec<EndpointStatus>,
    /// The state of the client's token.
    pub token: TokenState,
    /// Number of calls in progress, including calls that wait for a connection.
    pub calls: usize,
    /// Whether [`Client::close`] was called: new calls are refused.
    pub closing: bool,
}

/// One endpoint in a [`ClientStatus`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointStatus {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Whether the endpoint can be reached.
    pub state: EndpointState,
    /// Number of calls in progress on the endpoint's connection for calls. Streams and calls that
    /// wait for a lock have connections of their own.
    pub calls: usize,
}

/// Whether an endpoint can be reached, as far as the client has tried.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointState {
    /// There is no connection because no call has needed one, as with all endpoints but one in
    /// [`Mode::PickFirst`](crate::Mode::PickFirst).
    Idle,
    /// The first attempt to connect is under way.
    Connecting,
    /// There is a connection, and it is healthy.
    Ready,
    /// There is a connection that does not answer a ping: other endpoints are preferred.
    Suspect,
    /// There is a connection, and the member behind it does not serve: it has lost its peers, is a
    /// learner, or is stopping, for example. Other endpoints are preferred, and the client probes
    /// the member from time to time.
    NotServing,
    /// The last attempt to connect failed, or the connection was lost. If the endpoint is needed,
    /// the client tries it again, with growing pauses.
    #[non_exhaustive]
    Down {
        /// [`Unavailable`](ErrorKind::Unavailable) or [`Tls`](ErrorKind::Tls).
        kind: ErrorKind,
        /// Description of the failure.
        cause: String,
    },
}

impl ClientStatus {
    /// Returns whether a call would be sent at once: there is a connection, the last login was not
    /// refused, and the client is not closed.
    ///
    /// A client that was not used for half a minute keeps the connection for calls, so it stays
    /// ready. A client made by [`connect_lazy`](crate::ClientBuilder::connect_lazy) is not ready
    /// before its first call. The result says nothing about the cluster behind the connection: send
    /// a get to learn whether the cluster has a leader.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let connected = |one: &EndpointStatus| {
            matches!(
                one.state,
                EndpointState::Ready | EndpointState::Suspect | EndpointState::NotServing
            )
        };
        let refused = matches!(self.token, TokenState::Refused { .. });
        !self.closing && !refused && self.endpoints.iter().any(connected)
    }
}

impl Client {
    /// Returns the state of the client, for readiness probes and debugging. The method contacts no
    /// server and takes a few short locks.
    ///
    /// ```no_run
    /// # fn example(client: etcdex::Client) {
    /// let status = client.status();
    /// if !status.is_ready() {
    ///     eprintln!("etcd cannot be reached: {:?}", status.endpoints);
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn status(&self) -> ClientStatus {
        let core = &self.scope.core;
        let authentication = core.authentication.get();
        ClientStatus {
            endpoints: core.pool.endpoint_info().into_iter().map(told).collect(),
            token: authentication.map_or(
                TokenState::NoCredentials,
                crate::call::Authentication::state,
            ),
            calls: core.shutdown.calls(),
            closing: core.shutdown.stage() != ShutdownStage::Open,
        }
    }
}

fn told(info: EndpointInfo) -> EndpointStatus {
    let state = match (info.health, info.last_error) {
        (Health::Up, _) if !info.serving => EndpointState::NotServing,
        (Health::Up, _) => EndpointState::Ready,
        (Health::Suspect, _) => EndpointState::Suspect,
        (Health::Down, Some(cause)) => EndpointState::Down {
            kind: cause.kind(),
            cause: cause.to_string(),
        },
        (Health::Trying | Health::Slow | Health::Down, _) => EndpointState::Connecting,
        (Health::Idle | Health::Retired, _) => EndpointState::Idle,
    };
    EndpointStatus {
        endpoint: info.endpoint,
        state,
        calls: info.calls,
    }
}
