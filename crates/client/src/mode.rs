//! The choice of an endpoint for a call.

/// How a client spreads its calls over several endpoints.
///
/// # When a client leaves an endpoint
/// In every mode, calls go to endpoints that are connected and serve:
/// - A connection that is lost, or has not answered a ping for 2 s, is left at once.
/// - A member that answers pings but no calls, such as one that has lost its peers, is left about 1.6 s
///   after the first call without an answer. The client probes it with a small read without a token.
/// - A member that refuses calls because it has no leader, is a learner or stops is left at once.
///
/// A call that a server has certainly not applied is sent again to another endpoint, and a read
/// always is. A write without an answer is not sent again. It ends with
/// [`Outcome::Unknown`](crate::Outcome::Unknown): at its time-out, or some 3 s after it was sent if
/// another endpoint serves by then. Watches, kept leases and waiting locks leave after the same time;
/// watches and leases go on elsewhere.
///
/// # When a client returns to an endpoint
/// [`Random`](Self::Random) and [`ConnectAll`](Self::ConnectAll) use an endpoint again as soon as it
/// answers. [`PickFirst`](Self::PickFirst) stays at the new endpoint. When no endpoint serves, calls are
/// sent all the same, and are answered as soon as an endpoint serves. A handle of one
/// [`with_endpoint`](crate::Client::with_endpoint) never goes elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// Sends all calls to one endpoint. The client chooses it at random, so that many clients
    /// spread, and keeps it until the endpoint fails or its connection reaches
    /// [`max_connection_age`](crate::ClientBuilder::max_connection_age).
    #[default]
    PickFirst,
    /// Connects to each endpoint, and sends each call to a healthy endpoint at random.
    Random,
    /// Connects to each endpoint, and sends each call to the healthy endpoint with the fewest calls
    /// in progress.
    ConnectAll,
}
