//! The gRPC stream of the watches: opening it, waiting for its events, dropping it.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::{Driver, DriverEvent, Future};
use crate::call::{Call, Scope};
use crate::error::{Error, ErrorKind, Retry};
use crate::maintenance::Status;
use crate::method::Method;
use crate::transport::stream::{Incoming, Outgoing, open};
use crate::transport::{
    Avoided, EndpointTarget, Failure, Head, PickInfo, StreamPermit, TokenHeader, now,
};

/// The longest wait for the version of a server. Without the version, the machine requests no progress.
const VERSION_TIMEOUT: Duration = Duration::from_secs(5);

/// The permit for the stream, and the token that it is opened with.
pub(super) type StreamStart = (StreamPermit, Option<Arc<TokenHeader>>);

pub(super) enum RpcStream {
    None,
    Opening(Future<Result<StreamStart, Error>>),
    Open(Box<OpenWatchStream>),
}

pub(super) struct OpenWatchStream {
    outgoing: Outgoing,
    pub(super) incoming: Incoming,
    /// Whether the server takes no more requests. The incoming side tells the reason.
    pub(super) ended: bool,
    /// Number of bytes of the incomplete message, at the last call of `grows`.
    incomplete: usize,
}

impl OpenWatchStream {
    /// Whether more bytes of an incomplete message have come since the last call.
    fn grows(&mut self) -> bool {
        let incomplete = self.incoming.incomplete();
        incomplete > std::mem::replace(&mut self.incomplete, incomplete)
    }
}

impl RpcStream {
    /// Waits for the next message, or until `unsent` was sent.
    pub(super) async fn event(&mut self, unsent: &BytesMut) -> DriverEvent {
        match self {
            Self::None => pending().await,
            Self::Opening(start) => DriverEvent::Occupied(start.as_mut().await),
            Self::Open(open) => {
                let OpenWatchStream {
                    outgoing, incoming, ..
                } = &mut **open;
                let send = async {
                    if unsent.is_empty() {
                        return pending().await;
                    }
                    outgoing.send(Bytes::copy_from_slice(unsent)).await
                };
                // Not biased: a server that never stops sending must not prevent requests.
                tokio::select! {
                    message = incoming.message() => DriverEvent::Message(message),
                    sent = send => DriverEvent::Sent(sent),
                }
            }
        }
    }
}

impl Driver {
    /// Tells the machine if more bytes of a long message have come.
    // ORDER: this comes before the machine may give the stream up for its silence.
    pub(super) fn note_incomplete(&mut self) {
        if let RpcStream::Open(open) = &mut self.stream {
            if open.grows() {
                self.watches.delayed(now());
            }
        }
    }

    pub(super) fn open(&mut self, fresh: bool) {
        if fresh {
            // The endpoint serves: only the token has to be another one.
            self.avoided = None;
        }
        let pick = PickInfo {
            lane: Method::Watch.lane(),
            member: self.route.member,
            avoided: self.avoided,
            parting: false,
        };
        let scope = self.scope();
        let stale = self.token.take();
        self.stream = RpcStream::Opening(Box::pin(async move {
            let Some(scope) = scope else {
                return Err(Error::new(ErrorKind::Closed, "the client is gone"));
            };
            if let Some(authentication) = scope.authentication().filter(|_| fresh) {
                authentication.invalid(stale.as_deref());
            }
            let token = scope.token().await?;
            Ok((scope.core.transport.acquire(pick).await?, token))
        }));
    }

    /// Drops the stream. `silent` says that no answer came within the wait.
    pub(super) fn drop_stream(&mut self, silent: bool) {
        // ORDER: the old stream is dropped before a new one is opened, so that each later message is
        // one of the new stream.
        if let RpcStream::Open(open) = std::mem::replace(&mut self.stream, RpcStream::None) {
            let link = open.incoming.link();
            self.avoided = Some(Avoided::new(link));
            if silent {
                open.incoming.report_no_answer();
            }
        }
        self.unsent.clear();
        self.version = None;
    }

    pub(super) fn start(
        &mut self,
        permit: StreamPermit,
        token: Option<Arc<TokenHeader>>,
    ) -> Result<(), Failure> {
        self.token = token;
        let Some(core) = self.core.upgrade() else {
            let (kind, message) = (ErrorKind::Closed, "the client is gone");
            return Err(Failure::not_sent(kind, message, Retry::Never));
        };
        let index = permit.link().index;
        let limit = core.options.max_receive_size;
        let head = Head {
            timeout: None,
            require_leader: self.route.require_leader,
            token: self.token.as_deref(),
        };
        let (outgoing, incoming) = open(permit, Method::Watch, head, limit)?;
        self.stream = RpcStream::Open(Box::new(OpenWatchStream {
            outgoing,
            incoming,
            ended: false,
            incomplete: 0,
        }));
        let mut scope = Scope::of(core);
        scope.member = Some(EndpointTarget::at(index));
        let status = Call::new(&scope, Status::new()).timeout(VERSION_TIMEOUT);
        self.version = Some(Box::pin(async move {
            status.await.ok().map(|status| status.version)
        }));
        Ok(())
    }
}
