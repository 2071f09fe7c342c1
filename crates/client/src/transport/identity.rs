//! Which cluster and which member a connection leads to, and how it is asked for them.
//!
//! The client trusts endpoints that the user names. It does not trust endpoints of a member list: a
//! member may advertise an address (`localhost`, or one that was given to another machine) at which
//! another cluster listens. So each connection to such an endpoint is asked for its cluster before
//! the connection is published. INVARIANT: until then nothing else is sent over the connection, and
//! the question carries no token.
//!
//! Every etcd tells its cluster to a client without a token, but not by the same method: from 3.6 on
//! `Status` requires a token. A watch that is refused because it has no token is answered with a
//! header, on all versions. A learner serves no watch: on a cluster with authentication, a learner of
//! 3.6 or later tells its cluster to no client without a token.
//!
//! Members can swap their URLs. So once a handle of a member by its ID uses an endpoint, each new
//! connection there is asked for its member too, in the same way, and calls of the handle are given
//! no connection that leads to another member. A server that does not tell its member is trusted to be
//! the one that the member list names.
//!
//! The ID of a cluster is no secret. The check of it guards against accidents. It guards against a
//! server that invents the ID only as far as TLS shows that the server is the one that the URL names.
//!
//! Sources: `server/etcdserver/api/v3rpc/watch.go` (`isWatchPermitted`), `maintenance.go` and
//! `interceptor.go` there, etcd 3.4 to 3.7; tried on real etcd by `tests/it/other_cluster.rs`.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use etcdex_proto::etcdserverpb::{
    ResponseHeader, StatusRequest, StatusResponse, WatchCreateRequest, WatchRequest, WatchResponse,
    watch_request::RequestUnion,
};
use prost::Message;

use super::connect_error::ConnectError;
use super::failure::Failure;
use super::grpc::frame;
use super::link::{Head, Link, StreamPermit};
use super::stream::open;
use super::unary::Exchange;
use crate::method::Method;
use crate::mutex::Mutex;

/// The largest reply that is taken, in bytes.
const LIMIT: usize = 64 << 10;

/// How long a server at an endpoint of the user may take to tell its member: other calls wait for
/// the connection meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);

/// The source of an endpoint, which decides what its connections have to prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The user: nothing has to be proven.
    User,
    /// A member list of the cluster with this ID: its connections have to lead there.
    Cluster(u64),
}

/// Requirements for the connections to an endpoint, which all of them share.
pub(crate) struct Identity {
    origin: Mutex<Origin>,
    /// Whether new connections are asked for their member.
    asks_member: AtomicBool,
}

/// Identity that a connection has told and proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    origin: Origin,
    member: Told,
}

/// The member that a connection leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// The connection was not asked for its member.
    Unasked,
    /// The server does not tell its member without a token.
    Nothing,
    Member(u64),
}

impl Identity {
    pub(crate) fn new(origin: Origin) -> Self {
        Self {
            origin: Mutex::new(origin),
            asks_member: AtomicBool::new(false),
        }
    }

    pub(crate) fn origin(&self) -> Origin {
        *self.origin.lock()
    }

    pub(crate) fn set_origin(&self, origin: Origin) {
        *self.origin.lock() = origin;
    }

    /// Requires new connections to tell their member from now on.
    pub(crate) fn ask_member(&self) {
        self.asks_member.store(true, Ordering::Relaxed);
    }

    pub(crate) fn asks_member(&self) -> bool {
        self.asks_member.load(Ordering::Relaxed)
    }

    /// Whether a connection with this proof may take calls.
    pub(crate) fn accepts(&self, proof: Proof) -> bool {
        proof.origin.satisfies(self.origin())
            && (proof.member != Told::Unasked || !self.asks_member())
    }
}

impl Proof {
    /// The proof of a connection that was asked for nothing.
    pub(crate) const NONE: Self = Self {
        origin: Origin::User,
        member: Told::Unasked,
    };

    /// Returns the ID of the member that the connection leads to, if the server has told it.
    pub(crate) fn member(self) -> Option<u64> {
        match self.member {
            Told::Member(id) => Some(id),
            Told::Unasked | Told::Nothing => None,
        }
    }
}

impl Origin {
    /// Whether a connection that has proven `self` may be used for an endpoint of `wanted`.
    pub(crate) fn satisfies(self, wanted: Self) -> bool {
        wanted == Self::User || self == wanted
    }
}

/// Asks a connection for its cluster and its member, and checks the cluster. `verified` says that TLS
/// has shown that the server is the one that the URL names.
async fn prove(link: &Arc<Link>, origin: Origin, verified: bool) -> Result<Proof, ConnectError> {
    let header = header(link).await?;
    let cluster = header.as_ref().map(|header| header.cluster_id);
    if let Origin::Cluster(wanted) = origin {
        judge(cluster.filter(|id| *id != 0), wanted, verified)
            .map_err(ConnectError::cluster_mismatch)?;
    }
    let member = header.map_or(0, |header| header.member_id);
    let member = match member {
        0 => Told::Nothing,
        id => Told::Member(id),
    };
    Ok(Proof { origin, member })
}

