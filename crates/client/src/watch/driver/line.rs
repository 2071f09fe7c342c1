//! The stream itself: opened, listened to, dropped.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::{Driver, Event, Future};
use crate::call::{Call, Scope};
use crate::error::{Error, ErrorKind, Retry};
use crate::maintenance::Status;
use crate::method::Method;
use crate::transport::stream::{Incoming, Outgoing, open};
use crate::transport::{Avoided, EndpointTarget, Failure, Head, Occupancy, TokenHeader, Want, now};

/// How long a server may take to tell its version. Without it no progress is asked for.
const VERSION: Duration = Duration::from_secs(5);

/// A place for the stream, and the token that it brings.
pub(super) type Place = (Occupancy, Option<Arc<TokenHeader>>);

pub(super) enum Stream {
    None,
    Opening(Future<Result<Place, Error>>),
    Open(Box<Open>),
}

pub(super) struct Open {
    outgoing: Outgoing,
    pub(super) incoming: Incoming,
    /// It takes no more; the incoming side will say why.
    pub(super) ended: bool,
    /// How much of an incomplete message had come when that was last looked at.
    incomplete: usize,
}

impl Open {
    /// Whether more has come of a message that is not complete.
    fn grows(&mut self) -> bool {
        let incomplete = self.incoming.incomplete();
        incomplete > std::mem::replace(&mut self.incomplete, incomplete)
    }
}

impl Stream {
    /// What comes from it, or that a piece has left.
    pub(super) async fn event(&mut self, piece: &BytesMut) -> Event {
        match self {
            Self::None => pending().await,
            Self::Opening(place) => Event::Occupied(place.as_mut().await),
            Self::Open(open) => {
                let Open {
                    outgoing, incoming, ..
                } = &mut **open;
                let send = async {
                    if piece.is_empty() {
                        return pending().await;
                    }
                    outgoing.send(Bytes::copy_from_slice(piece)).await
                };
                // Not biased: a server that never stops sending must not keep from being asked.
                tokio::select! {
                    message = incoming.message() => Event::Message(message),
                    sent = send => Event::Sent(sent),
                }
            }
        }
    }
}

impl Driver {
    /// Notes that a long message is on its way.
    // ORDER: looked at before the stream is given up for its silence.
    pub(super) fn look(&mut self) {
        if let Stream::Open(open) = &mut self.stream {
            if open.grows() {
                self.watches.delayed(now());
            }
        }
    }

    pub(super) fn open(&mut self, fresh: bool) {
        let want = Want {
            lane: Method::Watch.lane(),
            member: self.route.member,
            avoided: self.avoided,
            parting: false,
        };
        let scope = self.scope();
        let stale = self.token.take();
        self.stream = Stream::Opening(Box::pin(async move {
            let Some(scope) = scope else {
                return Err(Error::new(ErrorKind::Closed, "the client is gone"));
            };
            if let Some(authentication) = scope.authentication().filter(|_| fresh) {
                authentication.invalid(stale.as_deref());
            }
            let token = scope.token().await?;
            Ok((scope.core.transport.occupy(want).await?, token))
        }));
    }

    /// Forgets the stream. `silent` says that it had no answer within its wait.
    pub(super) fn drop_stream(&mut self, silent: bool) {
        // ORDER: the old stream is gone before there is a new one, and nothing of it comes in
        // later: what comes next comes from the next.
        if let Stream::Open(open) = std::mem::replace(&mut self.stream, Stream::None) {
            let link = open.incoming.link();
            self.avoided = Some(Avoided {
                place: link.place,
                link: link.id,
            });
            if silent {
                open.incoming.report_no_answer();
            }
        }
        self.piece.clear();
        self.version = None;
    }

    pub(super) fn start(
        &mut self,
        occupancy: Occupancy,
        token: Option<Arc<TokenHeader>>,
    ) -> Result<(), Failure> {
        self.token = token;
        let Some(core) = self.core.upgrade() else {
            let (kind, message) = (ErrorKind::Closed, "the client is gone");
            return Err(Failure::not_sent(kind, message, Retry::Never));
        };
        let place = occupancy.link().place;
        let limit = core.options.max_receive_size;
        let head = Head {
            timeout: None,
            require_leader: self.route.require_leader,
            token: self.token.as_deref(),
        };
        let (outgoing, incoming) = open(occupancy, Method::Watch, head, limit)?;
        self.stream = Stream::Open(Box::new(Open {
            outgoing,
            incoming,
            ended: false,
            incomplete: 0,
        }));
        let mut scope = Scope::of(core);
        scope.member = Some(EndpointTarget::at(place));
        let status = Call::new(&scope, Status::new()).timeout(VERSION);
        self.version = Some(Box::pin(async move {
            status.await.ok().map(|status| status.version)
        }));
        Ok(())
    }
}
