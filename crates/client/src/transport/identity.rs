//! Which cluster an endpoint has to belong to, and how a connection proves it.
//!
//! The user's endpoints are taken at the user's word. Endpoints that a member list names are not: a
//! member may advertise an address (`localhost`, or one that was given to another machine) at which
//! another cluster listens. So each connection to such an endpoint is asked for its cluster before
//! it is published. INVARIANT: until then nothing else is sent over it, and this carries no token.
//!
//! Every etcd tells its cluster to a client without a token, but not by the same method: from 3.6 on
//! `Status` wants a token. A watch that is refused for want of one is answered with a header, on all
//! versions. A learner serves no watch: on a cluster with authentication, one of 3.6 or later tells
//! its cluster to nobody without a token.
//!
//! An ID of a cluster is no secret. It guards against accidents, and against a server that makes it
//! up only as far as TLS shows that the server is the one that the URL names.
//!
//! Sources: `server/etcdserver/api/v3rpc/watch.go` (`isWatchPermitted`), `maintenance.go` and
//! `interceptor.go` there, etcd 3.4 to 3.7; tried on real etcd by `tests/it/strangers.rs`.

use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use etcdex_proto::etcdserverpb::{
    ResponseHeader, StatusRequest, StatusResponse, WatchCreateRequest, WatchRequest, WatchResponse,
    watch_request::RequestUnion,
};
use prost::Message;

use super::failure::Failure;
use super::grpc::frame;
use super::handshake::Unreachable;
use super::link::{Head, Link, Occupancy};
use super::stream::open;
use super::unary::Exchange;
use crate::method::Method;

/// The largest reply that is taken, in bytes.
const LIMIT: usize = 64 << 10;

/// Who has named an endpoint, and so what its connections have to prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The user: nothing has to be proven.
    User,
    /// A member list of the cluster with this ID: its connections have to lead there.
    Cluster(u64),
}

/// The origin of an endpoint; all connections to it share it.
pub(crate) struct Identity(Mutex<Origin>);

impl Identity {
    pub(crate) fn new(origin: Origin) -> Self {
        Self(Mutex::new(origin))
    }

    pub(crate) fn origin(&self) -> Origin {
        // Nothing panics while it is held.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, origin: Origin) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = origin;
    }
}

impl Origin {
    /// Whether a connection that has proven `self` may be used for an endpoint of `wanted`.
    pub(crate) fn satisfies(self, wanted: Self) -> bool {
        wanted == Self::User || self == wanted
    }
}

/// Has a connection prove that it leads where it has to. `verified` says that TLS has shown that
/// the server is the one that the URL names.
pub(crate) async fn prove(
    link: &Arc<Link>,
    origin: Origin,
    verified: bool,
) -> Result<(), Unreachable> {
    let Origin::Cluster(wanted) = origin else {
        return Ok(());
    };
    let told = match asked(by_status(link).await)? {
        Some(told) => Some(told),
        None => asked(by_watch(link).await)?,
    };
    judge(told, wanted, verified).map_err(Unreachable::stranger)
}

/// The rule.
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

/// What a server that was asked for its cluster has told, if anything.
fn asked(outcome: Result<Option<ResponseHeader>, Failure>) -> Result<Option<u64>, Unreachable> {
    match outcome {
        Ok(header) => Ok(header.map(|header| header.cluster_id).filter(|id| *id != 0)),
        // It is a gRPC server, and does not tell.
        Err(failure) if failure.error.code().is_some() => Ok(None),
        Err(failure) => Err(Unreachable::with(
            "it could not be asked for its cluster",
            io::Error::other(failure.error),
        )),
    }
}

async fn by_status(link: &Arc<Link>) -> Result<Option<ResponseHeader>, Failure> {
    let mut exchange = Exchange::begin(
        Occupancy::of(Arc::clone(link)),
        Method::Status,
        true,
        Head::default(),
        frame(&StatusRequest {}, LIMIT)?,
        LIMIT,
    )?;
    let reply = poll_fn(|cx| exchange.poll_reply(cx)).await?;
    Ok(StatusResponse::decode(reply).map_err(unreadable)?.header)
}

/// Dropping the stream cancels the watch.
async fn by_watch(link: &Arc<Link>) -> Result<Option<ResponseHeader>, Failure> {
    let occupancy = Occupancy::of(Arc::clone(link));
    let (mut outgoing, mut incoming) = open(occupancy, Method::Watch, Head::default(), LIMIT)?;
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