/// Returns the header of the first reply that the server gives without a token, if any.
async fn header(link: &Arc<Link>) -> Result<Option<ResponseHeader>, ConnectError> {
    match asked(by_status(link).await)? {
        Some(header) => Ok(Some(header)),
        None => asked(by_watch(link).await),
    }
}

/// Asks a connection for the cluster and the member that its endpoint requires, within `limit`.
///
/// An endpoint of the user stays usable if the server does not answer: only handles of a member by its
/// ID need the answer.
pub(crate) async fn ask(
    link: &Arc<Link>,
    identity: &Identity,
    verified: bool,
    limit: Duration,
) -> Result<Proof, ConnectError> {
    let origin = identity.origin();
    if origin == Origin::User && !identity.asks_member() {
        return Ok(Proof::NONE);
    }
    let limit = match origin {
        Origin::User => limit.min(PATIENCE),
        Origin::Cluster(_) => limit,
    };
    match tokio::time::timeout(limit, prove(link, origin, verified)).await {
        Ok(Ok(proof)) => Ok(proof),
        Ok(Err(_)) | Err(_) if origin == Origin::User => Ok(Proof {
            origin,
            member: Told::Nothing,
        }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(ConnectError::new(
            "it does not tell which cluster it belongs to",
        )),
    }
}

/// Decides whether a server that told this cluster belongs to the cluster that is wanted.
fn judge(told: Option<u64>, wanted: u64, verified: bool) -> Result<(), String> {
    match told {
        Some(told) if told == wanted => Ok(()),
        Some(told) if wanted != 0 => Err(format!(
            "it belongs to the cluster {told:x}, and the member list of {wanted:x} names it"
        )),
        _ if verified => Ok(()),
        _ => Err(
            "it does not tell its cluster without a token, and there is no TLS that would show \
             who it is; add_endpoint takes it at your word"
                .to_owned(),
        ),
    }
}

/// Returns the header that a server has sent when asked for its cluster, if it tells one.
fn asked(
    outcome: Result<Option<ResponseHeader>, Failure>,
) -> Result<Option<ResponseHeader>, ConnectError> {
    match outcome {
        Ok(header) => Ok(header.filter(|header| header.cluster_id != 0)),
        // The server speaks gRPC, and does not tell its cluster.
        Err(failure) if failure.error.code().is_some() => Ok(None),
        Err(failure) => Err(ConnectError::with(
            "it could not be asked for its cluster",
            io::Error::other(failure.error),
        )),
    }
}

async fn by_status(link: &Arc<Link>) -> Result<Option<ResponseHeader>, Failure> {
    let mut exchange = Exchange::begin(
        StreamPermit::new(Arc::clone(link)),
        Method::Status,
        true,
        Head::default(),
        frame(&StatusRequest {}, LIMIT)?,
        LIMIT,
    )?;
    let reply = poll_fn(|cx| exchange.poll_reply(cx)).await?;
    Ok(StatusResponse::decode(reply).map_err(unreadable)?.header)
}

/// Asks by creating a watch. Dropping the stream cancels the watch.
async fn by_watch(link: &Arc<Link>) -> Result<Option<ResponseHeader>, Failure> {
    let permit = StreamPermit::new(Arc::clone(link));
    let (mut outgoing, mut incoming) = open(permit, Method::Watch, Head::default(), LIMIT)?;
    let create = WatchCreateRequest {
        key: Bytes::from_static(&[0]),
        ..WatchCreateRequest::default()
    };
    let create = WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(create)),
    };
    outgoing.send(frame(&create, LIMIT)?).await?;
    let Some(message) = incoming.message().await? else {
        return Ok(None);
    };
    Ok(WatchResponse::decode(message).map_err(unreadable)?.header)
}

fn unreadable(_: prost::DecodeError) -> Failure {
    Failure::violation("the reply cannot be read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_to_tell_its_cluster_or_to_show_who_it_is() {
        for (told, wanted, verified, proven) in [
            (Some(7), 7, false, true),
            (Some(8), 7, false, false),
            (Some(8), 7, true, false),
            (None, 7, false, false),
            (None, 7, true, true),
            // The member list did not tell its cluster.
            (Some(8), 0, false, false),
            (Some(8), 0, true, true),
            (None, 0, false, false),
        ] {
            let judged = judge(told, wanted, verified);
            assert_eq!(judged.is_ok(), proven, "{told:?} {wanted} {verified}");
        }
    }

    #[test]
    fn a_connection_is_good_for_what_it_has_proven_and_for_the_users_word() {
        let (user, one, other) = (Origin::User, Origin::Cluster(1), Origin::Cluster(2));
        assert!(user.satisfies(user) && one.satisfies(user) && one.satisfies(one));
        assert!(!user.satisfies(one) && !other.satisfies(one));
    }
}
