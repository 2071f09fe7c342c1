//! A call with messages of both sides that its owner opens again after each end.
//!
//! ```text
//!            a permit and a token             an error, or the server ends it
//!  Opening ────────────────────────► Open ───────────────────────────────────► dropped
//!     │                                                                          ▲
//!     └──────────────────────────────────────────────────────────────────────────┘
//!                                    an error
//! ```
//!
//! A stream ends with [`BidiEvent::Ended`], and its owner drops it. The owner decides when the next
//! one is opened; [`BidiOpener`] decides where:
//!
//! - The next stream avoids the connection and the endpoint of the latest one, if there is another.
//! - After a token was refused, it avoids nothing: the endpoint serves, and only the token has to be
//!   another one.
//!
//! A login is a write, which can hang while the call of the stream would be served. So a stream that
//! [needs no token](BidiCall::needs_token) waits for none until a server has refused one for the want
//! of a valid token.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::{Arc, Weak};

use bytes::Bytes;

use super::scope::{Core, Scope, gone};
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind};
use crate::method::Method;
use crate::mutex::Mutex;
use crate::transport::stream::{Incoming, Outgoing, open};
use crate::transport::{
    Avoided, EndpointTarget, Failure, Head, PickInfo, StreamPermit, TokenHeader,
};

/// The properties of each stream of an opener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BidiCall {
    pub(crate) method: Method,
    /// The only endpoint that the call may go to, if it may not go to any.
    pub(crate) member: Option<EndpointTarget>,
    pub(crate) require_leader: bool,
    /// Whether every release of etcd checks the token of the call. If not, a stream is opened
    /// without one while the client has none.
    pub(crate) needs_token: bool,
    /// Whether the call is made until the client is closed for good, and not only until it takes no
    /// new calls.
    pub(crate) during_shutdown: bool,
}

impl BidiCall {
    pub(crate) fn pick(self, avoided: Option<Avoided>) -> PickInfo {
        PickInfo {
            lane: self.method.lane(),
            member: self.member,
            avoided,
            during_shutdown: self.during_shutdown,
        }
    }
}

/// Opens the streams of one owner. Clones share the facts about the latest stream.
#[derive(Clone)]
pub(crate) struct BidiOpener {
    core: Weak<Core>,
    call: BidiCall,
    latest: Arc<Mutex<Latest>>,
}

/// Facts about the latest stream of an opener.
#[derive(Default)]
struct Latest {
    /// The connection that the next stream avoids.
    avoided: Option<Avoided>,
    /// The token that the stream was opened with.
    token: Option<Arc<TokenHeader>>,
    /// Whether a server has refused a stream for its token, or for the want of one.
    token_refused: bool,
}

/// One stream.
pub(crate) struct BidiStream {
    opener: BidiOpener,
    state: BidiState,
    token: Option<Arc<TokenHeader>>,
}

enum BidiState {
    Opening(Pin<Box<dyn Future<Output = Result<Opening, Error>> + Send>>),
    Open(Box<OpenBidi>),
}

/// The parts that a stream needs before it can be opened.
struct Opening {
    permit: StreamPermit,
    token: Option<Arc<TokenHeader>>,
    /// The largest message that is accepted, in bytes.
    limit: usize,
}

struct OpenBidi {
    outgoing: Outgoing,
    incoming: Incoming,
    /// Whether the server takes no more messages. The incoming side will return the reason.
    is_over: bool,
    /// Number of bytes of an incomplete message, at the last call of `grows`.
    incomplete: usize,
}

/// An event of a stream. It has no `Debug`, which would print keys and values.
pub(crate) enum BidiEvent {
    /// The stream is open. The server has not answered yet.
    Opened,
    /// The server has sent a message.
    Message(Bytes),
    /// The messages to the server were sent, or never will be.
    Sent,
    /// The stream has ended.
    Ended(Error),
}

impl BidiOpener {
    pub(crate) fn new(core: Weak<Core>, call: BidiCall) -> Self {
        Self {
            core,
            call,
            latest: Arc::default(),
        }
    }

    /// Opens the next stream, with the token that the client has.
    pub(crate) fn open(&self) -> BidiStream {
        self.open_with(false)
    }

    /// Opens the next stream with a token that the client has not used before. The endpoint of the
    /// latest stream is not avoided.
    pub(crate) fn open_with_fresh_token(&self) -> BidiStream {
        self.avoid_nothing();
        self.open_with(true)
    }

    /// Lets the next stream use the connection of the latest one.
    pub(crate) fn avoid_nothing(&self) {
        self.latest.lock().avoided = None;
    }

