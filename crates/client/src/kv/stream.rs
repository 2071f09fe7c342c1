//! A range that the server sends in chunks, as one reply without an end to its size.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use etcdex_proto::etcdserverpb::RangeStreamResponse;

use super::{Get, GetResponse, broken, decode};
use crate::call::wire::Wire;
use crate::call::{Scope, Situation, Verdict, verdict};
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Outcome, Retry};
use crate::method::Method;
use crate::transport::stream::{Incoming, open};
use crate::transport::{Failure, Head, Want};

/// The pairs of a [`Get`], chunk by chunk as the server reads them (etcd 3.7 and later).
///
/// [`Call::<Get>::stream`](crate::Call::stream) makes it. All chunks are of one revision. Each
/// is a [`GetResponse`] with the next pairs; only the last has a header, `more` and `count`.
/// The server takes no sort order and no bounds of revisions here.
///
/// For servers of any version, and to go on after a lost connection, there is
/// [`Client::list`](crate::Client::list).
///
/// ```no_run
/// # async fn example(client: etcdex::Client) -> Result<(), etcdex::Error> {
/// let mut chunks = client.get("jobs/").prefix().stream();
/// while let Some(chunk) = chunks.next().await? {
///     println!("{} more", chunk.kvs.len());
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "a stream reads nothing until it is asked for the next chunk"]
pub struct GetStream {
    scope: Scope,
    get: Get,
    stage: Stage,
    endpoint: Option<Endpoint>,
    attempts: u32,
    retries: u32,
    begun: bool,
}

enum Stage {
    New,
    Open(Box<Incoming>),
    Over,
}

impl GetStream {
    pub(crate) fn new(scope: Scope, get: Get) -> Self {
        Self {
            scope,
            get,
            stage: Stage::New,
            endpoint: None,
            attempts: 0,
            retries: 0,
            begun: false,
        }
    }

    /// The next chunk; `None` behind the last.
    ///
    /// # Errors
    /// [`ErrorKind::Unimplemented`] from servers before 3.7, [`ErrorKind::Timeout`] when no
    /// chunk comes for as long as a call may take, and those of a get. After an error it ends.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    ///
    /// # Retries
    /// Before the first chunk, while the server is unavailable; each attempt has the time-out of
    /// a call. After it none: what came was of a revision that only the last chunk tells.
    pub async fn next(&mut self) -> Result<Option<GetResponse>, Error> {
        loop {
            let outcome = match self.scope.timeout.of_a_call() {
                Some(idle) => match tokio::time::timeout(idle, self.step()).await {
                    Ok(outcome) => outcome,
                    Err(_) => Err(silence(idle)),
                },
                None => self.step().await,
            };
            let failure = match outcome {
                Ok(Some(message)) => match self.chunk(message) {
                    Ok(chunk) => return Ok(Some(chunk)),
                    Err(error) => return Err(self.end(error)),
                },
                Ok(None) => {
                    self.stage = Stage::Over;
                    return Ok(None);
                }
                Err(failure) => failure,
            };
            match self.verdict(&failure) {
                Verdict::Again { pause, counted, .. }
                    if !self.begun && (!counted || self.scope.core.budget.take()) =>
                {
                    self.retries += 1;
                    self.stage = Stage::New;
                    tokio::time::sleep(pause).await;
                }
                Verdict::Again { .. } | Verdict::GiveUp => return Err(self.end(failure.error)),
            }
        }
    }

    /// Opens the stream if need be, and waits for a message.
    async fn step(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            match &mut self.stage {
                Stage::Over => return Ok(None),
                Stage::Open(incoming) => return incoming.message().await,
                Stage::New => {
                    let incoming = self.open().await?;
                    self.stage = Stage::Open(Box::new(incoming));
                }
            }
        }
    }

    async fn open(&mut self) -> Result<Incoming, Failure> {
        let options = &self.scope.core.options;
        let message = self
            .get
            .encode(self.scope.namespace.as_ref(), options.max_send_size)?;
        let want = Want {
            lane: Method::RangeStream.lane(),
            member: self.scope.member,
            avoided: None,
        };
        let occupancy = self.scope.core.transport.occupy(want).await;
        let occupancy = occupancy.map_err(|error| Failure {
            error,
            retry: Retry::Never,
        })?;
        self.attempts += 1;
        self.endpoint = Some(occupancy.link().endpoint.clone());
        let head = Head {
            timeout: None,
            require_leader: self.scope.require_leader,
        };
        let limit = options.max_receive_size;
        let (mut outgoing, incoming) = open(occupancy, Method::RangeStream, head, limit)?;
        outgoing.finish_with(message)?;
        Ok(incoming)
    }

    fn chunk(&mut self, message: Bytes) -> Result<GetResponse, Error> {
        self.begun = true;
        let reply: RangeStreamResponse = decode(message)?;
        let range = reply
            .range_response
            .ok_or_else(|| broken("a chunk of the range is empty"))?;
        GetResponse::of(range, self.scope.namespace.as_ref())
    }

    fn verdict(&self, failure: &Failure) -> Verdict {
        let limit = self.scope.core.options.retries;
        verdict(Situation {
            repeatable: true,
            outcome: failure.error.outcome(),
            retry: failure.retry,
            retries_left: limit.saturating_sub(self.retries),
            retries: self.retries,
            pauses: self.retries,
            elsewhere: false,
            left: self.scope.timeout.of_a_call(),
            random: fastrand::f64(),
        })
    }

    fn end(&mut self, error: Error) -> Error {
        self.stage = Stage::Over;
        self.scope.describe(
            error,
            Method::RangeStream,
            self.endpoint.as_ref(),
            self.attempts,
        )
    }
}

fn silence(idle: Duration) -> Failure {
    Failure::new(
        ErrorKind::Timeout,
        Outcome::Unknown,
        format!("no chunk came within {idle:?}"),
        Retry::Never,
    )
}

impl fmt::Debug for GetStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetStream")
            .field("get", &self.get)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}
