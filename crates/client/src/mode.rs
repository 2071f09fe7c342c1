//! How calls are spread over several endpoints.

/// How calls are spread over several endpoints.
///
/// In every mode, an endpoint that is down, stuck or cut off is left for another one, and a
/// read that failed there is tried elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// One endpoint, chosen at random at the start so that a fleet of clients spreads, and kept
    /// for as long as it is well and its connection is not too old
    /// ([`max_connection_age`](crate::Builder::max_connection_age)).
    #[default]
    PickFirst,
    /// A connection to each endpoint, and each call to one of those that are well, at random.
    Random,
    /// A connection to each endpoint, and each call to the one that is well and has the fewest
    /// calls under way.
    ConnectAll,
}
