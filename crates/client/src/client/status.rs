//! What a client knows of itself, for readiness probes.

use crate::Client;
use crate::call::Stage;
use crate::endpoint::Endpoint;
use crate::error::ErrorKind;
use crate::transport::{Health, Seen};

pub use crate::call::TokenState;

/// What a client knows of itself at one moment: see [`Client::status`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientStatus {
    /// Each endpoint that is in use, in the order in which they came.
    pub endpoints: Vec<EndpointStatus>,
    /// Whether the client has what it needs to log in.
    pub token: TokenState,
    /// How many calls are under way, those that wait for a connection included.
    pub calls: usize,
    /// [`Client::close`] was called: new calls are refused.
    pub closing: bool,
}

/// One endpoint in a [`ClientStatus`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointStatus {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Whether it can be reached.
    pub state: EndpointState,
    /// Calls that are under way on its connection for calls; streams and calls that wait for a
    /// lock have connections of their own.
    pub calls: usize,
}

/// Whether an endpoint can be reached, as far as the client has tried.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointState {
    /// There is no connection because nobody has wanted one: as with all endpoints but one in
    /// [`Mode::PickFirst`](crate::Mode::PickFirst).
    Idle,
    /// The first attempt to connect is under way.
    Connecting,
    /// There is a connection, and it is well.
    Ready,
    /// There is a connection that does not answer a ping: others are preferred.
    Suspect,
    /// There is a connection, and the member behind it does not serve: it has lost its peers, is a
    /// learner or stops, say. Others are preferred, and it is asked now and then whether it serves
    /// again.
    NotServing,
    /// The last attempt to connect failed, or the connection was lost. If it is wanted, it is
    /// tried again, with growing pauses.
    #[non_exhaustive]
    Down {
        /// [`Unavailable`](ErrorKind::Unavailable) or [`Tls`](ErrorKind::Tls).
        kind: ErrorKind,
        /// What went wrong, in words.
        cause: String,
    },
}

impl ClientStatus {
    /// Whether a call that came now would be sent at once: there is a connection, the last
    /// login was not refused, and the client is not closed.
    ///
    /// A client that nobody has used for half a minute keeps the connection for calls, so it stays
    /// ready. One made by [`connect_lazy`](crate::ClientBuilder::connect_lazy) is not ready before its
    /// first call. It says nothing of the cluster behind the connection: ask it, with a get, to
    /// know whether it has a leader.
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
    /// What the client knows of itself right now, for readiness probes and debugging. It asks
    /// nobody and costs a few short locks.
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
            endpoints: core.transport.seen().into_iter().map(told).collect(),
            token: authentication.map_or(
                TokenState::NoCredentials,
                crate::call::Authentication::state,
            ),
            calls: core.closing.under_way(),
            closing: core.closing.stage() != Stage::Open,
        }
    }
}

fn told(seen: Seen) -> EndpointStatus {
    let state = match (seen.health, seen.trouble) {
        (Health::Up, _) if !seen.serving => EndpointState::NotServing,
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
        endpoint: seen.endpoint,
        state,
        calls: seen.calls,
    }
}