    fn open_with(&self, fresh: bool) -> BidiStream {
        let (avoided, stale, waits_for_token) = {
            let latest = self.latest.lock();
            let stale = latest.token.clone().filter(|_| fresh);
            let waits = self.call.needs_token || latest.token_refused;
            (latest.avoided, stale, waits)
        };
        let core = self.core.upgrade();
        let call = self.call;
        let opening = async move {
            let core = core.ok_or_else(gone)?;
            let scope = Scope {
                member: call.member,
                during_shutdown: call.during_shutdown,
                ..Scope::of(core)
            };
            if let Some(authentication) = scope.authentication().filter(|_| fresh) {
                authentication.invalid(stale.as_deref());
            }
            let token = if waits_for_token {
                scope.token().await?
            } else {
                scope.present_token()
            };
            let permit = scope.core.pool.acquire(call.pick(avoided)).await?;
            let limit = scope.core.options.max_receive_size;
            Ok(Opening {
                permit,
                token,
                limit,
            })
        };
        BidiStream {
            opener: self.clone(),
            state: BidiState::Opening(Box::pin(opening)),
            token: None,
        }
    }
}

impl BidiStream {
    /// Waits for the next event. `frames` returns the messages to send, framed, if there are any; it
    /// is called once if the stream is open.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing, and nothing of the messages was sent.
    pub(crate) async fn event(&mut self, frames: impl FnOnce() -> Option<Bytes>) -> BidiEvent {
        let open = match &mut self.state {
            BidiState::Opening(opening) => {
                return match opening.await {
                    Ok(opening) => self.start(opening),
                    Err(error) => BidiEvent::Ended(error),
                };
            }
            BidiState::Open(open) => &mut **open,
        };
        let frames = frames().filter(|_| !open.is_over);
        let (outgoing, incoming) = (&mut open.outgoing, &mut open.incoming);
        let send = async {
            match frames {
                Some(frames) => outgoing.send(frames).await,
                None => pending().await,
            }
        };
        // Not biased: a server that never stops sending must not prevent messages to it.
        tokio::select! {
            message = incoming.message() => match message {
                Ok(Some(message)) => BidiEvent::Message(message),
                Ok(None) => {
                    let message = "the server has ended the stream";
                    BidiEvent::Ended(Error::new(ErrorKind::Unavailable, message))
                }
                Err(failure) => self.end(failure),
            },
            sent = send => {
                open.is_over |= sent.is_err();
                BidiEvent::Sent
            }
        }
    }

    fn start(&mut self, opening: Opening) -> BidiEvent {
        let Opening {
            permit,
            token,
            limit,
        } = opening;
        let link = Arc::clone(permit.link());
        {
            let mut latest = self.opener.latest.lock();
            latest.avoided = Some(Avoided::new(&link));
            latest.token.clone_from(&token);
        }
        self.token = token;
        let head = Head {
            timeout: None,
            require_leader: self.opener.call.require_leader,
            token: self.token.as_deref(),
        };
        match open(permit, self.opener.call.method, head, limit) {
            Ok((outgoing, incoming)) => {
                self.state = BidiState::Open(Box::new(OpenBidi {
                    outgoing,
                    incoming,
                    is_over: false,
                    incomplete: 0,
                }));
                BidiEvent::Opened
            }
            Err(mut failure) => {
                failure.error = failure.error.with_endpoint(&link.endpoint);
                self.end(failure)
            }
        }
    }

    /// Returns the end of the stream after a failure. If the failure is about the token, the next
    /// stream has another one.
    fn end(&self, failure: Failure) -> BidiEvent {
        let is_token_refused = self.opener.core.upgrade().is_some_and(|core| {
            Scope::of(core).note_token_refusal(&failure, self.token.as_deref())
        });
        if is_token_refused {
            let mut latest = self.opener.latest.lock();
            latest.avoided = None;
            latest.token_refused = true;
        }
        BidiEvent::Ended(failure.error)
    }

    /// Adds the endpoint of the stream to an error.
    pub(crate) fn locate(&self, error: Error) -> Error {
        match self.endpoint() {
            Some(endpoint) => error.with_endpoint(endpoint),
            None => error,
        }
    }

    /// Whether the server takes messages.
    pub(crate) fn takes_messages(&self) -> bool {
        matches!(&self.state, BidiState::Open(open) if !open.is_over)
    }

    /// Returns the incoming side of an open stream.
    pub(crate) fn incoming(&self) -> Option<&Incoming> {
        match &self.state {
            BidiState::Opening(_) => None,
            BidiState::Open(open) => Some(&open.incoming),
        }
    }

    /// Returns the endpoint of an open stream.
    pub(crate) fn endpoint(&self) -> Option<&Endpoint> {
        self.incoming().map(|incoming| &incoming.link().endpoint)
    }

    /// Whether more bytes of an incomplete message have come since the last call.
    pub(crate) fn grows(&mut self) -> bool {
        match &mut self.state {
            BidiState::Opening(_) => false,
            BidiState::Open(open) => {
                let incomplete = open.incoming.incomplete();
                incomplete > std::mem::replace(&mut open.incomplete, incomplete)
            }
        }
    }
}
