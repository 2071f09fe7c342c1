//! One stream of renewals: its opening, its answers, its renewals.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use etcdex_proto::etcdserverpb::LeaseKeepAliveRequest;

use crate::error::Error;
use crate::kv::LeaseId;
use crate::lease::unanswered::StreamNumber;
use crate::method::Method;
use crate::transport::stream::{Incoming, Outgoing, open};
use crate::transport::{Failure, Head, StreamPermit, TokenHeader, frame};

/// A permit for a stream on a connection, and the token of the stream.
type Occupied = (StreamPermit, Option<Arc<TokenHeader>>);

/// The wait for a permit and a token.
pub(super) type PermitFuture = Pin<Box<dyn Future<Output = Result<Occupied, Error>> + Send>>;

pub(super) struct RenewalStream {
    pub(super) number: StreamNumber,
    io: StreamIo,
    /// Renewals that wait for the server's window.
    pub(super) batch: Vec<LeaseId>,
    /// The token that the stream was opened with.
    token: Option<Arc<TokenHeader>>,
}

enum StreamIo {
    Opening(PermitFuture),
    Open(Box<OpenStream>),
}

struct OpenStream {
    outgoing: Outgoing,
    incoming: Incoming,
    /// The server accepts no more; the incoming side will return the reason.
    ended: bool,
}

pub(super) enum StreamEvent {
    Occupied(Result<Occupied, Error>),
    Answer(Result<Option<Bytes>, Failure>),
    Sent(Result<(), Failure>),
}

impl RenewalStream {
    pub(super) fn opening(number: StreamNumber, place: PermitFuture) -> Self {
        Self {
            number,
            io: StreamIo::Opening(place),
            batch: Vec::new(),
            token: None,
        }
    }

    pub(super) fn start(
        &mut self,
        permit: StreamPermit,
        token: Option<Arc<TokenHeader>>,
        limit: usize,
    ) -> Result<(), Failure> {
        self.token = token;
        let head = Head {
            timeout: None,
            // A member without a leader would keep the stream open and never answer.
            require_leader: true,
            token: self.token.as_deref(),
        };
        let (outgoing, incoming) = open(permit, Method::LeaseKeepAlive, head, limit)?;
        self.io = StreamIo::Open(Box::new(OpenStream {
            outgoing,
            incoming,
            ended: false,
        }));
        Ok(())
    }

    /// Returns whether the stream accepts renewals.
    pub(super) fn takes(&self) -> bool {
        matches!(&self.io, StreamIo::Open(open) if !open.ended)
    }

    pub(super) fn incoming(&self) -> Option<&Incoming> {
        match &self.io {
            StreamIo::Opening(_) => None,
            StreamIo::Open(open) => Some(&open.incoming),
        }
    }

    pub(super) fn token(&self) -> Option<&TokenHeader> {
        self.token.as_deref()
    }

    /// Clears the batch after it was sent or has failed.
    pub(super) fn sent(&mut self, outcome: &Result<(), Failure>) {
        self.batch.clear();
        if let (Err(_), StreamIo::Open(open)) = (outcome, &mut self.io) {
            open.ended = true;
        }
    }

    /// Waits for an answer, or until the batch is sent. Dropping the future loses nothing.
    pub(super) async fn event(&mut self) -> StreamEvent {
        let Self { io, batch, .. } = self;
        let open = match io {
            StreamIo::Opening(place) => return StreamEvent::Occupied(place.as_mut().await),
            StreamIo::Open(open) => &mut **open,
        };
        let (outgoing, incoming) = (&mut open.outgoing, &mut open.incoming);
        let send = async {
            match renewals(batch) {
                Some(frames) => outgoing.send(frames).await,
                None => pending().await,
            }
        };
        tokio::select! {
            answer = incoming.message() => StreamEvent::Answer(answer),
            sent = send => StreamEvent::Sent(sent),
        }
    }
}

/// Returns the messages of a batch, one after the other.
fn renewals(batch: &[LeaseId]) -> Option<Bytes> {
    let mut frames = BytesMut::with_capacity(batch.len() * 16);
    for id in batch {
        let id = id.as_i64();
        // INVARIANT: a renewal is below any limit, which is the only cause of an error here.
        if let Ok(renewal) = frame(&LeaseKeepAliveRequest { id }, usize::MAX) {
            frames.extend_from_slice(&renewal);
        }
    }
    (!frames.is_empty()).then(|| frames.freeze())
}
