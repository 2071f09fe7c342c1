//! How calls are spread over several endpoints.

/// How calls are spread over several endpoints.
///
/// # When a client leaves an endpoint
/// In every mode, calls go to endpoints that are connected and serve:
/// - A connection that is lost, or has not answered a ping for 2 s, is left at once.
/// - A member that answers pings and no calls (it has lost its peers, say) is left about 2 s after the
///   first call that it does not answer. The client asks it with a small read that brings no token.
/// - A member that refuses calls because it has no leader, is a learner or stops is left at once.
///
/// A call that a server has certainly not applied is sent to another endpoint, and a read is in any
/// case. A write without an answer is not sent again. It ends with
/// [`Outcome::Unknown`](crate::Outcome::Unknown): at its time-out, or some 4 s after it was sent if
/// another endpoint serves by then. Watches, kept leases and waiting locks leave after the same time;
/// watches and leases go on elsewhere.
///
/// # When it comes back
/// [`Random`](Self::Random) and [`ConnectAll`](Self::ConnectAll) use an endpoint again as soon as it
/// answers. [`PickFirst`](Self::PickFirst) stays where it has gone. Where no endpoint serves, calls go out
/// all the same and are answered as soon as one does. A handle of one
/// [`member`](crate::Client::member) never goes elsewhere.
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
